"""Examples as arrays of static shape: rows, features, their tables."""

import dataclasses

import numpy as np
import pytest

from splitner_jax.inputs import patterns
from splitner_jax.inputs.batches import Batcher, BatchPlan, Shape, fit_buckets
from splitner_jax.inputs.tokenizer import Example
from splitner_jax.inputs.text_tables import SHORT_WIDTH


def _example(
  rng: np.random.Generator, texts: list[str], *, sequence: bool = False
) -> Example:
  n = len(texts)
  shape = () if sequence else (n,)
  return Example(
    ids=rng.integers(1, 50, n).astype(np.int32),
    types=rng.integers(0, 2, n).astype(np.int32),
    texts=texts,
    sentence=0,
    first_word=0,
    positions=np.zeros(0, np.int32),
    labels=np.asarray(rng.integers(0, 4, shape), np.int32),
    weights=np.asarray(rng.uniform(0.5, 1, shape), np.float32),
  )


_SHORT = ["a", "Is", "IL-2", "x" * SHORT_WIDTH, "", "B2", "p53", "[CLS]", "é"]
_LONG = ["internationalisation", "123456789", "x" * 40, "A-1-B-2-C-3"]


def _examples(count: int, *, sequence: bool = False) -> list[Example]:
  rng = np.random.default_rng(count)
  texts = _SHORT + _LONG
  return [
    _example(rng, rng.choice(texts, n).tolist(), sequence=sequence)
    for n in rng.integers(1, 12, count)
  ]


# Rows of a batch; the second is empty.
_ROWS = np.array([3, -1, 0, 5])


