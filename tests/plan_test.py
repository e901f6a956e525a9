"""The plan of a training's batches, and the shapes of inference."""

import dataclasses
import itertools

import numpy as np
import pytest

from splitner_jax.inputs import plan as plan_module
from splitner_jax.inputs.batches import Batcher
from splitner_jax.inputs.examples import Examples
from splitner_jax.inputs.layouts import inference_shapes
from splitner_jax.inputs.packing import Packer, Placement, num_tokens
from splitner_jax.inputs.plan import Plan, make_plan
from splitner_jax.inputs.text_tables import SHORT_WIDTH, TextKeys
from tests import random_examples
from tests.batches_test import check_batch
from tests.packing_test import check_placement, check_texts, distinct_keys

_FEATURES = "char", "pattern"
_SHORT_PATTERNS = [
  "1" * ones + mark * marks
  for ones in range(1, 6)
  for marks in range(1, 4)
  for mark in ".-"
]


def _lengths(kind: str) -> np.ndarray:
  """Of tokens of sentences, distributed as in some corpora."""
  rng = np.random.default_rng(1)
  if kind == "wnut":
    return np.clip(rng.normal(41, 12, 3000), 14, 85).astype(int)
  if kind == "bionlp":
    lengths = rng.lognormal(np.log(48) - 0.35**2 / 2, 0.35, 2000)
    lengths[0] = 214
    return np.clip(lengths, 10, 214).astype(int)
  lengths = rng.lognormal(np.log(32) - 0.5**2 / 2, 0.5, 1000)
  lengths[:5] = rng.integers(300, 401, 5)
  return np.clip(lengths, 8, 400).astype(int)


def _plan(
  examples: Examples,
  *,
  batch_size: int = 4,
  seed: int = 3,
  row_length: int = 0,
  features: tuple[str, ...] = (),
) -> Plan:
  return make_plan(
    examples,
    TextKeys(examples, features, False),
    batch_size=batch_size,
    seed=seed,
    row_length=row_length,
  )


def _small(count: int = 60) -> Examples:
  rng = np.random.default_rng(count)
  return random_examples.make(rng.integers(2, 60, count).tolist())


def _values(batches) -> list[tuple]:
  """Placements, without arrays."""
  return [(b.shape, *(column.tolist() for column in b[1:])) for b in batches]


def _check_epoch(plan: Plan, batches: list[Placement]) -> None:
  """Each example once, in batches that hold them."""
  lengths = np.array(plan.packer.lengths)
  targets = np.array(plan.packer.target_counts)
  for batch in batches:
    assert batch.shape in plan.shapes
    check_placement(batch, lengths, targets)
  placed = np.concatenate([batch.examples for batch in batches])
  assert sorted(placed) == list(range(plan.count))


@pytest.mark.parametrize(
  ("kind", "shapes"), [("wnut", 1), ("bionlp", 1), ("ontonotes", 2)]
)
def test_lengths_as_of_real_corpora(kind: str, shapes: int) -> None:
  lengths = _lengths(kind)
  plan = _plan(random_examples.make(lengths.tolist()), batch_size=16)
  assert len(plan.shapes) <= shapes
  for epoch in range(2):
    batches = list(plan.epoch(epoch))
    _check_epoch(plan, batches)
    total = sum(num_tokens(batch.shape.layout) for batch in batches)
    padding = 1 - lengths.sum() / total
    assert padding <= 0.05
    assert len(lengths) / len(batches) == pytest.approx(16, rel=0.15)
    # What the plan says is true of the first epoch, and about so of others.
    slack = 0.02 * epoch
    assert plan.padding == pytest.approx(padding, abs=1e-9 + slack)
    assert plan.batches == pytest.approx(len(batches), rel=1e-9 + slack)


@pytest.mark.parametrize("row_length", [0, 40, 128])
@pytest.mark.parametrize(
  ("count", "batch_size"), [(1, 4), (3, 4), (4, 4), (97, 4), (150, 8), (64, 1)]
)
def test_an_epoch_has_each_example_once(
  count: int, batch_size: int, row_length: int
) -> None:
  plan = _plan(_small(count), batch_size=batch_size, row_length=row_length)
  assert plan.count == count
  for epoch in range(3):
    _check_epoch(plan, list(plan.epoch(epoch)))


@pytest.mark.parametrize(("row_length", "length"), [(200, 200), (24, 64)])
def test_rows_of_one_length(row_length: int, length: int) -> None:
  """Longer ones if an example is."""
  lengths = np.random.default_rng(0).integers(10, 50, 400)
  lengths[7] = 60
  examples = random_examples.make(lengths.tolist())
  plan = _plan(examples, batch_size=30, row_length=row_length)
  [shape] = plan.shapes
  [group] = shape.layout
  assert group.length == length
  batches = list(plan.epoch(1))
  assert 400 / len(batches) == pytest.approx(30, rel=0.15)


