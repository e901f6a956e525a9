"""Buckets, the plan of batches, and their arrays."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from splitner_jax.data import patterns
from splitner_jax.data.batches import (
  SHORT_WIDTH,
  Batcher,
  BatchPlan,
  Shape,
  fit_buckets,
  inference_batches,
)
from splitner_jax.data.examples import Example


def _padded(lengths: np.ndarray, buckets: Sequence[int]) -> int:
  return int(np.asarray(buckets)[np.searchsorted(buckets, lengths)].sum())


def test_buckets_are_the_best_there_are() -> None:
  rng = np.random.default_rng(0)
  for _ in range(40):
    batch_size = int(rng.integers(1, 4))
    lengths = rng.choice(rng.integers(1, 60, 7), rng.integers(1, 150))
    buckets = fit_buckets(lengths, batch_size)
    most = min(max(len(lengths) // batch_size // 12, 2), 7)
    sizes = np.unique(-(-lengths // 4) * 4).tolist()
    assert len(buckets) <= most
    assert buckets == sorted(set(buckets))
    assert set(buckets) <= set(sizes)
    assert buckets[-1] == sizes[-1]
    least = min(
      _padded(lengths, [*some, sizes[-1]])
      for n in range(most)
      for some in itertools.combinations(sizes[:-1], n)
    )
    assert _padded(lengths, buckets) == least


def test_buckets_by_hand() -> None:
  assert fit_buckets([5], 16) == [8]
  assert fit_buckets([8, 8, 8], 1) == [8]
  # Two at most, since there are few batches: 1 * 20 + 20 * 8 + 2 * 100.
  assert fit_buckets([3] * 10 + [8] * 10 + [20] + [97] * 2, 4) == [8, 100]
  # Enough batches for all sizes.
  assert fit_buckets([3, 8, 20, 97] * 12, 1) == [4, 8, 20, 100]
  # Seven at most, however many batches.
  assert len(fit_buckets(list(range(1, 101)) * 10, 1)) == 7


def _plan(
  count: int, batch_size: int, seed: int = 3, longest: int = 60
) -> BatchPlan:
  lengths = np.random.default_rng(count).integers(2, longest, count)
  buckets = tuple(fit_buckets(lengths, batch_size))
  return BatchPlan(lengths, batch_size, seed, buckets)


def _epoch(plan: BatchPlan, epoch: int) -> list[tuple[int, list[int]]]:
  n = plan.steps_per_epoch
  batches = [plan.batch(i) for i in range(epoch * n, (epoch + 1) * n)]
  return [(length, rows.tolist()) for length, rows in batches]


@pytest.mark.parametrize(
  ("count", "batch_size"), [(1, 4), (3, 4), (4, 4), (97, 4), (200, 8), (64, 1)]
)
def test_an_epoch_has_each_example_once(count: int, batch_size: int) -> None:
  plan = _plan(count, batch_size)
  assert plan.steps_per_epoch == -(-count // batch_size)
  for epoch in range(3):
    batches = _epoch(plan, epoch)
    rows = [r for _, batch in batches for r in batch if r >= 0]
    assert sorted(rows) == list(range(count))
    assert all(len(batch) == batch_size for _, batch in batches)
    partial = [batch for _, batch in batches if -1 in batch]
    assert len(partial) == (count % batch_size > 0)
    for length, batch in batches:
      assert length in plan.buckets
      assert all(plan.lengths[r] <= length for r in batch if r >= 0)


def test_a_batch_is_a_function_of_seed_epoch_and_step() -> None:
  plan = _plan(50, 4)
  epochs = [_epoch(plan, epoch) for epoch in range(3)]
  again = BatchPlan(plan.lengths, 4, plan.seed, plan.buckets)
  # From the middle, backwards, and in a plan of its own.
  for step in reversed(range(10, 3 * plan.steps_per_epoch)):
    epoch, i = divmod(step, plan.steps_per_epoch)
    length, rows = again.batch(step)
    assert (length, rows.tolist()) == epochs[epoch][i]


def test_epochs_and_seeds_differ() -> None:
  plan = _plan(50, 4)
  other = BatchPlan(plan.lengths, 4, plan.seed + 1, plan.buckets)
  epochs = [_epoch(p, epoch) for p in (plan, other) for epoch in range(3)]
  for one, two in itertools.combinations(epochs, 2):
    assert one != two
    # Not the same batches in another order.
    assert {tuple(b) for _, b in one}.isdisjoint({tuple(b) for _, b in two})


def test_batches_of_an_epoch_are_not_sorted_by_length() -> None:
  lengths = [length for length, _ in _epoch(_plan(400, 4), 0)]
  assert len(set(lengths)) > 3
  assert lengths != sorted(lengths)


def test_padding() -> None:
  plan = BatchPlan(np.array([4, 4, 8, 5]), 2, 0, (4, 8))
  # 21 tokens in batches of 2 * 4 and 2 * 8.
  assert plan.padding() == pytest.approx(1 - 21 / 24)


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


def test_inference_batches_cover_each_example_once() -> None:
  rng = np.random.default_rng(0)
  for _ in range(50):
    lengths = rng.integers(1, 513, rng.integers(1, 200))
    batch_size = int(rng.integers(1, 33))
    batches = list(inference_batches(lengths.tolist(), batch_size))
    rows = np.concatenate([rows for _, rows in batches])
    assert sorted(rows[rows >= 0]) == list(range(len(lengths)))
    assert len(batches) == -(-len(lengths) // batch_size)
    for length, rows in batches:
      assert len(rows) == batch_size
      longest = lengths[rows[rows >= 0]].max()
      # Little padding on top of the longest row.
      assert longest <= length < max(longest, 16) + max(longest / 4, 8)
    # Like lengths are together.
    assert [n for n, _ in batches] == sorted(n for n, _ in batches)


def test_inference_batches_have_few_lengths() -> None:
  lengths = {length for length, _ in inference_batches(range(1, 513), 1)}
  assert len(lengths) <= 20
  assert max(lengths) == 512


def test_inference_batches_of_nothing() -> None:
  assert list(inference_batches([], 4)) == []
