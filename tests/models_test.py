"""The encoder and whole models, against themselves."""

import dataclasses
import functools
import json
import pathlib

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from splitner_jax.inference import model_folder
from splitner_jax.inputs import patterns
from splitner_jax.inputs.batches import Batch
from splitner_jax.inputs.examples import Examples
from splitner_jax.inputs.packing import Group
from splitner_jax.models import features
from splitner_jax.models.bert import BertConfig
from splitner_jax.models.heads import PooledClassifier, TokenClassifier
from splitner_jax.models.modernbert import ModernBertConfig
from splitner_jax.models.t5 import T5Config
from splitner_jax.models.transformer import Dropout, attention_biases
from splitner_jax.runtime.errors import UserError
from tests import random_examples, tiny_system

Model = TokenClassifier | PooledClassifier

_CONFIG = BertConfig(
  vocab_size=50,
  hidden_size=16,
  num_layers=2,
  num_heads=2,
  intermediate_size=32,
  max_positions=24,
  type_vocab_size=2,
)
_DETECTOR = TokenClassifier(
  _CONFIG,
  4,
  ("char", "pattern", "pos"),
  patterns.CHARACTER_VOCAB,
  patterns.PATTERN_VOCAB,
  pos_vocab_size=6,
)
_PATTERNS = dataclasses.replace(_DETECTOR, features=("pattern",))
_TAGGER = TokenClassifier(_CONFIG, 9)
_CLS = PooledClassifier(_CONFIG, 3)
_MENTION = PooledClassifier(_CONFIG, 3, "mention")
_SPAN = PooledClassifier(_CONFIG, 3, "cls+span")
_ROBERTA = TokenClassifier(
  dataclasses.replace(
    _CONFIG, type_vocab_size=1, position_offset=2, layer_norm_eps=1e-5
  ),
  4,
)
# Layers 0 and 3 see everything.
_MODERNBERT = TokenClassifier(
  ModernBertConfig(
    *(50, 16, 4, 2, 32, 24), local_window=2, global_theta=50.0, local_theta=7.0
  ),
  4,
)
# Distances that share buckets, and some beyond the last.
_T5 = TokenClassifier(
  T5Config(*(50, 16, 2, 2, 32, 24), head_size=6, num_buckets=8, max_distance=5),
  4,
)
_MODELS = {
  "detector": _DETECTOR,
  "tagger": _TAGGER,
  "classifier of [CLS]": _CLS,
  "classifier of mentions": _MENTION,
  "roberta": _ROBERTA,
  "modernbert": _MODERNBERT,
  "t5": _T5,
}
# An example of the longest is alone in its row without any padding.
_LENGTHS = (6, 9, 3, 12, 1, 7, 2, 12, 5, 4, 8, 3)


@functools.partial(jax.jit, static_argnums=(0, 3))
def _apply(module: Model, params, arrays, layout):
  """Logits, and what else a model shows."""
  logits, state = module.apply(
    {"params": params}, arrays, layout, mutable="intermediates"
  )
  return logits, {k: v[0] for k, v in state["intermediates"].items()}


def _randomise(params, scale: float):
  """Parameters that all matter: as they start, biases are 0 and scales 1."""
  rng = np.random.default_rng(0)
  return jax.tree.map_with_path(
    lambda path, x: rng.normal(path[-1].key == "scale", scale, x.shape).astype(
      x.dtype
    ),
    params,
  )


@functools.cache
def _params(module: Model):
  [batch] = _pack(module, _examples(module).take([0]), ((1, 12),))
  shapes = jax.eval_shape(
    lambda key, arrays: module.init(key, arrays, batch.layout),
    jax.random.key(0),
    _arrays(batch),
  )
  return _randomise(shapes["params"], 0.1 if _features(module) else 0.3)


def _examples(module: Model) -> Examples:
  pooled = isinstance(module, PooledClassifier)
  return random_examples.make(_LENGTHS, one_target=pooled)


def _features(module: Model) -> tuple[str, ...]:
  return tuple(getattr(module, "features", ()))


def _pack(module: Model, examples: Examples, layout) -> list[Batch]:
  return random_examples.pack(examples, layout, _features(module))


def _arrays(batch: Batch) -> dict[str, np.ndarray]:
  """Of the only device."""
  return {name: array[0] for name, array in batch.arrays.items()}


