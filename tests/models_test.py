"""The modules, against loops in NumPy and against themselves."""

import dataclasses

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from splitner_jax.data import patterns
from splitner_jax.data.batches import Batcher, Shape
from splitner_jax.data.examples import Example
from splitner_jax.models import features
from splitner_jax.models.bert import Dropout, Encoder, EncoderConfig
from splitner_jax.models.heads import SequenceClassifier, TokenClassifier

_CONFIG = EncoderConfig(
  vocab_size=50,
  hidden_size=16,
  num_layers=1,
  num_heads=2,
  intermediate_size=32,
  max_positions=24,
  type_vocab_size=2,
)


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


def _naive_lstm(params, inputs: np.ndarray) -> np.ndarray:
  """Both directions over one sequence without padding."""
  params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
  both = []
  for d, sequence in enumerate((inputs, inputs[::-1])):
    hidden = cell = np.zeros(features.LSTM_SIZE)
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
  rng = np.random.default_rng(2)
  table = rng.normal(size=(6, 7)).astype(np.float32)
  lengths = [5, 1, 3]
  module = features.BiLSTM()

  def arrays(width: int, padding: int) -> tuple[np.ndarray, np.ndarray]:
    mask = np.arange(width) < np.array(lengths)[:, None]
    return np.where(mask, index[:, :width], padding).astype(np.int32), mask

  index = rng.integers(0, 6, (3, 9))
  apply = jax.jit(lambda p, *args: module.apply({"params": p}, *args))
  shapes = jax.eval_shape(module.init, jax.random.key(0), table, *arrays(5, 0))
  params = _randomise(shapes["params"], scale=0.2)
  short = apply(params, table, *arrays(5, 0))
  assert short.shape == (3, 5, 2 * features.LSTM_SIZE)
  for i, n in enumerate(lengths):
    expected = _naive_lstm(params, table[index[i, :n]])
    np.testing.assert_allclose(short[i, :n], expected, atol=1e-5)
    assert not np.any(short[i, n:])
  # Neither the width of the padding matters nor what it points at.
  long = apply(params, table, *arrays(9, 4))
  np.testing.assert_allclose(long[:, :5], short, atol=1e-6)
  assert not np.any(long[:, 5:])


def _examples() -> list[Example]:
  rng = np.random.default_rng(3)
  texts = ["[CLS]", "cell", "IL-2", "internationalised", "B2", "a" * 40, "é"]
  return [
    Example(
      ids=rng.integers(1, 50, n).astype(np.int32),
      types=rng.integers(0, 2, n).astype(np.int32),
      texts=rng.choice(texts, n).tolist(),
      sentence=0,
      first_word=0,
      positions=np.zeros(0, np.int32),
      labels=np.zeros(n, np.int32),
      weights=np.zeros(n, np.float32),
    )
    for n in (6, 9, 3, 12)
  ]


def _batch(
  rows: list[int], length: int, room: tuple[int, int]
) -> dict[str, np.ndarray]:
  batcher = Batcher(_examples(), ("char", "pattern"), 0, 1)
  shape = Shape(length, char=room, pattern=room)
  _, batch = batcher.assemble(np.array(rows), length, [shape])
  return {name: array[0] for name, array in batch.items()}


_TOKENS = TokenClassifier(
  _CONFIG,
  4,
  ("char", "pattern"),
  patterns.CHARACTER_VOCAB,
  patterns.PATTERN_VOCAB,
)
_PATTERNS = dataclasses.replace(_TOKENS, features=("pattern",))
_SEQUENCES = SequenceClassifier(_CONFIG, 3)
# Compiled once for each shape.
_token_logits = jax.jit(lambda p, batch: _TOKENS.apply({"params": p}, batch))


def _start(module: TokenClassifier | SequenceClassifier, scale: float):
  batch = _batch([0, 2], 12, (8, 8))
  shapes = jax.eval_shape(module.init, jax.random.key(0), batch)
  return _randomise(shapes["params"], scale=scale)


@pytest.fixture(scope="module")
def token_params():
  return _start(_TOKENS, scale=0.1)


def test_a_row_does_not_depend_on_batch_mates_and_padding(token_params) -> None:
  # The same rows among others, wider, and with texts in other tables.
  one = _token_logits(token_params, _batch([0, 2], 12, (8, 8)))
  two = _token_logits(token_params, _batch([3, 2, -1, 0, 1], 20, (2, 20)))
  assert one.dtype == two.dtype == jnp.float32
  assert (one.shape, two.shape) == ((2, 12, 4), (5, 20, 4))
  np.testing.assert_allclose(one[0, :6], two[3, :6], atol=1e-5)
  np.testing.assert_allclose(one[1, :3], two[1, :3], atol=1e-5)
  # They are not all the same.
  assert np.std(one[0, :6], axis=0).min() > 1e-2
  assert np.all(np.isfinite(two))


@pytest.mark.parametrize("feature", ["char", "pattern"])
def test_features_reach_the_logits(feature: str, token_params) -> None:
  batch = _batch([0, 2], 12, (8, 8))
  index = batch[f"{feature}_index"].copy()
  index[0, 4] = (index[0, 4] + 1) % 3
  logits = _token_logits(token_params, batch)
  other = _token_logits(token_params, {**batch, f"{feature}_index": index})
  changed = np.abs(logits - other).max(axis=-1) > 1e-6
  assert changed[0, 4]
  # A character feature is of one token; the LSTM tells its neighbours too.
  assert np.any(np.delete(changed[0, :6], 4)) == (feature == "pattern")
  assert not np.any(changed[1])


