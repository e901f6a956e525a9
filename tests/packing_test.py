"""Rows of a static layout, and examples put into them."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from splitner_jax.inputs import patterns
from splitner_jax.inputs.examples import Examples
from splitner_jax.inputs.packing import (
  POOL,
  Group,
  Layout,
  Packer,
  Placement,
  Shape,
  SmallShape,
  longest_row,
  num_tokens,
  split_layout,
)
from splitner_jax.inputs.text_tables import SHORT_WIDTH, TextKeys
from tests import random_examples

_MIXED = Group(3, 20), Group(1, 50)


def test_layouts() -> None:
  assert num_tokens(_MIXED) == 110
  assert longest_row(_MIXED) == 50
  shape = Shape(_MIXED, 64)
  assert shape.describe() == "3 x 20 + 1 x 50 tokens, 64 targets"


@pytest.mark.parametrize(
  ("devices", "rows"), [(1, (3, 1)), (2, (2, 1)), (3, (1, 1)), (4, (1, 1))]
)
def test_rows_that_devices_cannot_share_are_filled_up(
  devices: int, rows: tuple[int, int]
) -> None:
  assert split_layout(_MIXED, devices) == (
    Group(rows[0], 20),
    Group(rows[1], 50),
  )


def check_placement(
  placement: Placement, lengths: np.ndarray, target_counts: np.ndarray
) -> None:
  """Nothing overlaps or leaves its row, and no target is too many."""
  layout = placement.shape.layout
  rows = [[0] * group.length for group in layout for _ in range(group.rows)]
  for e, row, column in zip(*placement[1:], strict=True):
    assert column + lengths[e] <= len(rows[row])
    for at in range(column, column + lengths[e]):
      assert not rows[row][at]
      rows[row][at] = 1
  assert target_counts[placement.examples].sum() <= placement.shape.targets


def _packed(
  lengths: Sequence[int], layout: Layout, **options
) -> list[Placement]:
  """In order, with no target and no text."""
  sizes = np.array(lengths)
  packer = Packer(sizes, 0 * sizes, [Shape(layout, 0)], **options)
  batches = list(packer.batches(range(len(sizes))))
  for batch in batches:
    check_placement(batch, sizes, 0 * sizes)
  return batches


def test_each_example_once() -> None:
  rng = np.random.default_rng(0)
  for _ in range(100):
    layout = tuple(
      Group(int(rng.integers(1, 5)), int(rng.integers(1, 40)))
      for _ in range(rng.integers(1, 4))
    )
    count = int(rng.integers(0, 200))
    lengths = rng.integers(1, longest_row(layout) + 1, count)
    targets = rng.integers(0, lengths + 1)
    # Limits of the targets, down to the least that takes any example.
    most = int(rng.integers(targets.max(initial=0), num_tokens(layout) + 1))
    packer = Packer(lengths, targets, [Shape(layout, most)])
    order = rng.permutation(count)
    batches = list(packer.batches(iter(order.tolist())))
    placed = np.concatenate([[], *(b.examples for b in batches)])
    assert sorted(placed) == list(range(count))
    for batch in batches:
      check_placement(batch, lengths, targets)


def test_examples_that_fill_a_row_come_first() -> None:
  # 6 and 4 make 10, and 5 and 5; 1 and 2 would leave more.
  [one, two] = _packed([6, 5, 1, 4, 5, 2], (Group(2, 10),))
  assert one.examples.tolist() == [0, 3, 1, 4]
  assert one.columns.tolist() == [0, 6, 0, 5]
  assert two.examples.tolist() == [2, 5]
  # Two tokens may be left, not three.
  [one, _] = _packed([6, 1, 2, 9], (Group(1, 10),))
  assert one.examples.tolist() == [0, 2, 1]


def test_examples_go_into_the_fullest_row_that_takes_them() -> None:
  [batch] = _packed([12, 4, 6], (Group(3, 20),))
  # Not into an empty row; 6 does not fit beside 12 and 4.
  assert batch.rows[1] == batch.rows[0] != batch.rows[2]
  assert batch.columns.tolist() == [0, 12, 0]
  # The short row is the fullest.
  [batch] = _packed([5], _MIXED)
  assert (batch.rows[0] < 3, batch.columns[0]) == (True, 0)
  [batch] = _packed([21], _MIXED)
  assert batch.rows.tolist() == [3]


def test_rows_are_filled_to_the_end() -> None:
  assert len(_packed([9, 1], (Group(1, 10),))) == 1
  # Two rows with as many tokens left.
  assert len(_packed([12, 12, 4, 4, 4, 4], (Group(2, 20),))) == 1


@pytest.mark.parametrize("pool", [1, 2, 7, POOL])
def test_none_waits_for_ever(pool: int) -> None:
  """Each batch starts with the example that has waited longest."""
  rng = np.random.default_rng(pool)
  for _ in range(10):
    # Most of what comes fills a row at once, some fit nothing well.
    lengths = rng.choice([3, 11, 13, 17, 20], 300, p=[0.1, 0.1, 0.1, 0.1, 0.6])
    left = list(range(300))
    for batch in _packed(lengths, (Group(2, 20),), pool=pool):
      assert batch.examples[0] == left[0]
      for example in batch.examples.tolist():
        # None has overtaken more than wait at a time.
        assert left.index(example) < pool
        left.remove(example)


def test_a_pool_of_one_keeps_the_order() -> None:
  lengths = np.random.default_rng(0).integers(1, 21, 200)
  batches = _packed(lengths, _MIXED, pool=1)
  placed = np.concatenate([batch.examples for batch in batches])
  assert placed.tolist() == list(range(200))


def test_a_batch_has_the_first_shape_that_takes_the_oldest() -> None:
  sizes = np.array([5, 4, 30, 5, 9, 3, 30])
  short, long = Shape((Group(2, 10),), 99), Shape((Group(1, 40),), 99)
  packer = Packer(sizes, 0 * sizes, [short, long])
  batches = list(packer.batches(range(7)))
  assert [(b.shape, b.examples.tolist()) for b in batches] == [
    (short, [0, 1, 4]),
    # Short ones fill up what the long one leaves.
    (long, [2, 3, 5]),
    (long, [6]),
  ]
  # The one with few targets, as long as they are few.
  targets = np.array([0, 5, 0, 0, 0, 0, 0])
  few = short._replace(targets=4)
  batches = list(Packer(sizes, targets, [few, long]).batches(range(2)))
  assert [b.shape for b in batches] == [few, long]


def test_small_is_for_a_whole_rest_alone() -> None:
  big, small = Shape((Group(4, 20),), 30), Shape((Group(1, 20),), 6)
  rng = np.random.default_rng(0)
  seen = set()
  for count in itertools.chain(range(12), rng.integers(60, 90, 100)):
    lengths = rng.integers(1, 15, count)
    targets = rng.integers(0, 3, count)
    packer = Packer(lengths, targets, [big], small=[SmallShape(small, 1.0)])
    batches = list(packer.batches(range(count)))
    for batch in batches:
      check_placement(batch, lengths, targets)
    placed = np.concatenate([[], *(b.examples for b in batches)])
    assert sorted(placed) == list(range(count))
    shapes = [batch.shape for batch in batches]
    assert small not in shapes[:-1]
    if count:
      last = batches[-1].examples
      seen.add((len(batches) == 1, shapes[-1] == small))
      # Not where the big one is needed, and always where it is not.
      if lengths[last].sum() > 20 or targets[last].sum() > 6:
        assert shapes[-1] == big
      else:
        assert shapes[-1] == small
  # At once and behind others, small and not: all four have come up.
  assert len(seen) == 4


def test_several_small_ones_instead_of_a_big_one() -> None:
  big, small = Shape((Group(8, 20),), 0), Shape((Group(1, 20),), 0)
  long = Shape((Group(2, 40),), 0)
  tens = np.array([10] * 40 + [30])

  def shapes(order) -> list[Shape]:
    packer = Packer(
      tens, 0 * tens, [big, long], small=[SmallShape(small, 1 / 3)]
    )
    batches = list(packer.batches(order))
    placed = np.concatenate([batch.examples for batch in batches])
    assert sorted(placed) == sorted(order)
    for batch in batches:
      check_placement(batch, tens, 0 * tens)
    return [batch.shape for batch in batches]

  assert shapes(range(6)) == [small] * 3
  assert shapes(range(5)) == [small] * 3
  assert shapes(range(7)) == [big]
  assert shapes(range(20)) == [big, small, small]
  # What is longer has room for others, whichever came first.
  assert shapes([0, 1, 40]) == shapes([40, 0, 1]) == [long]
  assert shapes([*range(11), 40]) == [long, small, small, small]


def test_the_cheapest_of_several_small_ones() -> None:
  """By what their tokens cost; none if another batch costs less."""
  big, three, one = (Shape((Group(n, 20),), 0) for n in (8, 3, 1))
  small = [SmallShape(three, 0.4), SmallShape(one, 0.16)]
  tens = np.array([10] * 40)

  def shapes(count: int) -> list[Shape]:
    packer = Packer(tens, 0 * tens, [big], small=small)
    batches = list(packer.batches(range(count)))
    placed = np.concatenate([batch.examples for batch in batches])
    assert sorted(placed) == list(range(count))
    return [batch.shape for batch in batches]

  assert shapes(2) == [one]
  assert shapes(4) == [one, one]
  assert shapes(6) == [three]
  assert shapes(7) == [three, one]
  assert shapes(12) == [three, three]
  # With a third kind of rest it would be 0.96 and more.
  assert shapes(14) == [three, three, one]
  assert shapes(15) == [big]


def test_small_is_not_for_what_waits_while_others_come() -> None:
  ones = np.ones(30, int)
  big, small = Shape((Group(4, 20),), 0), Shape((Group(1, 20),), 0)
  packer = Packer(ones, 0 * ones, [big], small=[SmallShape(small, 1.0)], pool=3)
  [batch] = packer.batches(range(30))
  assert (batch.shape, len(batch.examples)) == (big, 30)


@pytest.mark.parametrize(
  ("length", "targets", "reason"),
  [(51, 3, "51 tokens and 3 targets"), (9, 7, "9 tokens and 7 targets")],
)
def test_an_example_that_fits_no_shape(
  length: int, targets: int, reason: str
) -> None:
  sizes, counts = np.array([length, 5, 5]), np.array([targets, 1, 1])
  shape = Shape(_MIXED, 6)
  packer = Packer(sizes, counts, [shape], small=[SmallShape(shape, 1.0)])
  with pytest.raises(ValueError, match=f"{reason} fits no shape"):
    list(packer.batches(range(3)))
  # The others do.
  assert len(list(packer.batches([1, 2]))) == 1


_TEXTS = (
  *random_examples.TEXTS,
  *("p53", "B-2", "...", "", "x" * SHORT_WIDTH, "x" * (SHORT_WIDTH + 1)),
  *("A-1-B-2-C-3", "a-1-b-2-c-3", "1234567890", "1.2.3.4.5.6", "é" * 20),
)


def distinct_keys(
  examples: Examples, chosen: Sequence[int], feature: str
) -> list[tuple[int, ...]]:
  """Character ids of the distinct texts that a feature reads."""
  found = set()
  for e in chosen:
    example = examples[e]
    if feature == "char":
      found |= {example.texts[t] for t in example.targets}
    else:
      found |= {patterns.pattern(text) for text in example.texts}
  ids_of = getattr(
    patterns, "character_ids" if feature == "char" else "pattern_ids"
  )
  return [ids_of(text) for text in found]


def check_texts(
  placement: Placement,
  examples: Examples,
  text_keys: TextKeys,
  need: dict | None = None,
) -> None:
  """The tables of a shape hold what a batch has of distinct texts."""
  placed = placement.examples
  tokens = np.concatenate(
    [np.arange(*examples.token_offsets[e : e + 2]) for e in placed]
  )
  targets = np.concatenate(
    [examples.target_tokens()[examples.target_slice(e)] for e in placed]
  )
  for name, alphabet in text_keys.alphabets.items():
    keys = distinct_keys(examples, placed, name)
    long = sum(len(key) > SHORT_WIDTH for key in keys)
    capacity = getattr(placement.shape, name)
    assert long <= capacity[1]
    assert len(keys) <= sum(capacity)
    if need:
      assert need[name] == (len(keys) - long, long)
    # No error.
    alphabet.tables(text_keys.of(name, tokens, targets), capacity)


@pytest.mark.parametrize("features", [("char",), ("pattern", "char")])
def test_texts_fit_their_tables(features: tuple[str, ...]) -> None:
  rng = np.random.default_rng(0)
  layout = (Group(4, 16),)
  free = Shape(layout, 64, (64, 64), (64, 64))
  # Of short and of long ones enough for any example, not for any batch.
  tight = Shape(layout, 64, (2, 7), (3, 6))
  numbers = []
  for shape in (free, tight, free._replace(char=(9, 3), pattern=(5, 4))):
    examples = random_examples.make(rng.integers(1, 7, 150), texts=_TEXTS)
    text_keys = TextKeys(examples, features, False)
    packer = Packer(
      examples.lengths, examples.target_counts, [shape, free], text_keys
    )
    order = rng.permutation(150).tolist()
    batches = list(packer.fill(order))
    for batch in batches:
      placement = batch.placement()
      check_placement(placement, examples.lengths, examples.target_counts)
      targets = examples.target_counts[placement.examples].sum()
      assert batch.need()["targets"] == targets
      check_texts(placement, examples, text_keys, batch.need())
    placed = [e for b in batches for e in b.placement().examples.tolist()]
    assert sorted(placed) == list(range(150))
    numbers.append(len(batches))
  assert numbers[0] < min(numbers[1:])


def test_only_texts_that_are_new_need_room() -> None:
  lengths = [3] * 20
  examples = random_examples.make(lengths, texts=("a", "b" * 20, "c" * 20))
  text_keys = TextKeys(examples, ("char",), False)
  shape = Shape((Group(5, 12),), 60, char=(1, 2))
  counts = examples.target_counts
  packer = Packer(examples.lengths, counts, [shape], text_keys)
  assert len(list(packer.batches(range(20)))) == 1


def test_keys_of_features() -> None:
  examples = random_examples.make([4, 9, 1, 7], texts=_TEXTS)
  places = examples.target_tokens()
  for reference in (False, True):
    text_keys = TextKeys(examples, ("pattern", "pos", "char"), reference)
    assert text_keys.alphabets.keys() == {"char", "pattern"}
    for i, example in enumerate(examples):
      at = slice(*examples.token_offsets[i : i + 2])
      here = places[examples.target_slice(i)]
      for name, expected in (
        (
          "char",
          [
            patterns.character_ids(example.texts[t], reference)
            for t in example.targets
          ],
        ),
        (
          "pattern",
          [
            patterns.pattern_ids(patterns.pattern(text, reference), reference)
            for text in example.texts
          ],
        ),
      ):
        keys = text_keys.of_example(name, i)
        assert keys.tolist() == text_keys.of(name, at, here).tolist()
        ids = text_keys.alphabets[name].ids[keys].tolist()
        assert [tuple(c for c in row if c) for row in ids] == expected
  assert TextKeys(examples, ("pos",), False).alphabets == {}


def test_a_shape_has_room_for_no_text_if_nothing_is_said():
  layout = (Group(1, 8),)
  assert Shape(layout, 3) == Shape(layout, 3, (0, 0), (0, 0))