def _logits(module: Model, examples: Examples, layout) -> np.ndarray:
  """Of all targets, in order; however many batches there are."""
  results = np.full((len(examples.targets), module.num_labels), np.nan, "f4")
  for batch in _pack(module, examples, layout):
    logits, shown = _apply(
      module, _params(module), _arrays(batch), batch.layout
    )
    assert logits.dtype == jnp.float32
    # What padding answers counts nowhere, but would spoil sums if it were NaN.
    assert np.all(np.isfinite(logits))
    assert np.all(np.isfinite(shown["hidden"]))
    results[batch.targets] = np.asarray(logits)[batch.places]
  return results


@functools.cache
def _alone(module: Model) -> np.ndarray:
  """Each example in a batch of its own, of one row."""
  examples = _examples(module)
  each = [examples.take([i]) for i in range(len(examples))]
  return np.concatenate([_logits(module, e, ((1, 12),)) for e in each])


@pytest.mark.parametrize("layout", [((3, 21),), ((1, 17), (3, 12))])
@pytest.mark.parametrize("name", _MODELS)
def test_packed_equals_one_by_one(name: str, layout) -> None:
  module = _MODELS[name]
  examples = _examples(module)
  batches = _pack(module, examples, layout)
  assert 1 < len(batches) < len(examples) // 2
  alone = _alone(module)
  np.testing.assert_allclose(
    _logits(module, examples, layout), alone, atol=1e-5, rtol=0
  )
  # They are not all the same.
  assert np.std(alone, axis=0).min() > 0.05


def test_attention_biases() -> None:
  layout = (Group(1, 4), Group(2, 2))
  biases = jax.jit(lambda *columns: attention_biases(*columns, layout))(
    np.array([1, 1, 1, 0, 2, 3, 4, 4]), np.array([0, 1, 2, 0, 0, 0, 1, 0])
  )
  assert [b.shape for b in biases] == [(1, 1, 4, 4), (2, 1, 2, 2)]
  lowest = np.finfo(np.float32).min
  assert {float(x) for b in biases for x in np.unique(b)} == {0.0, lowest}
  # Who sees whom: a line for each token that looks.
  first, second = ((b[:, 0] == 0).astype(int).tolist() for b in biases)
  assert first == [[[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]]]
  assert second == [[[1, 0], [0, 1]], [[1, 1], [0, 1]]]


def _parts(*numbers: int) -> Examples:
  """An example with part 0 of 4 tokens, 1 of 5, 2 of 3; all are targets."""
  parts = np.repeat([0, 1, 2], [4, 5, 3])
  keep = np.isin(parts, numbers)
  # Each part goes on where part 0 ends.
  positions = np.concatenate([range(4), range(4, 9), range(4, 7)])
  whole = random_examples.make([12])
  n = int(keep.sum())
  zeros: np.ndarray = np.zeros(n, np.int32)
  return dataclasses.replace(
    whole,
    token_offsets=np.array([0, n]),
    ids=whole.ids[keep],
    positions=positions[keep].astype(np.int16),
    types=whole.types[keep],
    parts=parts[keep].astype(np.int16),
    texts=whole.texts[keep],
    pos=None,
    target_offsets=np.array([0, n]),
    targets=np.arange(n, dtype=np.int32),
    labels=zeros,
    weights=zeros.astype(np.float32),
    ranges=None,
  )


def _by_part(examples: Examples) -> dict[int, np.ndarray]:
  logits = _logits(_TAGGER, examples, ((1, 12),))
  return {
    int(k): logits[examples.parts == k] for k in np.unique(examples.parts)
  }


def test_parts_do_not_see_each_other() -> None:
  example = _parts(0, 1, 2)
  logits = _by_part(example)
  for changed, moved in ((0, {0, 1, 2}), (1, {1}), (2, {2})):
    ids = example.ids.copy()
    where = example.parts == changed
    ids[where] = (ids[where] + 7) % 50
    others = _by_part(dataclasses.replace(example, ids=ids))
    for part, before in logits.items():
      differences = np.abs(others[part] - before).max(axis=1)
      assert np.all(differences > 1e-3) == (part in moved)
      assert np.all(differences == 0) == (part not in moved)


@pytest.mark.parametrize("part", [1, 2])
def test_a_part_is_as_if_it_were_the_only_one(part: int) -> None:
  both, alone = _by_part(_parts(0, 1, 2)), _by_part(_parts(0, part))
  for k in (0, part):
    np.testing.assert_allclose(both[k], alone[k], atol=1e-5, rtol=0)


