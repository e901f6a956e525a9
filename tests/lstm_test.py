"""The bidirectional LSTM over packed rows, against plain forms."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from splitner_jax.inputs.packing import Group, Layout, longest_row, num_tokens
from splitner_jax.models import lstm
from splitner_jax.runtime import devices

# Rows that stand alone in a lane, two behind each other, more, too many.
_LAYOUT = (Group(1, 21), Group(5, 10), Group(3, 4), Group(2, 3))
_TOKENS = 21 + 50 + 12 + 6


def _there_and_back(
  tokens: np.ndarray, layout: Layout
) -> tuple[np.ndarray, np.ndarray]:
  """The lanes of tokens, and the tokens of these lanes."""

  def run(tokens):
    lanes = lstm.to_lanes(tokens, layout)
    return lanes, lstm.from_lanes(lanes, layout)

  return devices.to_host(jax.jit(run)(tokens))


def test_lanes() -> None:
  tokens = np.arange(1, 2 * _TOKENS + 1).reshape(_TOKENS, 2)
  lanes, back = _there_and_back(tokens, _LAYOUT)
  # The places of the tokens, lane by lane; zeros behind.
  expected = [(0, 21), (21, 41), (41, 61), (61, 71), (71, 83), (83, 89)]
  assert lanes.shape == (len(expected), 21, 2)
  for lane, (start, end) in zip(lanes, expected, strict=True):
    np.testing.assert_array_equal(lane[: end - start], tokens[start:end])
    assert not np.any(lane[end - start :])
  np.testing.assert_array_equal(back, tokens)


@pytest.mark.parametrize(
  ("layout", "count"),
  [(((4, 3),), 4), (((3, 2), (2, 7)), 3), (((7, 1), (1, 4), (5, 2)), 6)],
)
def test_lanes_there_and_back(layout, count: int) -> None:
  groups = tuple(Group(*group) for group in layout)
  tokens = np.arange(1, 1 + num_tokens(groups))
  lanes, back = _there_and_back(tokens, groups)
  assert lanes.shape == (count, longest_row(groups))
  assert lanes[lanes > 0].tolist() == back.tolist() == tokens.tolist()


def _naive_lstm(params, inputs: np.ndarray) -> np.ndarray:
  """Both directions over one sequence without padding."""
  params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
  both = []
  for d, sequence in enumerate((inputs, inputs[::-1])):
    hidden = cell = np.zeros(lstm.LSTM_SIZE)
    states = []
    for x in sequence:
      gates = (
        x @ params["kernel_in"][d]
        + hidden @ params["kernel_rec"][d]
        + params["bias"][d]
      )
      i, f, g, o = np.split(gates, 4)
      i, f, o = (1 / (1 + np.exp(-gate)) for gate in (i, f, o))
      cell = f * cell + i * np.tanh(g)
      hidden = o * np.tanh(cell)
      states.append(hidden)
    both.append(states if d == 0 else states[::-1])
  return np.concatenate(both, axis=-1)


def test_bilstm_against_a_loop() -> None:
  """Over each segment by itself, wherever it stands in its row."""
  rng = np.random.default_rng(2)
  table = rng.normal(size=(6, 7)).astype(np.float32)
  # Segments of each row; what a row has beyond them is padding.
  rows = [[9, 12], [4, 1, 3], [], [10], [5, 5], [2, 6], [4], [1], [1, 3]]
  rows += [[3], [1, 1]]
  segments, number = np.zeros(_TOKENS, np.int32), 0
  lengths = [length for count, length in _LAYOUT for _ in range(count)]
  for start, sizes in zip(np.cumsum([0, *lengths[:-1]]), rows, strict=True):
    for size in sizes:
      number += 1
      segments[start : start + size] = number
      start += size
  index = rng.integers(0, 6, _TOKENS).astype(np.int32)
  module = lstm.BiLSTM()
  inputs = table, index, segments
  shapes = jax.eval_shape(
    lambda key: module.init(key, *inputs, _LAYOUT), jax.random.key(0)
  )
  # Of one size, and large enough to tell segments apart.
  params = jax.tree.map(
    lambda x: rng.normal(0, 0.2, x.shape).astype(x.dtype), shapes["params"]
  )
  apply = jax.jit(
    lambda p, index: module.apply(
      {"params": p}, table, index, segments, _LAYOUT
    )
  )
  hidden = apply(params, index)
  assert hidden.shape == (_TOKENS, 2 * lstm.LSTM_SIZE)
  for i in range(1, number + 1):
    mine = segments == i
    expected = _naive_lstm(params, table[index[mine]])
    np.testing.assert_allclose(hidden[mine], expected, atol=1e-5)
  # What padding points at does not matter.
  real = segments > 0
  other = apply(params, np.where(real, index, 5 - index))
  np.testing.assert_array_equal(other[real], hidden[real])
  assert np.all(np.isfinite(hidden))


def _plain_lstm(inputs, goes_on, kernel):
  """As `lstm.lstm`, differentiated by JAX."""

  def step(carry, now):
    x, goes_on = now
    hidden, cell = (part * goes_on[..., None] for part in carry)
    gates = x + jnp.einsum("rbd,rdg->rbg", hidden, kernel)
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
    hidden = jax.nn.sigmoid(o) * jnp.tanh(cell)
    return (hidden, cell), hidden

  zeros = jnp.zeros((*inputs.shape[1:3], kernel.shape[1]))
  return jax.lax.scan(step, (zeros, zeros), (inputs, goes_on))[1]


def test_gradient_of_the_lstm() -> None:
  steps, lanes, size = 7, 3, 5
  rng = np.random.default_rng(4)
  inputs = rng.normal(size=(steps, 2, lanes, 4 * size)).astype(np.float32)
  kernel = rng.normal(size=(2, size, 4 * size)).astype(np.float32)
  goes_on = rng.integers(0, 2, (steps, 2, lanes)).astype(np.float32)
  # A lane of one segment, one that starts anew at each step.
  goes_on[:, :, 0], goes_on[:, :, 1], goes_on[0] = 1, 0, 0
  assert 0 < goes_on[1:, :, 2].mean() < 1
  directions = rng.normal(size=(steps, 2, lanes, size)).astype(np.float32)

  def value_and_gradients(lstm):
    return jax.jit(
      jax.value_and_grad(
        lambda *args: jnp.sum(lstm(*args) * directions), argnums=(0, 1, 2)
      )
    )(inputs, goes_on, kernel)

  value, (of_inputs, of_starts, of_kernel) = value_and_gradients(lstm.lstm)
  expected, gradients = value_and_gradients(_plain_lstm)
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  for ours, theirs in ((of_inputs, gradients[0]), (of_kernel, gradients[2])):
    assert ours.dtype == jnp.float32
    assert np.mean(np.abs(theirs) > 1e-4) > 0.8
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())
  # Where a segment starts is nothing to learn.
  assert not np.any(of_starts)
  np.testing.assert_allclose(
    jax.jit(lstm.lstm)(inputs, goes_on, kernel),
    jax.jit(_plain_lstm)(inputs, goes_on, kernel),
    atol=1e-6,
  )
