"""Placed examples as arrays: every token, target and text at its place."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from splitner_jax.inputs import patterns
from splitner_jax.inputs.batches import Batch, Batcher
from splitner_jax.inputs.examples import Examples
from splitner_jax.inputs.packing import Group, Layout, Packer, Placement, Shape
from splitner_jax.inputs.text_tables import SHORT_WIDTH, TextKeys
from tests import random_examples

_ALL = "char", "pattern", "pos"
_TEXTS = (*random_examples.TEXTS, "123456789", "A-1-B-2-C-3", "p53")

# One group and two; rows that two or four devices can share and cannot.
_LAYOUTS: tuple[Layout, ...] = (
  (Group(4, 16),),
  (Group(3, 16),),
  (Group(1, 24), Group(5, 12)),
  (Group(8, 9), Group(4, 20)),
)


def _examples(lengths: Sequence[int], **options) -> Examples:
  """Examples whose tokens also have parts."""
  examples = random_examples.make(lengths, texts=_TEXTS, **options)
  rng = np.random.default_rng(len(lengths))
  parts = rng.integers(0, 5, len(examples.ids)).astype(np.int16)
  return dataclasses.replace(examples, parts=parts)


def _placements(
  examples: Examples, shape: Shape, features: Sequence[str] = ()
) -> list[Placement]:
  packer = Packer(
    examples.lengths,
    examples.target_counts,
    [shape],
    TextKeys(examples, features, False),
  )
  return list(packer.batches(range(len(examples))))


def _batcher(
  examples: Examples, features: Sequence[str], devices: int = 1
) -> Batcher:
  keys = TextKeys(examples, features, False)
  return Batcher(examples, features, keys, pad_id=7, devices=devices)


def _starts(placement: Placement, devices: int) -> dict[int, tuple[int, int]]:
  """Device and first token of each example."""
  layout = placement.shape.layout
  # Each device has an equal part of each group's rows, one after the other.
  where = []
  before = 0
  for group in layout:
    part = -(-group.rows // devices)
    for row in range(group.rows):
      device, own_row = divmod(row, part)
      where.append((device, before + own_row * group.length))
    before += part * group.length
  return {
    int(e): (where[row][0], where[row][1] + int(column))
    for e, row, column in zip(*placement[1:], strict=True)
  }


def check_batch(batch: Batch, placement: Placement, batcher: Batcher) -> None:
  """Compares the arrays with the examples, one value at a time."""
  arrays, examples = batch.arrays, batcher.examples
  devices, shape = batcher.devices, placement.shape
  starts = _starts(placement, devices)
  assert batch.layout == tuple(
    Group(-(-group.rows // devices), group.length) for group in shape.layout
  )
  size = sum(group.rows * group.length for group in batch.layout)
  _check_names(batch, batcher, min(shape.targets, size), size)

  # Tokens.
  real = np.zeros((devices, size), bool)
  segments = []
  for e, (device, start) in starts.items():
    example = examples[e]
    here = device, slice(start, start + len(example.ids))
    assert not real[here].any()
    real[here] = True
    for name, values in (
      ("input_ids", example.ids),
      ("token_types", example.types),
      ("positions", example.positions),
      ("parts", example.parts),
    ):
      assert arrays[name][here].tolist() == values.tolist()
    segments.append(set(arrays["segments"][here].tolist()))
  # Each example has one of its own, also beside one in the next row.
  assert all(len(segment) == 1 for segment in segments)
  assert len(set.union(*segments)) == len(segments)
  assert 0 not in set.union(*segments)
  assert np.all(arrays["input_ids"][~real] == batcher.pad_id)
  for name in ("token_types", "positions", "segments", "parts"):
    assert not arrays[name][~real].any()

  # Targets.
  room = arrays["targets"].shape[1]
  expected = [
    t
    for e in starts
    for t in range(*examples.target_offsets[e : e + 2].tolist())
  ]
  assert sorted(batch.targets.tolist()) == sorted(expected)
  assert len(set(batch.places.tolist())) == len(batch.places) == len(expected)
  answered = np.zeros((devices, room), bool)
  for place, t in zip(batch.places, batch.targets, strict=True):
    e = int(np.searchsorted(examples.target_offsets, t, "right")) - 1
    example, (device, start) = examples[e], starts[e]
    k = int(t - examples.target_offsets[e])
    at = device, int(place) - device * room
    assert 0 <= at[1] < room
    answered[at] = True
    target = int(example.targets[k])
    assert arrays["targets"][at] == start + target
    assert arrays["labels"][at] == example.labels[k]
    assert arrays["weights"][at] == example.weights[k]
    if example.ranges is not None:
      ranges = (start + example.ranges[k]).tolist()
      assert arrays["ranges"][at].tolist() == ranges
    if "pos" in batcher.features:
      assert arrays["pos_ids"][at] == example.pos[target]
  for name in ("targets", "labels", "weights", "ranges", "pos_ids"):
    if name in arrays:
      assert not arrays[name][~answered].any()
  _check_texts(batch, batcher, starts)


def _check_names(batch: Batch, batcher: Batcher, room: int, size: int) -> None:
  """Which arrays there are, of which type and size."""
  of_tokens = {"input_ids", "token_types", "positions", "segments", "parts"}
  of_targets = {"targets", "labels", "weights"}
  tables = set()
  if batcher.examples.ranges is not None:
    of_targets.add("ranges")
  if "pos" in batcher.features:
    of_targets.add("pos_ids")
  if "char" in batcher.features:
    of_targets.add("char_index")
    tables |= {"char_short", "char_long"}
  if "pattern" in batcher.features:
    of_tokens.add("pattern_index")
    tables |= {"pattern_short", "pattern_long"}
  assert batch.arrays.keys() == of_tokens | of_targets | tables
  for name, array in batch.arrays.items():
    assert array.dtype == (np.float32 if name == "weights" else np.int32)
    assert len(array) == batcher.devices
    if name in of_tokens:
      assert array.shape[1:] == (size,)
    elif name in of_targets:
      assert array.shape[1:] == ((room, 2) if name == "ranges" else (room,))


def _check_texts(
  batch: Batch, batcher: Batcher, starts: dict[int, tuple[int, int]]
) -> None:
  """Each index is the row of the ids of its own text."""
  arrays, examples = batch.arrays, batcher.examples
  room = arrays["targets"].shape[1]
  found = []
  if "char" in batcher.features:
    texts = [examples.distinct[t] for t in examples.texts]
    tokens = examples.target_tokens()
    for place, t in zip(batch.places, batch.targets, strict=True):
      ids = patterns.character_ids(texts[tokens[t]])
      found.append(("char", *divmod(int(place), room), ids))
  if "pattern" in batcher.features:
    for e, (device, start) in starts.items():
      for i, text in enumerate(examples[e].texts):
        ids = patterns.pattern_ids(patterns.pattern(text))
        found.append(("pattern", device, start + i, ids))
  used = set()
  for name, device, at, ids in found:
    row = int(arrays[f"{name}_index"][device, at])
    width, table = "short", arrays[f"{name}_short"][device]
    if row >= len(table):
      row -= len(table)
      width, table = "long", arrays[f"{name}_long"][device]
    used.add((f"{name}_{width}", device, row))
    assert table[row].tolist() == [*ids] + [0] * (len(table[row]) - len(ids))
  # Rows of nothing, or of what only another device has, are empty.
  for name, widths in itertools.product(_ALL[:2], ("short", "long")):
    table = arrays.get(f"{name}_{widths}", np.zeros((0, 0, 0)))
    for device, row in zip(*np.nonzero(table.any(axis=2)), strict=True):
      assert (f"{name}_{widths}", device, row) in used


@pytest.mark.parametrize("devices", [1, 2, 4])
@pytest.mark.parametrize("layout", _LAYOUTS)
def test_everything_is_at_its_place(layout: Layout, devices: int) -> None:
  rng = np.random.default_rng(devices)
  longest = max(group.length for group in layout)
  examples = _examples(rng.integers(1, longest + 1, 60).tolist())
  # Room for all texts, if short ones may stand in the long table.
  shape = Shape(layout, 70, (4, 6), (1, 9))
  batcher = _batcher(examples, _ALL, devices)
  placements = _placements(examples, shape, _ALL)
  assert len(placements) > 4
  for placement in placements:
    check_batch(batcher.assemble(placement), placement, batcher)


@pytest.mark.parametrize(
  "features", [(), ("char",), ("pattern",), ("pos",), ("pattern", "char")]
)
def test_features(features: tuple[str, ...]) -> None:
  examples = _examples([5, 9, 3, 8, 12])
  shape = Shape(_LAYOUTS[0], 50, (10, 5), (10, 5))
  batcher = _batcher(examples, features, 2)
  [placement] = _placements(examples, shape, features)
  check_batch(batcher.assemble(placement), placement, batcher)


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_one_target_each(devices: int) -> None:
  """As of a task that asks about mentions; there is no part of speech."""
  examples = _examples([4, 9, 2, 7, 16, 5], one_target=True)
  examples = dataclasses.replace(examples, pos=None)
  batcher = _batcher(examples, (), devices)
  [placement] = _placements(examples, Shape(_LAYOUTS[0], 6))
  batch = batcher.assemble(placement)
  assert batch.arrays["targets"].shape == (devices, 6)
  check_batch(batch, placement, batcher)


@pytest.mark.parametrize("devices", [1, 2])
def test_numbers_of_words(devices: int) -> None:
  examples = _examples([5, 9, 3, 8, 12])
  count = len(examples.targets)
  words = np.arange(3, 3 + 2 * count, dtype=np.int32).reshape(count, 2)
  examples = dataclasses.replace(examples, words=words)
  batcher = _batcher(examples, (), devices)
  [placement] = _placements(examples, Shape(_LAYOUTS[0], 50))
  batch = batcher.assemble(placement)
  ids = batch.arrays["word_ids"]
  assert ids.shape == (*batch.arrays["targets"].shape, 2)
  flat = ids.reshape(-1, 2)
  np.testing.assert_array_equal(flat[batch.places], words[batch.targets])
  # And 0 of padding.
  assert np.count_nonzero(flat) == words.size


def test_patterns_of_other_texts_than_the_tokens() -> None:
  """As of whole words: in the tables of training and those of inference."""
  plain = _examples([5, 9, 3])
  other = np.random.default_rng(1).permutation(plain.texts)
  examples = dataclasses.replace(plain, patterns=other)
  [placement] = _placements(plain, Shape(_LAYOUTS[0], 50, (0, 0), (20, 20)))
  batch, expected = (
    _batcher(each, ("pattern",)).assemble(placement)
    for each in (examples, dataclasses.replace(plain, texts=other))
  )
  for name, array in expected.arrays.items():
    np.testing.assert_array_equal(batch.arrays[name], array)
  batch, expected = (
    Batcher(each, ("char", "pattern"), None, 0, 1).assemble(placement).texts
    for each in (examples, dataclasses.replace(plain, texts=other))
  )
  np.testing.assert_array_equal(batch["pattern"], expected["pattern"])
  assert (batch["char"] != expected["char"]).any()


def test_examples_without_ranges_and_without_targets() -> None:
  examples = _examples([4, 9, 2, 7])
  # The second and the last have none.
  some = np.isin(np.arange(4), [0, 2]).repeat(examples.target_counts)
  counts = examples.target_counts * [1, 0, 1, 0]
  examples = dataclasses.replace(
    examples,
    target_offsets=np.concatenate([[0], np.cumsum(counts)]),
    targets=examples.targets[some],
    labels=examples.labels[some],
    weights=examples.weights[some],
    ranges=None,
  )
  for devices in (1, 2):
    batcher = _batcher(examples, ("pos",), devices)
    [placement] = _placements(examples, Shape(_LAYOUTS[1], 12))
    check_batch(batcher.assemble(placement), placement, batcher)


def test_devices_without_an_example() -> None:
  examples = _examples([5])
  shape = Shape(_LAYOUTS[0], 20, (9, 9), (9, 9))
  batcher = _batcher(examples, _ALL, 4)
  [placement] = _placements(examples, shape, _ALL)
  batch = batcher.assemble(placement)
  check_batch(batch, placement, batcher)
  for name, array in batch.arrays.items():
    empty = 7 if name == "input_ids" else 0
    assert sum(bool(np.any(own != empty)) for own in array) <= 1


def test_a_device_has_tables_no_larger_than_its_tokens_need() -> None:
  examples = _examples([5, 3])
  shape = Shape(_LAYOUTS[0], 64, (40, 10), (10, 40))
  batcher = _batcher(examples, _ALL, 4)
  [placement] = _placements(examples, shape, _ALL)
  batch = batcher.assemble(placement)
  check_batch(batch, placement, batcher)
  width = patterns.MAX_CHARACTERS
  shapes = {name: array.shape for name, array in batch.arrays.items()}
  assert shapes["targets"] == (4, 16)
  assert shapes["char_short"] == (4, 16, SHORT_WIDTH)
  assert shapes["char_long"] == (4, 10, width)
  assert shapes["pattern_short"] == (4, 10, SHORT_WIDTH)
  assert shapes["pattern_long"] == (4, 16, width)


def test_parts_of_speech_that_are_not_there() -> None:
  examples = dataclasses.replace(_examples([5]), pos=None)
  [placement] = _placements(examples, Shape(_LAYOUTS[0], 20))
  with pytest.raises(ValueError, match="no parts of speech"):
    _batcher(examples, ("pos",)).assemble(placement)


def test_assembling_again_gives_the_same() -> None:
  rng = np.random.default_rng(0)
  examples = _examples(rng.integers(1, 13, 40).tolist())
  shape = Shape(_LAYOUTS[2], 60, (9, 5), (9, 5))
  first, *others = _placements(examples, shape, _ALL)
  batcher = _batcher(examples, _ALL, 2)
  batch = batcher.assemble(first)
  for placement in others:
    batcher.assemble(placement)
  for other in (batcher, _batcher(examples, _ALL, 2)):
    again = other.assemble(first)
    assert again.layout == batch.layout
    assert again.arrays.keys() == batch.arrays.keys()
    np.testing.assert_array_equal(again.places, batch.places)
    np.testing.assert_array_equal(again.targets, batch.targets)
    for name, array in batch.arrays.items():
      np.testing.assert_array_equal(again.arrays[name], array)