@pytest.mark.parametrize("feature", ["char", "pattern", "pos"])
def test_features_reach_the_logits(feature: str) -> None:
  examples = _examples(_DETECTOR)
  # As many rows as there are elsewhere, to compile no more.
  batch = _pack(_DETECTOR, examples, ((3, 21),))[0]
  arrays, params = _arrays(batch), _params(_DETECTOR)
  # A target with neighbours in its segment.
  segments = arrays["segments"][arrays["targets"][batch.places]]
  middle = 1 + int(np.argmax(segments[1:-1] == segments[2:]))
  place = batch.places[middle]
  name = "pos_ids" if feature == "pos" else f"{feature}_index"
  index = arrays[name].copy()
  at = arrays["targets"][place] if feature == "pattern" else place
  index[at] = (index[at] + 1) % 3
  logits, shown = _apply(_DETECTOR, params, arrays, batch.layout)
  other, _ = _apply(_DETECTOR, params, {**arrays, name: index}, batch.layout)
  changed = np.abs(logits - other).max(axis=-1)[batch.places] > 1e-6
  assert changed[middle]
  # Of this token alone; but the LSTM tells its neighbours too.
  near = segments == segments[middle]
  assert changed.sum() == (near.sum() if feature == "pattern" else 1)
  assert not np.any(changed[~near])
  if feature == "pos":
    np.testing.assert_array_equal(
      shown["classifier_input"][:, -features.POS_SIZE :],
      params["pos"]["embedding"][arrays["pos_ids"]],
    )


def test_numbers_of_words_reach_the_logits() -> None:
  module = dataclasses.replace(_TAGGER, word_sizes=(4, 7))
  examples = _examples(module)
  words = np.zeros((len(examples.targets), 2), np.int32)
  examples = dataclasses.replace(examples, words=words)
  [batch] = _pack(module, examples, ((9, 21),))
  arrays = _arrays(batch)
  shapes = jax.eval_shape(
    lambda key: module.init(key, arrays, batch.layout), jax.random.key(0)
  )
  params = _randomise(shapes["params"], 0.3)
  assert params["words"]["embedding"].shape == (11, features.WORD_SIZE)
  before, _ = _apply(module, params, arrays, batch.layout)
  for column in range(2):
    ids = arrays["word_ids"].copy()
    ids[5, column] = 3
    after, shown = _apply(
      module, params, {**arrays, "word_ids": ids}, batch.layout
    )
    changed = np.abs(before - after).max(axis=-1) > 1e-6
    assert np.flatnonzero(changed).tolist() == [5]
    read = shown["classifier_input"][5, -2 * features.WORD_SIZE :].reshape(
      2, -1
    )
    np.testing.assert_array_equal(
      read[column], params["words"]["embedding"][4 * column + 3]
    )


@pytest.mark.parametrize("module", [_CLS, _MENTION, _SPAN])
def test_what_a_classifier_reads(module: PooledClassifier) -> None:
  batch = _pack(module, _examples(module), ((3, 21),))[0]
  arrays, params = _arrays(batch), _params(module)
  logits, shown = _apply(module, params, arrays, batch.layout)
  hidden = np.asarray(shown["hidden"])
  mean = np.zeros((len(arrays["targets"]), _CONFIG.hidden_size))
  if module is not _CLS:
    for row, (start, end) in zip(mean, arrays["ranges"], strict=True):
      if end > start:  # Not so where there is no target.
        row[:] = hidden[start:end].mean(axis=0)
    assert np.std(np.diff(arrays["ranges"][batch.places])) > 0
  read = mean if module is _MENTION else hidden[arrays["targets"]]
  dense, classifier = params["pooler"]["dense"], params["classifier"]
  pooled = np.tanh(read @ dense["kernel"] + dense["bias"][None])
  if module is _SPAN:
    pooled = np.concatenate([pooled, mean], axis=1)
  expected = pooled @ classifier["kernel"] + classifier["bias"][None]
  np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_positions_start_at_the_offset() -> None:
  batch = _arrays(_pack(_TAGGER, _examples(_TAGGER), ((3, 21),))[0])
  layout = (Group(3, 21),)
  base, shifted = (
    dataclasses.replace(_CONFIG, num_layers=1, position_offset=n).module()
    for n in (0, 2)
  )
  shapes = jax.eval_shape(
    lambda key: base.init(key, batch, layout), jax.random.key(0)
  )
  params = _randomise(shapes["params"], 0.3)
  moved = jax.tree.map(lambda x: x, params)
  position = params["embeddings"]["position"]
  moved["embeddings"]["position"] = jnp.roll(position, 2, axis=0)
  apply = jax.jit(
    lambda m, params, positions: m.apply(
      {"params": params}, {**batch, "positions": positions}, layout
    ),
    static_argnums=0,
  )
  expected = apply(base, params, batch["positions"])
  ours = apply(shifted, moved, batch["positions"])
  np.testing.assert_allclose(ours, expected, atol=1e-6)
  # They are read at all.
  other = apply(base, params, 1 + batch["positions"])
  assert np.abs(other - expected).max(axis=1).min() > 1e-2