def test_sequence_classifier_reads_the_first_token() -> None:
  params = _start(_SEQUENCES, scale=0.3)
  logits, state = jax.jit(
    lambda p, batch: _SEQUENCES.apply(
      {"params": p}, batch, mutable="intermediates"
    )
  )(params, _batch([0, 2], 12, (8, 8)))
  assert logits.shape == (2, 3)
  [hidden] = state["intermediates"]["hidden"]
  dense, classifier = params["pooler"]["dense"], params["classifier"]
  pooled = np.tanh(hidden[:, 0] @ dense["kernel"] + dense["bias"][None])
  expected = pooled @ classifier["kernel"] + classifier["bias"][None]
  np.testing.assert_allclose(logits, expected, atol=1e-5)


@pytest.mark.parametrize("offset", [0, 2])
def test_too_long_for_the_positions(offset: int) -> None:
  encoder = Encoder(dataclasses.replace(_CONFIG, position_offset=offset))

  def init(length: int):
    ids = jnp.zeros((1, length), jnp.int32)
    return jax.eval_shape(encoder.init, jax.random.key(0), ids, ids, ids == 0)

  init(24 - offset)
  with pytest.raises(ValueError, match=f"positions for {24 - offset}"):
    init(25 - offset)


def test_positions_start_at_the_offset() -> None:
  ids = np.array([[5, 6, 7]], np.int32)
  mask = np.ones((1, 3), bool)
  base, shifted = (
    Encoder(dataclasses.replace(_CONFIG, position_offset=n)) for n in (0, 2)
  )
  params = _randomise(
    jax.eval_shape(base.init, jax.random.key(0), ids, ids, mask)["params"]
  )
  expected = jax.jit(base.apply)({"params": params}, ids, 0 * ids, mask)
  moved = jax.tree.map(lambda x: x, params)
  position = params["embeddings"]["position"]
  moved["embeddings"]["position"] = jnp.roll(position, 2, axis=0)
  ours = jax.jit(shifted.apply)({"params": moved}, ids, 0 * ids, mask)
  np.testing.assert_allclose(ours, expected, atol=1e-6)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout(rate: float) -> None:
  x = jnp.full((400, 500), 3.0)
  module = Dropout(rate)
  keys = [{"dropout": jax.random.key(i)} for i in range(2)]
  y, other = (np.asarray(module.apply({}, x, False, rngs=k)) for k in keys)
  # Five standard deviations of the share of 200,000 draws.
  tolerance = 5 * (rate * (1 - rate) / x.size) ** 0.5
  assert np.mean(y == 0) == pytest.approx(rate, abs=tolerance)
  np.testing.assert_allclose(y[y != 0], 3.0 / (1 - rate), rtol=1e-6)
  # Another key, other elements.
  both = np.mean((y == 0) & (other == 0))
  assert both == pytest.approx(rate * rate, abs=tolerance)
  # Off, and then without a key.
  assert module.apply({}, x, True) is x
  assert Dropout(0.0).apply({}, x, False) is x


@pytest.mark.parametrize("module", [_PATTERNS, _SEQUENCES])
def test_dropout_of_models(
  module: TokenClassifier | SequenceClassifier,
) -> None:
  batch = _batch([0, 2], 12, (8, 8))
  params = _start(module, scale=0.1)

  @jax.jit
  def apply(params, seed, deterministic):
    # Cheaper to compile than the default generator.
    rngs = {"dropout": jax.random.key(seed, impl="rbg")}
    return jax.lax.cond(
      deterministic,
      lambda: module.apply({"params": params}, batch),
      lambda: module.apply({"params": params}, batch, False, rngs=rngs),
    )

  one, again = (apply(params, 0, False) for _ in range(2))
  np.testing.assert_array_equal(one, again)
  still, same = (apply(params, seed, True) for seed in range(2))
  np.testing.assert_array_equal(still, same)
  assert np.abs(one - still).max() > 1e-3
  assert np.abs(one - apply(params, 1, False)).max() > 1e-3


@pytest.mark.parametrize("module", [_PATTERNS, _SEQUENCES])
def test_bfloat16(module: TokenClassifier | SequenceClassifier) -> None:
  """Computes in bfloat16; parameters and logits stay float32."""
  batch = _batch([0, 2], 12, (8, 8))
  small = dataclasses.replace(_CONFIG, dtype="bfloat16")
  modules = [module, dataclasses.replace(module, encoder=small)]
  params = _start(modules[1], scale=0.1)
  assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype("float32")}
  (full, _), (half, state) = (
    jax.jit(
      lambda p, m=m: m.apply({"params": p}, batch, mutable="intermediates")
    )(params)
    for m in modules
  )
  [hidden] = state["intermediates"]["hidden"]
  assert hidden.dtype == jnp.bfloat16
  assert full.dtype == half.dtype == jnp.float32
  real = batch["mask"] if full.ndim == 3 else slice(None)
  error = np.abs(full - half)[real].max()
  assert 0 < error < 0.2 * np.std(full[real])
