"""Buckets, the plan of batches, and batches of inference."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from splitner_jax.inputs.batches import BatchPlan, fit_buckets, inference_batches


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