def test_a_folder_that_asks_for_more_positions(tmp_path: pathlib.Path) -> None:
  """A gather beyond the table would raise nothing."""
  system = tiny_system.make(tmp_path)
  model_folder.save(tmp_path / "model", system)
  path = tmp_path / "model" / "config.json"
  config = json.loads(path.read_text())
  del config["checksum"]
  text = json.dumps(config)
  assert text.count('"max_length": 200') == 2
  for length, fits in ((512, True), (513, False)):
    path.write_text(
      text.replace('"max_length": 200', f'"max_length": {length}')
    )
    if fits:
      model_folder.load(str(path.parent))
    else:
      with pytest.raises(UserError, match="513 is more than the 512"):
        model_folder.load(str(path.parent))


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout(rate: float, impl: str) -> None:
  x = jnp.full((400, 500), 3.0)
  module = Dropout(rate)
  keys = [{"dropout": jax.random.key(i, impl=impl)} for i in range(2)]
  y, other = (np.asarray(module.apply({}, x, False, rngs=k)) for k in keys)
  # Five standard deviations of the share of 200,000 draws.
  tolerance = 5 * (rate * (1 - rate) / x.size) ** 0.5
  assert np.mean(y == 0) == pytest.approx(rate, abs=tolerance)
  np.testing.assert_allclose(y[y != 0], 3.0 / (1 - rate), rtol=1e-6)
  # Another key, other elements.
  both = np.mean((y == 0) & (other == 0))
  assert both == pytest.approx(rate * rate, abs=tolerance)
  # No element hangs on a neighbour, nor on one of the other half.
  kept = (np.asarray(y).ravel() != 0).astype(float)
  for lag in (1, 2, 3, kept.size // 2, kept.size // 2 + 1):
    pairs = np.corrcoef(kept[lag:], kept[:-lag])[0, 1]
    assert abs(pairs) < 5 * (kept.size - lag) ** -0.5
  # Off, and then without a key.
  assert module.apply({}, x, True) is x
  assert Dropout(0.0).apply({}, x, False) is x


@pytest.mark.parametrize("module", [_PATTERNS, _CLS])
def test_dropout_of_models(module: Model) -> None:
  [batch] = _pack(module, _examples(module).take([0, 2]), ((1, 12),))
  arrays, params = _arrays(batch), _params(module)

  @jax.jit
  def apply(params, seed, deterministic):
    # Cheaper to compile than the default generator.
    rngs = {"dropout": jax.random.key(seed, impl="rbg")}
    run = functools.partial(module.apply, {"params": params}, arrays)
    return jax.lax.cond(
      deterministic,
      lambda: run(batch.layout),
      lambda: run(batch.layout, False, rngs=rngs),
    )

  one, again = (apply(params, 0, False) for _ in range(2))
  np.testing.assert_array_equal(one, again)
  still, same = (apply(params, seed, True) for seed in range(2))
  np.testing.assert_array_equal(still, same)
  assert np.abs(one - still).max() > 1e-3
  assert np.abs(one - apply(params, 1, False)).max() > 1e-3


@pytest.mark.parametrize("module", [_PATTERNS, _CLS])
def test_bfloat16(module: Model) -> None:
  """Computes in bfloat16; parameters and logits stay float32."""
  small = dataclasses.replace(_CONFIG, dtype="bfloat16")
  modules = [module, dataclasses.replace(module, encoder=small)]
  params = _params(modules[1])
  assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype("float32")}
  [batch] = _pack(module, _examples(module).take([0, 2]), ((1, 12),))
  (full, _), (half, shown) = (
    _apply(m, params, _arrays(batch), batch.layout) for m in modules
  )
  assert shown["hidden"].dtype == jnp.bfloat16
  assert full.dtype == half.dtype == jnp.float32
  error = np.abs(full - half)[batch.places].max()
  assert 0 < error < 0.2 * np.std(full[batch.places])
