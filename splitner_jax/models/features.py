"""Features of tokens: characters, orthographic pattern, part of speech.

Paper, section 2.1, and Table 5 for the part of speech.

The first two features of a token start from its text alone, so the CNNs run
once per distinct text of a batch, and the result is gathered to the tokens.
Distinct texts come in two tables, short and long, so that a few long ones do
not make all of them wide: row i of the feature is text i of the short table,
then of the long one.

Shape suffixes as in `bert`, and: U distinct texts, W characters of a text,
C channels of the character embedding, F filters of each channel, G size of
one direction of the LSTM, M targets, S steps and B lanes of the LSTM.
"""

from collections.abc import Sequence

import jax
from flax import linen as nn
from jax import numpy as jnp

from splitner_jax.inputs.packing import Layout, longest_row
from splitner_jax.models.bert import Dropout, group_rows, normal_init

EMBEDDING_SIZE = 50
FILTERS = 16
OUTPUT_SIZE = 768
LSTM_SIZE = 256
POS_SIZE = 64


def _torch_uniform(fan_in: int) -> nn.initializers.Initializer:
  """Uniform in +-1/sqrt(fan_in), torch's start of convolutions and LSTMs."""
  bound = fan_in**-0.5

  def init(key, shape, dtype=jnp.float32):
    return jax.random.uniform(key, shape, dtype, -bound, bound)

  return init


class TextCNN(nn.Module):
  """Depthwise convolutions over characters, maximum over positions, linear.

  Attributes:
    vocab_size: number of character ids, padding (0) included.
    widths: widths of the convolutions.
    mask_padding: whether a window counts only if it starts on a real
      character, with zeros after the end. False is the reference's rule
      (cnn.py): every window inside the given width counts, and padding has an
      embedding like any character.
  """

  vocab_size: int
  widths: Sequence[int]
  mask_padding: bool = True
  dtype: str = "float32"

  @nn.compact
  def __call__(self, *tables: jax.Array) -> jax.Array:
    """Maps tables of int32[U_i, W_i] to float[sum of U_i, OUTPUT_SIZE]."""
    embedding = self.param(
      "embedding", normal_init, (self.vocab_size, EMBEDDING_SIZE)
    )
    kernels_wFC, biases_FC = [], []
    for width in self.widths:
      init, shape = _torch_uniform(width), (FILTERS, EMBEDDING_SIZE)
      kernels_wFC.append(
        self.param(f"conv_{width}_kernel", init, (width, *shape))
      )
      biases_FC.append(self.param(f"conv_{width}_bias", init, shape))
    pooled = [self._pool(embedding, kernels_wFC, ids) for ids in tables]
    x_UxFxC = jnp.concatenate(pooled) + jnp.concatenate(biases_FC)[None]
    x = x_UxFxC.reshape(len(x_UxFxC), x_UxFxC[0].size)
    return nn.Dense(
      OUTPUT_SIZE, dtype=self.dtype, kernel_init=normal_init, name="output"
    )(jax.nn.relu(x))

  def _pool(
    self,
    embedding: jax.Array,
    kernels_wFC: Sequence[jax.Array],
    ids_UxW: jax.Array,
  ) -> jax.Array:
    """Largest response of each filter: float[U, F of all widths, C]."""
    width = ids_UxW.shape[1]
    real_UxW = ids_UxW > 0
    chars_UxWxC = embedding[ids_UxW]
    if self.mask_padding:
      chars_UxWxC = chars_UxWxC * real_UxW[..., None]
    beyond = max(len(kernel) for kernel in kernels_wFC) - 1
    chars_UxWxC = jnp.pad(chars_UxWxC, ((0, 0), (0, beyond), (0, 0)))

    def best_window(kernel_wFC: jax.Array) -> jax.Array:
      """Where each filter responds most, int32[U, F, C]."""
      taps = len(kernel_wFC)
      windows = width if self.mask_padding else width - taps + 1
      # Shifts, products and sums: a grouped convolution, and above all its
      # gradient, is many times slower on CPU.
      response_UxWxFxC = sum(
        chars_UxWxC[:, tap : tap + windows, None] * kernel_wFC[tap][None, None]
        for tap in range(taps)
      )
      if self.mask_padding:
        starts_UxWx1x1 = real_UxW[:, :, None, None]
        response_UxWxFxC = jnp.where(starts_UxWx1x1, response_UxWxFxC, -jnp.inf)
      return jnp.argmax(jax.lax.stop_gradient(response_UxWxFxC), axis=1)

    # Only the winning windows are computed again with a gradient, those of all
    # filters with one gather; ties have one winner, as in torch.
    where = [
      best_window(kernel)[:, None]
      + jnp.arange(len(kernel))[None, :, None, None]
      for kernel in kernels_wFC
    ]
    where_UxFxC = jnp.concatenate(
      [w.reshape(len(w), w.shape[1] * w.shape[2], w.shape[3]) for w in where],
      axis=1,
    )
    winners_UxFxC = jnp.take_along_axis(chars_UxWxC, where_UxFxC, axis=1)
    largest, start = [], 0
    for kernel_wFC in kernels_wFC:
      taps, filters, channels = kernel_wFC.shape
      own_UxFxC = winners_UxFxC[:, start : start + taps * filters]
      start += taps * filters
      own_UxwxFxC = own_UxFxC.reshape(len(ids_UxW), taps, filters, channels)
      largest.append(jnp.sum(own_UxwxFxC * kernel_wFC[None], axis=1))
    return jnp.concatenate(largest, axis=1)