def test_a_batch_is_a_function_of_seed_epoch_and_number() -> None:
  plan = _plan(_small())
  epochs = [_values(plan.epoch(epoch)) for epoch in range(3)]
  # Another process: backwards, and from any batch on.
  again = _plan(_small())
  assert again.shapes == plan.shapes
  for epoch in (2, 0, 1):
    n = len(epochs[epoch])
    for first in (n, n - 1, n // 2, 1, 0):
      assert _values(again.epoch(epoch, first)) == epochs[epoch][first:]
  # Two epochs under way at once.
  both = list(zip(plan.epoch(0), plan.epoch(1), strict=False))
  assert _values(one for one, _ in both) == epochs[0][: len(both)]
  assert _values(two for _, two in both) == epochs[1][: len(both)]


def test_epochs_and_seeds_differ() -> None:
  epochs = [
    _values(plan.epoch(epoch))
    for plan in (_plan(_small()), _plan(_small(), seed=4))
    for epoch in range(3)
  ]
  for one, two in itertools.combinations(epochs, 2):
    # Not the same batches in another order.
    same = {frozenset(b[1]) for b in one} & {frozenset(b[1]) for b in two}
    assert len(same) <= 1


def test_an_epoch_is_not_sorted_by_length() -> None:
  lengths = np.sort(np.random.default_rng(0).integers(5, 60, 1200))
  plan = _plan(random_examples.make(lengths.tolist()), row_length=64)
  placed = np.concatenate([batch.examples for batch in plan.epoch(0)])
  parts = lengths[placed].reshape(4, -1).mean(axis=1)
  assert parts == pytest.approx(lengths.mean(), rel=0.1)


def test_room_for_targets_and_texts() -> None:
  rng = np.random.default_rng(0)
  texts = [
    "".join(rng.choice(list("abAB12-"), rng.integers(1, 14)))
    for _ in range(300)
  ]
  lengths = rng.integers(2, 40, 200).tolist()
  examples = random_examples.make(lengths, texts=texts)
  plan = _plan(examples, batch_size=8, features=_FEATURES)
  text_keys = TextKeys(examples, _FEATURES, False)
  for epoch in range(3):
    batches = list(plan.epoch(epoch))
    _check_epoch(plan, batches)
    assert 200 / len(batches) == pytest.approx(8, rel=0.15)
    for batch in batches:
      check_texts(batch, examples, text_keys)
  first = list(plan.epoch(0))
  for devices in (1, 2):
    batcher = Batcher(examples, _FEATURES, text_keys, 0, devices)
    for batch in first:
      check_batch(batcher.assemble(batch), batch, batcher)
  # Room for what the first epoch needs, and hardly more.
  [shape] = plan.shapes
  assert plan.batches == len(first)
  targets = max(examples.target_counts[b.examples].sum() for b in first)
  assert targets <= shape.targets < targets + 16
  for name in _FEATURES:
    keys = [distinct_keys(examples, b.examples, name) for b in first]
    long = [sum(len(key) > SHORT_WIDTH for key in some) for some in keys]
    short = [len(some) - n for some, n in zip(keys, long, strict=True)]
    for seen, room in zip(
      (max(short), max(long)), getattr(shape, name), strict=True
    ):
      assert seen <= room < seen + 16
  # Without texts there is none for them.
  [plain] = _plan(examples, batch_size=8).shapes
  assert plain == shape._replace(char=(0, 0), pattern=(0, 0))


def test_room_for_examples_that_were_not_looked_at(
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  """What batches need is read off some; any example fits all the same."""
  monkeypatch.setattr(plan_module, "_CHUNK", 100)
  lengths = [40] * 1100
  plain = random_examples.make(lengths, texts=("a",), one_target=True)
  order = np.concatenate(
    [b.examples for b in _plan(plain, batch_size=1).epoch(0)]
  )
  # Of the last one of the first epoch each token is a target, and another text.
  texts = plain.texts.reshape(1100, 40).copy()
  texts[order[-1]] = np.arange(1, 41)
  counts = np.ones(1100, int)
  counts[order[-1]] = 40
  targets = [t for count in counts for t in range(count)]
  long = ["1" * SHORT_WIDTH + "." * n for n in range(1, 11)]
  examples = dataclasses.replace(
    plain,
    texts=texts.reshape(-1),
    distinct=("a", *_SHORT_PATTERNS, *long),
    target_offsets=np.concatenate([[0], np.cumsum(counts)]),
    targets=np.array(targets, np.int32),
  )
  plan = _plan(examples, batch_size=1, features=_FEATURES)
  assert sorted(len(b.examples) for b in plan.epoch(0)) == [1] * 1100
  # An estimate, from those that were looked at.
  assert plan.batches == 1100


@pytest.mark.parametrize("one_target", [False, True])
@pytest.mark.parametrize(
  ("batch_size", "max_length", "row_length"),
  [(4, 200, 64), (32, 512, 128), (1, 16, 128), (2, 512, 512)],
)
def test_inference_takes_any_example(
  batch_size: int, max_length: int, row_length: int, one_target: bool
) -> None:
  shapes = inference_shapes(
    batch_size, max_length, 1 / 8 if one_target else 1.0, row_length
  )
  few, some, many, long = shapes
  rows = min(row_length, max_length)
  assert [s.layout[-1].length for s in (many, long)] == [rows, max_length]
  assert [tuple(group) for group in few.layout] == [(1, rows)]
  [[some_rows, length]] = some.layout
  assert some_rows in (1, 3)
  assert length == rows
  # A token costs the less the more there are, and no batch more than `many`.
  small = shapes.costs_on_cpu()
  assert [s.shape for s in small] == [some, few]
  for each in small:
    share = num_tokens(each.shape.layout) / num_tokens(many.layout)
    assert share <= each.cost <= 1
  assert small[0].cost <= 3 * small[1].cost
  # A batch of long ones is not a dearer one.
  most = max(num_tokens(many.layout), max_length)
  assert num_tokens(long.layout) <= most
  # Their texts are in tables, not in the batches.
  assert {s.char for s in shapes} == {s.pattern for s in shapes} == {(0, 0)}
  lengths = [max_length, rows, max_length, 1, max_length // 2, 5, 2]
  examples = random_examples.make(lengths, one_target=one_target)
  packer = Packer(
    examples.lengths, examples.target_counts, (many, long), small=small
  )
  # Together, and each alone.
  for order in (range(7), *([i] for i in range(7))):
    batches = list(packer.batches(order))
    placed = np.concatenate([batch.examples for batch in batches])
    assert sorted(placed) == list(order)
    for batch in batches:
      assert batch.shape in shapes
      check_placement(batch, examples.lengths, examples.target_counts)


@pytest.mark.parametrize("devices", [2, 3, 4])
def test_devices_share_the_rows_of_inference(devices: int) -> None:
  """There are as many more as make them a multiple of the devices."""
  options = 8, 200, 1.0, 64
  shapes = inference_shapes(*options, devices)
  for shape, one in zip(shapes, inference_shapes(*options), strict=True):
    [group], [alone] = shape.layout, one.layout
    assert group.length == alone.length
    assert group.rows % devices == 0
    assert alone.rows <= group.rows < alone.rows + devices
    assert shape.targets == num_tokens(shape.layout)


def test_inference_has_room_for_usual_sentences() -> None:
  """As many as asked for, by length and targets."""
  lengths = np.random.default_rng(0).integers(20, 60, 640).tolist()
  examples = random_examples.make(lengths)
  _, _, many, long = inference_shapes(32, 512, 1.0, 128)
  packer = Packer(examples.lengths, examples.target_counts, (many, long))
  batches = list(packer.batches(range(640)))
  assert 640 / len(batches) == pytest.approx(32, rel=0.15)
  assert {batch.shape for batch in batches} == {many}


def test_rows_are_of_several_lengths_if_nothing_is_said() -> None:
  examples = _small()
  plan = make_plan(
    examples, TextKeys(examples, (), False), batch_size=4, seed=3
  )
  assert plan.shapes == _plan(examples).shapes


@pytest.mark.parametrize("one_target", [False, True])
def test_what_one_example_needs(
  one_target: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.setattr(plan_module, "_CHUNK", 7)
  examples = random_examples.make(
    [30] * 20, texts=("a", *_SHORT_PATTERNS), one_target=one_target
  )
  # The second has a few long texts, the last many.
  long = [
    "1" * (SHORT_WIDTH + ones) + "." * marks
    for ones in range(1, 6)
    for marks in range(1, 6)
  ]
  first = len(examples.distinct)
  texts = examples.texts.copy()
  texts[30:33] = range(first, first + 3)
  texts[-25:] = range(first, first + 25)
  examples = dataclasses.replace(
    examples, texts=texts, distinct=(*examples.distinct, *long)
  )
  text_keys = TextKeys(examples, _FEATURES, False)
  packer = Packer(examples.lengths, examples.target_counts, [], text_keys)
  needs = plan_module._needs_of_one(examples, text_keys)
  assert needs["targets"] == examples.target_counts.max()
  for name in _FEATURES:
    each = [packer.key_counts(name, packer.keys(name, e)) for e in range(20)]
    assert needs[name].tolist() == np.max(each, axis=0).tolist()


def test_capacities_are_rounded_up() -> None:
  capacity = plan_module._capacity
  assert [capacity(np.array(n), 99) for n in (0, 1, 16, 17)] == [0, 16, 16, 32]
  assert capacity(np.array([32, 33]), 99) == (32, 48)
  # No more than there are tokens.
  assert capacity(np.array([33, 1]), 40) == (40, 16)


def test_what_batches_need_is_read_off_the_first_epoch(
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  asked: list[tuple[int, int, int]] = []
  whole = plan_module._order

  def order(count: int, seed: int, epoch: int) -> list[int]:
    asked.append((count, seed, epoch))
    return whole(count, seed, epoch)

  monkeypatch.setattr(plan_module, "_order", order)
  _plan(_small())
  assert asked == [(60, 3, 0)]
