"""Cutting sentences into windows, and putting them together again."""

import doctest
import itertools

import numpy as np
import pytest

from splitner_jax.inputs import windows as windows_module
from splitner_jax.inputs.windows import context_window, stitch, windows


def test_doctests() -> None:
  result = doctest.testmod(windows_module)
  assert result.attempted
  assert not result.failed


def _random_starts(
  rng: np.random.Generator, words: int, largest: int
) -> np.ndarray:
  """Of a list that stands anywhere among others."""
  sizes = rng.integers(1, largest + 1, words)
  return rng.integers(0, 90) + np.concatenate([[0], np.cumsum(sizes)])


@pytest.mark.parametrize("at", [0, 7])
def test_windows_of_short_sentences(at: int) -> None:
  assert windows(at + np.arange(1), 10, 5) == [(0, 0)]
  assert windows(at + np.arange(11), 10, 5) == [(0, 10)]
  assert windows(at + np.arange(12), 10, 5) == [(0, 10), (5, 11)]
  assert windows(at + np.arange(12), 10, 0) == [(0, 10), (10, 11)]


def test_windows() -> None:
  rng = np.random.default_rng(0)
  for _ in range(300):
    largest = int(rng.integers(1, 9))
    starts = _random_starts(rng, int(rng.integers(1, 60)), largest)
    capacity = int(rng.integers(largest, 40))
    overlap = int(rng.integers(0, capacity))
    words = len(starts) - 1
    parts = windows(starts, capacity, overlap)
    assert (parts[0][0], parts[-1][1]) == (0, words)
    for first, end in parts:
      assert first < end
      assert starts[end] - starts[first] <= capacity
    for (first, end), (next_first, next_end) in itertools.pairwise(parts):
      # As full as possible, and no word lost between them.
      assert starts[end + 1] - starts[first] > capacity
      assert first < next_first <= end <= next_end
      shared = starts[end] - starts[next_first]
      assert shared <= overlap
      # One word more would be too much, or leave no step forward.
      assert (
        starts[end] - starts[next_first - 1] > overlap
        or next_first == first + 1
      )


def test_stitch_takes_each_word_from_where_it_is_most_central() -> None:
  # Words 0..9 and 6..15: words 6 and 7 have 3 and 2 words behind them in the
  # first window and 0 and 1 before them in the second, and so on.
  parts = [(0, np.full((10, 2), 1.0)), (6, np.full((10, 2), 2.0))]
  rows = stitch(parts, 16)
  assert rows.shape == (16, 2)
  assert rows[:, 0].tolist() == [1.0] * 8 + [2.0] * 8


def test_stitch_of_one_window() -> None:
  values = np.arange(6.0).reshape(3, 2)
  np.testing.assert_array_equal(stitch([(0, values)], 3), values)
  assert stitch([(0, np.zeros((0, 2)))], 0).shape == (0, 2)


def test_stitch_puts_words_at_their_places() -> None:
  """Rows that tell word and window, over windows of random sentences."""
  rng = np.random.default_rng(1)
  for _ in range(200):
    starts = _random_starts(rng, int(rng.integers(1, 60)), 4)
    words = len(starts) - 1
    capacity = int(rng.integers(8, 30))
    parts = windows(starts, capacity, capacity // 2)
    rows = stitch(
      [
        (first, np.stack([np.arange(first, end), np.full(end - first, i)], 1))
        for i, (first, end) in enumerate(parts)
      ],
      words,
    )
    np.testing.assert_array_equal(rows[:, 0], np.arange(words))

    def edge(word: int, part: int, parts=parts, words=words) -> int:
      """Words between this one and an edge that is inside the sentence."""
      first, end = parts[part]
      before = word - first if first > 0 else words
      behind = end - 1 - word if end < words else words
      return min(before, behind)

    for word, part in enumerate(rows[:, 1]):
      holding = [i for i, (a, b) in enumerate(parts) if a <= word < b]
      assert part in holding
      assert edge(word, part) == max(edge(word, i) for i in holding)


@pytest.mark.parametrize("at", [0, 7, 500])
def test_context_window_is_centred(at: int) -> None:
  starts = at + np.arange(101)
  assert context_window(starts, 50, 52, 20) == (41, 61)
  assert context_window(starts, 2, 3, 20) == (0, 20)
  assert context_window(starts, 97, 100, 20) == (80, 100)
  assert context_window(starts, 0, 100, 100) == (0, 100)


@pytest.mark.parametrize("at", [0, 7, 500])
def test_context_window_of_a_long_mention_is_its_middle(at: int) -> None:
  assert context_window(at + np.arange(101), 20, 60, 10) == (35, 45)
  # No whole word fits: the one in the middle, never one beside the mention.
  starts = at + np.array([0, 10, 20, 30])
  for word in range(3):
    assert context_window(starts, word, word + 1, 4) == (word, word + 1)


def test_context_window() -> None:
  rng = np.random.default_rng(2)
  for _ in range(500):
    largest = int(rng.integers(1, 9))
    starts = _random_starts(rng, int(rng.integers(1, 40)), largest)
    words, total = len(starts) - 1, starts[-1] - starts[0]
    capacity = int(rng.integers(largest, 40))
    first = int(rng.integers(0, words))
    end = int(rng.integers(first + 1, min(first + 6, words) + 1))
    a, b = context_window(starts, first, end, capacity)
    assert 0 <= a < b <= words
    assert starts[b] - starts[a] <= capacity
    if total <= capacity:
      assert (a, b) == (0, words)
      continue
    # As much of the sentence as whole words allow.
    assert starts[b] - starts[a] > capacity - 2 * largest
    if starts[end] - starts[first] > capacity:
      assert first <= a < b <= end
      continue
    assert a <= first < end <= b
    if a > 0 and b < words:
      before = starts[first] - starts[a]
      behind = starts[b] - starts[end]
      assert abs(before - behind) <= largest