class BiLSTM(nn.Module):
  """A bidirectional LSTM whose inputs are rows of a table.

  It starts anew at each segment. The input projection is done once per distinct
  row, and both directions run in one scan: half the sequential steps.
  """

  @nn.compact
  def __call__(
    self,
    table_UxD: jax.Array,
    index_T: jax.Array,
    segments_T: jax.Array,
    layout: Layout,
  ) -> jax.Array:
    """Returns float32[T, 2 G], of no meaning where the segment is 0."""
    size = LSTM_SIZE
    init = _torch_uniform(size)
    kernel_in = self.param(
      "kernel_in", init, (2, table_UxD.shape[-1], 4 * size)
    )
    kernel_rec = self.param("kernel_rec", init, (2, size, 4 * size))

    # torch has two biases, which are only ever added.
    def init_bias(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
      first, second = jax.random.split(key)
      return init(first, shape) + init(second, shape)

    bias = self.param("bias", init_bias, (2, 4 * size))
    table_2xUx4G = (
      jnp.einsum("ud,rdg->rug", table_UxD.astype(jnp.float32), kernel_in)
      + bias[:, None]
    )

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
    inputs_Sx2xBx4G = table_2xUx4G[jnp.arange(2)[None, :, None], index_Sx2xB]
    hidden_Sx2xBxG = lstm(
      inputs_Sx2xBx4G, goes_on_Sx2xB.astype(jnp.float32), kernel_rec
    )
    forward, backward = hidden_Sx2xBxG[:, 0], hidden_Sx2xBxG[::-1, 1]
    hidden_SxBx2G = jnp.concatenate([forward, backward], axis=-1)
    return from_lanes(hidden_SxBx2G.transpose(1, 0, 2), layout)


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


class CharacterFeature(nn.Module):
  """Character CNN: one vector of OUTPUT_SIZE per target."""

  vocab_size: int
  mask_padding: bool = True
  dtype: str = "float32"

  @nn.compact
  def __call__(
    self, tables: Sequence[jax.Array], index_M: jax.Array
  ) -> jax.Array:
    return TextCNN(
      self.vocab_size, range(1, 6), self.mask_padding, self.dtype, name="cnn"
    )(*tables)[index_M]


class PatternFeature(nn.Module):
  """Pattern CNN, then a BiLSTM over each segment: 2 * LSTM_SIZE per target."""

  vocab_size: int
  dropout: float = 0.1
  mask_padding: bool = True
  dtype: str = "float32"

  @nn.compact
  def __call__(
    self,
    tables: Sequence[jax.Array],
    index_T: jax.Array,
    segments_T: jax.Array,
    targets_M: jax.Array,
    layout: Layout,
    deterministic: bool,
  ) -> jax.Array:
    table_UxD = TextCNN(
      self.vocab_size, range(1, 4), self.mask_padding, self.dtype, name="cnn"
    )(*tables)
    hidden_Tx2G = BiLSTM(name="lstm")(table_UxD, index_T, segments_T, layout)
    return Dropout(self.dropout)(hidden_Tx2G[targets_M], deterministic)


class PosFeature(nn.Module):
  """Embedding of the part of speech: POS_SIZE per target.

  Attributes:
    vocab_size: number of tags, 0 for none included.
  """

  vocab_size: int
  dropout: float = 0.1

  @nn.compact
  def __call__(self, ids_M: jax.Array, deterministic: bool) -> jax.Array:
    embedding = self.param(
      "embedding", normal_init, (self.vocab_size, POS_SIZE)
    )
    return Dropout(self.dropout)(embedding[ids_M], deterministic)