@pytest.mark.parametrize("sequence", [False, True])
@pytest.mark.parametrize("devices", [1, 2, 4])
def test_arrays(devices: int, sequence: bool) -> None:
  examples = _examples(6, sequence=sequence)
  batcher = Batcher(examples, (), pad_id=1, devices=devices)
  shapes = [Shape(12), Shape(16)]
  shape, arrays = batcher.assemble(_ROWS, 12, shapes)
  assert shape == Shape(12)
  names = "input_ids token_types mask row_mask labels weights"
  assert arrays.keys() == set(names.split())
  for name, array in arrays.items():
    assert array.shape[:2] == (devices, 4 // devices), name
  flat = {key: a.reshape(4, *a.shape[2:]) for key, a in arrays.items()}
  assert flat["row_mask"].tolist() == [True, False, True, True]
  assert flat["mask"].dtype == bool
  assert flat["weights"].dtype == np.float32
  for key in ("input_ids", "token_types", "labels"):
    assert flat[key].dtype == np.int32
  for i, r in enumerate(_ROWS):
    n = 0 if r < 0 else len(examples[r])
    assert flat["mask"][i].tolist() == [True] * n + [False] * (12 - n)
    assert np.all(flat["input_ids"][i, n:] == 1)
    assert np.all(flat["token_types"][i, n:] == 0)
    if r < 0:
      assert not np.any(flat["labels"][i])
      assert not np.any(flat["weights"][i])
      continue
    example = examples[r]
    np.testing.assert_array_equal(flat["input_ids"][i, :n], example.ids)
    np.testing.assert_array_equal(flat["token_types"][i, :n], example.types)
    for key in ("labels", "weights"):
      value = getattr(example, key)
      if not sequence:
        assert not np.any(flat[key][i, n:])
        value = np.concatenate([value, np.zeros(12 - n)])
      np.testing.assert_array_equal(flat[key][i], value)


def _with_pos(examples: list[Example]) -> list[Example]:
  rng = np.random.default_rng(1)
  return [
    dataclasses.replace(e, pos=rng.integers(1, 9, len(e)).astype(np.int32))
    for e in examples
  ]


@pytest.mark.parametrize("features", [("pos",), ("pos", "char"), ("char",)])
@pytest.mark.parametrize("devices", [1, 2, 4])
def test_parts_of_speech(devices: int, features: tuple[str, ...]) -> None:
  examples = _with_pos(_examples(6))
  batcher = Batcher(examples, features, pad_id=1, devices=devices)
  shapes = [Shape.with_room(12, features, (16, 96))]
  shape, arrays = batcher.assemble(_ROWS, 12, shapes)
  assert shape == shapes[0]
  assert arrays["input_ids"].shape == (devices, 4 // devices, 12)
  if "pos" not in features:
    assert "pos_ids" not in arrays
    return
  ids = arrays["pos_ids"]
  assert (ids.dtype, ids.shape) == (np.int32, (devices, 4 // devices, 12))
  for row, r in zip(ids.reshape(4, 12), _ROWS, strict=True):
    real = [] if r < 0 else examples[r].pos.tolist()
    assert row.tolist() == real + [0] * (12 - len(real))
  # All else is as without them.
  others = tuple(name for name in features if name != "pos")
  _, plain = Batcher(examples, others, 1, devices).assemble(_ROWS, 12, shapes)
  assert plain.keys() == arrays.keys() - {"pos_ids"}
  for name, array in plain.items():
    np.testing.assert_array_equal(arrays[name], array)


def test_parts_of_speech_have_no_tables() -> None:
  assert Shape.with_room(8, ("pos",), (3, 4)) == Shape(8)
  assert Shape.with_room(8, ("char", "pos"), (3, 4)) == Shape(8, char=(3, 4))
  assert Shape.with_room(8, ("pattern", "char"), (3, 4)) == Shape(
    8, (3, 4), (3, 4)
  )
  examples = _with_pos(_examples(40))
  lengths = np.array([len(e) for e in examples])
  plan = BatchPlan(lengths, 4, 0, tuple(fit_buckets(lengths, 4)))
  for features in ((), ("char",), ("char", "pattern")):
    shapes, same = (
      Batcher(examples, names, 0, 2).fit_shapes(plan)
      for names in (features, ("pos", *features))
    )
    assert shapes == same


def _check_features(
  batcher: Batcher, rows: np.ndarray, arrays: dict[str, np.ndarray]
) -> None:
  """Every token's index points at the ids of its own text."""
  ids_of = {
    "char": patterns.character_ids,
    "pattern": lambda text: patterns.pattern_ids(patterns.pattern(text)),
  }
  per_device = len(rows) // batcher.devices
  for name in batcher.features:
    short, long = arrays[f"{name}_short"], arrays[f"{name}_long"]
    index = arrays[f"{name}_index"]
    assert short.dtype == long.dtype == index.dtype == np.int32
    assert short.shape[2:] == (SHORT_WIDTH,)
    assert long.shape[2:] == (patterns.MAX_CHARACTERS,)
    for i, r in enumerate(rows):
      if r < 0:
        continue
      device, row = divmod(i, per_device)
      for position, text in enumerate(batcher.examples[r].texts):
        at = int(index[device, row, position])
        split = len(short[device])
        ids = short[device, at] if at < split else long[device, at - split]
        assert tuple(ids[ids > 0]) == ids_of[name](text)
        # Padding is on the right only.
        assert not np.any(ids[len(ids_of[name](text)) :])


@pytest.mark.parametrize(
  "features", [("char",), ("pattern",), ("char", "pattern")]
)
@pytest.mark.parametrize("devices", [1, 2])
def test_features(devices: int, features: tuple[str, ...]) -> None:
  batcher = Batcher(_examples(8), features, pad_id=0, devices=devices)
  rows = np.array([0, 1, 2, 3, 4, 5, -1, 7])
  room = Shape(12, **dict.fromkeys(features, (16, 16)))
  shape, arrays = batcher.assemble(rows, 12, [room])
  assert shape == room
  assert all(a.shape[0] == devices for a in arrays.values())
  _check_features(batcher, rows, arrays)


def test_texts_of_the_reference() -> None:
  texts = ["é", "aé1", "</s>"]
  batcher = Batcher(
    [_example(np.random.default_rng(0), texts)],
    ("char", "pattern"),
    pad_id=0,
    devices=1,
    reference_text=True,
  )
  room = Shape(4, char=(3, 0), pattern=(3, 0))
  _, arrays = batcher.assemble(np.array([0]), 4, [room])
  expected = {
    "char": [(), (33, 86), (25, 9, 51, 26)],
    "pattern": [(), (39, 41), (25, 9, 39, 26)],
  }
  for name, ids in expected.items():
    at = arrays[f"{name}_index"][0, 0, :3]
    rows = arrays[f"{name}_short"][0][at]
    assert [tuple(row[row > 0]) for row in rows] == ids


@pytest.mark.parametrize("devices", [1, 2])
def test_short_texts_may_stand_in_the_long_table(devices: int) -> None:
  batcher = Batcher(_examples(8), ("char", "pattern"), 0, devices)
  rows = np.arange(8)
  tight = Shape(12, char=(2, len(_SHORT + _LONG) - 2), pattern=(0, 16))
  last = Shape(12, char=(16, 96), pattern=(16, 96))
  shape, arrays = batcher.assemble(rows, 12, [tight, last])
  assert shape == tight
  assert arrays["char_short"].shape == (devices, 2, SHORT_WIDTH)
  _check_features(batcher, rows, arrays)


def test_long_texts_do_not_stand_in_the_short_table() -> None:
  example = _example(np.random.default_rng(0), [*_LONG, "a", "x" * SHORT_WIDTH])
  batcher = Batcher([example], ("char",), 0, 1)
  small, last = Shape(8, char=(9, 3)), Shape(8, char=(0, 6))
  assert batcher.assemble(np.array([0]), 8, [small, last])[0] == last
  enough = Shape(8, char=(2, 4))
  assert batcher.assemble(np.array([0]), 8, [enough, last])[0] == enough


@pytest.mark.parametrize("feature", ["char", "pattern"])
def test_over_full_batch_takes_the_last_shape(feature: str) -> None:
  batcher = Batcher(_examples(8), (feature,), 0, 1)
  shapes = [
    Shape(12, **{feature: (3, 3)}),
    Shape(16, **{feature: (16, 16)}),
    Shape(20, **{feature: (16, 8 * 20)}),
  ]
  full, empty = np.arange(8), np.full(8, -1)
  one = empty.copy()
  one[0] = int(np.argmin([len(e) for e in batcher.examples]))
  assert batcher.assemble(one, 12, shapes)[0] == shapes[0]
  shape, arrays = batcher.assemble(full, 12, shapes)
  assert shape == shapes[2]
  assert arrays["input_ids"].shape == (1, 8, 20)
  assert arrays["labels"].shape == arrays[f"{feature}_index"].shape
  _check_features(batcher, full, arrays)


def test_assembling_again_gives_the_same() -> None:
  examples = _examples(8)
  rows = np.arange(8)
  shapes = [Shape(12, char=(4, 16), pattern=(16, 16))]
  batcher = Batcher(examples, ("char", "pattern"), 0, 2)
  _, first = batcher.assemble(rows, 12, shapes)
  batcher.assemble(rows[::-1], 12, shapes)
  for other in (batcher, Batcher(examples, ("char", "pattern"), 0, 2)):
    _, again = other.assemble(rows, 12, shapes)
    assert first.keys() == again.keys()
    for name in first:
      np.testing.assert_array_equal(first[name], again[name])


def test_texts_stand_in_order() -> None:
  """Not in that of a set of strings, which differs between processes."""
  texts = [f"{c}{d}" for c in "fbdaec" for d in "4231"]
  example = _example(np.random.default_rng(0), texts)
  batcher = Batcher([example], ("char",), 0, 1)
  _, arrays = batcher.assemble(np.array([0]), 24, [Shape(24, char=(24, 0))])
  assert [tuple(ids[:2]) for ids in arrays["char_short"][0]] == [
    patterns.character_ids(text) for text in sorted(texts)
  ]


def _random_examples(count: int) -> list[Example]:
  """Examples with many different texts."""
  rng = np.random.default_rng(count)
  return [
    _example(
      rng,
      [
        "".join(rng.choice(list("abAB12-"), rng.integers(1, 14)))
        for _ in range(rng.integers(2, 40))
      ],
    )
    for _ in range(count)
  ]


@pytest.mark.parametrize("features", [(), ("char",), ("char", "pattern")])
def test_shapes_hold_the_batches_of_a_plan(features: tuple[str, ...]) -> None:
  examples = _random_examples(100)
  lengths = np.array([len(e) for e in examples])
  plan = BatchPlan(lengths, 4, 0, tuple(fit_buckets(lengths, 4)))
  batcher = Batcher(examples, features, 0, 2)
  shapes = batcher.fit_shapes(plan)
  own = len(plan.buckets)
  assert tuple(s.length for s in shapes[:own]) == plan.buckets
  # One more for any batch, where texts could be too many.
  assert [s.length for s in shapes[own:]] == [plan.buckets[-1]] * bool(features)
  for step in range(3 * plan.steps_per_epoch):
    length, rows = plan.batch(step)
    shape, arrays = batcher.assemble(rows, length, shapes)
    assert shape in shapes[:own]
    assert shape.length == length == arrays["mask"].shape[-1]
    _check_features(batcher, rows, arrays)


def test_the_shape_for_any_batch_holds_any_batch() -> None:
  examples = _random_examples(30)
  lengths = np.array([len(e) for e in examples])
  plan = BatchPlan(lengths, 4, 0, tuple(fit_buckets(lengths, 4)))
  last = Batcher(examples, ("char", "pattern"), 0, 2).fit_shapes(plan)[-1]
  rng = np.random.default_rng(0)
  # As bad as it can get: every token another long text.
  worst = [
    _example(rng, [f"{i:02}{j:02}-abcdefgh" for j in range(last.length)])
    for i in range(4)
  ]
  batcher = Batcher(worst, ("char", "pattern"), 0, 2)
  shape, arrays = batcher.assemble(np.arange(4), last.length, [last])
  assert shape == last
  _check_features(batcher, np.arange(4), arrays)
