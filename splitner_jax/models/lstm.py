"""A bidirectional LSTM over packed rows, whose inputs are rows of a table.

Shape suffixes as in `transformer`, and: U rows of the table, of size D, G size
of one direction, S steps and B lanes.
"""

import jax
from flax import linen as nn
from jax import numpy as jnp

from splitner_jax.inputs.packing import Layout, longest_row
from splitner_jax.models.transformer import group_rows

LSTM_SIZE = 256


def torch_uniform(fan_in: int) -> nn.initializers.Initializer:
  """Uniform in +-1/sqrt(fan_in), torch's start of convolutions and LSTMs."""
  bound = fan_in**-0.5

  def init(key, shape, dtype=jnp.float32):
    return jax.random.uniform(key, shape, dtype, -bound, bound)

  return init


class BiLSTM(nn.Module):
  """A bidirectional LSTM whose inputs are rows of a table.

  It starts anew at each segment. The input projection is done once per distinct
  row, and both directions run in one scan: half the sequential steps.
  """

  @nn.compact
  def __call__(
    self,
    rows: jax.Array,
    index_T: jax.Array,
    segments_T: jax.Array,
    layout: Layout,
    *,
    are_gates: bool = False,
  ) -> jax.Array:
    """Returns float32[T, 2 G], of no meaning where the segment is 0.

    Args:
      rows: the table, [U, D]; or what `input_gates` makes of it.
      index_T: which row a token has.
      segments_T: of the tokens.
      layout: their rows in the batch.
      are_gates: whether `rows` are gates.
    """
    size = LSTM_SIZE
    init = torch_uniform(size)
    if not are_gates:
      kernel_in = self.param("kernel_in", init, (2, rows.shape[-1], 4 * size))
    kernel_rec = self.param("kernel_rec", init, (2, size, 4 * size))

    # torch has two biases, which are only ever added.
    def init_bias(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
      first, second = jax.random.split(key)
      return init(first, shape) + init(second, shape)

    bias = self.param("bias", init_bias, (2, 4 * size))
    gates_2xUx4G = rows if are_gates else input_gates(rows, kernel_in, bias)

    def directions(x_BxS: jax.Array) -> jax.Array:
      # The second direction reads from the end.
      x_SxB = x_BxS.T
      return jnp.stack([x_SxB, x_SxB[::-1]], axis=1)

    segments_Sx2xB = directions(to_lanes(segments_T, layout))
    index_Sx2xB = directions(to_lanes(index_T, layout))
    goes_on_Sx2xB = jnp.concatenate(
      [
        jnp.zeros_like(segments_Sx2xB[:1], bool),
        segments_Sx2xB[1:] == segments_Sx2xB[:-1],
      ]
    )
    inputs_Sx2xBx4G = gates_2xUx4G[jnp.arange(2)[None, :, None], index_Sx2xB]
    hidden_Sx2xBxG = lstm(
      inputs_Sx2xBx4G, goes_on_Sx2xB.astype(jnp.float32), kernel_rec
    )
    forward, backward = hidden_Sx2xBxG[:, 0], hidden_Sx2xBxG[::-1, 1]
    hidden_SxBx2G = jnp.concatenate([forward, backward], axis=-1)
    return from_lanes(hidden_SxBx2G.transpose(1, 0, 2), layout)


def input_gates(
  table_UxD: jax.Array, kernel_in_2xDx4G: jax.Array, bias_2x4G: jax.Array
) -> jax.Array:
  """What rows of a table bring into the gates, float32[2, U, 4 G]."""
  return (
    jnp.einsum("ud,rdg->rug", table_UxD.astype(jnp.float32), kernel_in_2xDx4G)
    + bias_2x4G[:, None]
  )


def to_lanes(x_T: jax.Array, layout: Layout) -> jax.Array:
  """Tokens as lanes of the longest row's length: [T, ...] to [B, S, ...].

  A lane holds as many rows of a group as fit behind each other: whatever starts
  anew at each segment may read them as one row.
  """
  longest = longest_row(layout)
  lanes = []
  for x_RxL in group_rows(x_T, layout):
    rows, length, *rest = x_RxL.shape
    together = min(longest // length, rows)
    missing = -rows % together
    x_BxS = jnp.concatenate(
      [x_RxL, jnp.zeros((missing, length, *rest), x_RxL.dtype)]
    ).reshape(-1, together * length, *rest)
    beyond = [(0, 0), (0, longest - together * length)] + [(0, 0)] * len(rest)
    lanes.append(jnp.pad(x_BxS, beyond))
  return jnp.concatenate(lanes)


def from_lanes(x_BxS: jax.Array, layout: Layout) -> jax.Array:
  """Undoes `to_lanes`: [B, S, ...] to [T, ...]."""
  longest, rest = longest_row(layout), x_BxS.shape[2:]
  parts, lane = [], 0
  for rows, length in layout:
    together = min(longest // length, rows)
    lanes = -(-rows // together)
    x = x_BxS[lane : lane + lanes, : together * length]
    parts.append(x.reshape(-1, *rest)[: rows * length])
    lane += lanes
  return jnp.concatenate(parts)


@jax.custom_vjp
def lstm(
  inputs_Sx2xBx4G: jax.Array,
  goes_on_Sx2xB: jax.Array,
  kernel_2xGx4G: jax.Array,
) -> jax.Array:
  """Hidden states of an LSTM in two directions, float32[S, 2, B, G].

  Its gradient is written out: that of the kernel is one matrix product over
  all steps, where differentiating the scan would add to the whole kernel at
  each step.

  Args:
    inputs_Sx2xBx4G: what comes into the gates i, f, g, o, biases included.
    goes_on_Sx2xB: 0 where the state starts anew before the step, else 1.
    kernel_2xGx4G: of the recurrence, for each direction.
  """
  return _lstm_forward(inputs_Sx2xBx4G, goes_on_Sx2xB, kernel_2xGx4G)[0]


def _lstm_forward(inputs_Sx2xBx4G, goes_on_Sx2xB, kernel_2xGx4G):
  goes_on_Sx2xBx1 = goes_on_Sx2xB[..., None]

  def step(carry, inputs):
    hidden, cell = carry
    x, goes_on = inputs
    hidden, cell = hidden * goes_on, cell * goes_on
    gates = x + jnp.einsum("rbd,rdg->rbg", hidden, kernel_2xGx4G)
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    i, f, o = (jax.nn.sigmoid(gate) for gate in (i, f, o))
    g = jnp.tanh(g)
    new_cell = f * cell + i * g
    squashed = jnp.tanh(new_cell)
    new_hidden = o * squashed
    opened = jnp.concatenate([i, f, g, o], axis=-1)
    return (new_hidden, new_cell), (new_hidden, new_cell, opened)

  zeros = jnp.zeros((*inputs_Sx2xBx4G.shape[1:3], kernel_2xGx4G.shape[1]))
  _, (hidden, cell, opened) = jax.lax.scan(
    step, (zeros, zeros), (inputs_Sx2xBx4G, goes_on_Sx2xBx1)
  )
  return hidden, (hidden, cell, opened, goes_on_Sx2xBx1, kernel_2xGx4G)


def _lstm_backward(saved, d_hidden_Sx2xBxG):
  hidden, cell, opened, goes_on, kernel = saved

  def before(x_Sx2xBxG):
    """What a step starts from."""
    zeros = jnp.zeros_like(x_Sx2xBxG[:1])
    return jnp.concatenate([zeros, x_Sx2xBxG[:-1]]) * goes_on

  def step(carry, inputs):
    d_hidden_next, d_cell_next = carry
    d_hidden, cell, cell_before, opened, goes_on = inputs
    i, f, g, o = jnp.split(opened, 4, axis=-1)
    squashed = jnp.tanh(cell)
    d_hidden = d_hidden + d_hidden_next
    d_cell = d_cell_next + d_hidden * o * (1 - squashed**2)
    d_gates = jnp.concatenate(
      [
        d_cell * g * i * (1 - i),
        d_cell * cell_before * f * (1 - f),
        d_cell * i * (1 - g**2),
        d_hidden * squashed * o * (1 - o),
      ],
      axis=-1,
    )
    d_hidden = jnp.einsum("rbg,rdg->rbd", d_gates, kernel)
    return (d_hidden * goes_on, d_cell * f * goes_on), d_gates

  zeros = jnp.zeros_like(hidden[0])
  _, d_gates = jax.lax.scan(
    step,
    (zeros, zeros),
    (d_hidden_Sx2xBxG, cell, before(cell), opened, goes_on),
    reverse=True,
  )
  d_kernel = jnp.einsum("srbd,srbg->rdg", before(hidden), d_gates)
  return d_gates, None, d_kernel


lstm.defvjp(_lstm_forward, _lstm_backward)
