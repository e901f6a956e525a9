"""Features of tokens; the text CNN and the LSTM against plain forms."""

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from splitner_jax import parallel
from splitner_jax.inputs.packing import Group, Layout, longest_row, num_tokens
from splitner_jax.models import features, lstm


def _randomise(params, seed: int = 0, scale: float = 0.3):
  """Parameters of one size: as they start, biases are 0 and scales 1."""
  leaves, tree = jax.tree.flatten(params)
  rng = np.random.default_rng(seed)
  return jax.tree.unflatten(
    tree,
    [rng.normal(0, scale, x.shape).astype(x.dtype) for x in leaves],
  )


def _table(rows: list[list[int]], width: int) -> np.ndarray:
  table = np.zeros((len(rows), width), np.int32)
  for i, row in enumerate(rows):
    table[i, : len(row)] = row
  return table


# No character is twice in a text, so that no two windows are alike.
_TEXTS = [[3], [1, 2], [4, 3, 2, 1, 5, 6], [2, 9, 1, 3, 8, 7, 6, 5], []]


class _CNN:
  """A text CNN of widths 1 to 3, and its parameters."""

  def __init__(self, *, mask_padding: bool):
    self.module = features.TextCNN(10, range(1, 4), mask_padding)
    self.apply = jax.jit(
      lambda params, *tables: self.module.apply({"params": params}, *tables)
    )
    shapes = jax.eval_shape(
      self.module.init, jax.random.key(0), _table(_TEXTS, 8)
    )
    self.params = _randomise(shapes["params"])


@pytest.fixture(scope="module")
def masked() -> _CNN:
  return _CNN(mask_padding=True)


def _naive_cnn(params, texts: list[list[int]], width: int | None) -> np.ndarray:
  """One row for each text; `width` None: the windows of its own characters."""
  params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
  embedding, rows = params["embedding"], []
  for text in texts:
    pooled = []
    for taps in (1, 2, 3):
      kernel = params[f"conv_{taps}_kernel"]
      bias = params[f"conv_{taps}_bias"]
      if width is None:
        padded = [*(embedding[c] for c in text), *[np.zeros(50)] * taps]
        windows = len(text)
      else:
        padded = [embedding[c] for c in text + [0] * (width - len(text))]
        windows = width - taps + 1
      responses = [
        sum(padded[i + j] * kernel[j] for j in range(taps))
        for i in range(windows)
      ] or [np.zeros(bias.shape)]
      pooled.append((np.max(responses, axis=0) + bias).reshape(-1))
    x = np.maximum(np.concatenate(pooled), 0)
    rows.append(x @ params["output"]["kernel"] + params["output"]["bias"])
  return np.array(rows)


def test_text_cnn_against_a_loop(masked: _CNN) -> None:
  ours = masked.apply(masked.params, _table(_TEXTS, 8))
  expected = _naive_cnn(masked.params, _TEXTS, None)
  np.testing.assert_allclose(ours, expected, atol=1e-4, rtol=1e-4)


def test_text_cnn_of_the_reference_against_a_loop() -> None:
  cnn = _CNN(mask_padding=False)
  for width in (8, 11):
    ours = cnn.apply(cnn.params, _table(_TEXTS, width))
    expected = _naive_cnn(cnn.params, _TEXTS, width)
    np.testing.assert_allclose(ours, expected, atol=1e-4, rtol=1e-4)


def test_text_cnn_does_not_depend_on_width_and_table(masked: _CNN) -> None:
  one = np.asarray(masked.apply(masked.params, _table(_TEXTS, 8)))
  assert len({row.tobytes() for row in one}) == len(_TEXTS)
  wide = masked.apply(masked.params, _table(_TEXTS, 32))
  np.testing.assert_allclose(wide, one, atol=1e-5)
  two = masked.apply(
    masked.params, _table(_TEXTS[:2], 4), _table(_TEXTS[2:], 19)
  )
  np.testing.assert_allclose(two, one, atol=1e-5)


def test_text_cnn_gradient_is_that_of_the_maximum(masked: _CNN) -> None:
  """The winning window is found first, and only it has a gradient."""

  def plain(params, table):
    real = table > 0
    chars = params["embedding"][table] * real[..., None]
    chars = jnp.pad(chars, ((0, 0), (0, 2), (0, 0)))
    pooled = []
    for taps in (1, 2, 3):
      kernel = params[f"conv_{taps}_kernel"]
      response = sum(
        chars[:, j : j + table.shape[1], None] * kernel[j][None, None]
        for j in range(taps)
      )
      response = jnp.where(real[..., None, None], response, -jnp.inf)
      pooled.append(response.max(axis=1) + params[f"conv_{taps}_bias"][None])
    x = jax.nn.relu(jnp.concatenate(pooled, axis=1)).reshape(len(table), -1)
    output = params["output"]
    return x @ output["kernel"] + output["bias"][None]

  table = _table(_TEXTS[:4], 8)
  directions = np.random.default_rng(1).normal(size=(4, 768))

  def ours(params):
    return jnp.sum(masked.apply(params, table) * directions)

  value, gradient = jax.jit(jax.value_and_grad(ours))(masked.params)
  # Not compiled: the gradient of max looks for elements equal to the maximum,
  # and a fused program may compute them twice, with different rounding.
  expected_value, expected = jax.value_and_grad(
    lambda params: jnp.sum(plain(params, table) * directions)
  )(jax.tree.map(jnp.asarray, masked.params))
  np.testing.assert_allclose(value, expected_value, rtol=1e-5)
  assert jax.tree.structure(gradient) == jax.tree.structure(expected)
  for path, leaf in jax.tree.leaves_with_path(gradient):
    other = expected
    for key in path:
      other = other[key.key]
    scale = np.abs(other).max()
    assert scale > 0, path
    np.testing.assert_allclose(
      leaf, other, atol=1e-5 * scale, rtol=1e-4, err_msg=str(path)
    )
  # Padding is no character.
  assert not np.any(gradient["embedding"][0])


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

  return parallel.to_host(jax.jit(run)(tokens))


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
  params = _randomise(shapes["params"], scale=0.2)
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


def test_dropout_of_parts_of_speech() -> None:
  module = features.PosFeature(3, dropout=0.5)
  ids = np.ones(80, np.int32)
  embedding = np.full((3, features.POS_SIZE), 2.0, np.float32)
  params = {"params": {"embedding": embedding}}
  kept = module.apply(params, ids, False, rngs={"dropout": jax.random.key(0)})
  assert set(np.unique(kept)) == {0.0, 4.0}
  assert set(np.unique(module.apply(params, ids, True))) == {2.0}
