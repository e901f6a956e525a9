"""The encoder and whole models, against themselves."""

import dataclasses

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from splitner_jax.inputs import patterns
from splitner_jax.inputs.batches import Batcher, Shape
from splitner_jax.inputs.tokenizer import Example
from splitner_jax.models.bert import Dropout, Encoder, EncoderConfig
from splitner_jax.models.features import POS_SIZE
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
      pos=rng.integers(0, 6, n).astype(np.int32),
    )
    for n in (6, 9, 3, 12)
  ]


def _batch(
  rows: list[int], length: int, room: tuple[int, int]
) -> dict[str, np.ndarray]:
  batcher = Batcher(_examples(), ("char", "pattern", "pos"), 0, 1)
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
_POS = TokenClassifier(_CONFIG, 4, ("pos",), pos_vocab_size=6)
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


def test_parts_of_speech_reach_the_logits() -> None:
  batch = _batch([0, 2], 12, (8, 8))
  params = _start(_POS, scale=0.1)
  assert params["pos"]["embedding"].shape == (6, POS_SIZE)
  apply = jax.jit(
    lambda p, batch: _POS.apply({"params": p}, batch, mutable="intermediates")
  )
  logits, state = apply(params, batch)
  [inputs] = state["intermediates"]["classifier_input"]
  np.testing.assert_array_equal(
    inputs[..., _CONFIG.hidden_size :],
    params["pos"]["embedding"][batch["pos_ids"]],
  )
  ids = batch["pos_ids"].copy()
  ids[0, 4] = (ids[0, 4] + 1) % 6
  other, _ = apply(params, {**batch, "pos_ids": ids})
  changed = np.abs(logits - other).max(axis=-1) > 1e-6
  # Of this token alone.
  assert np.argwhere(changed).tolist() == [[0, 4]]


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
