"""Examples as columns: taking them out, and joining ranges of tokens."""

import dataclasses
import doctest

import numpy as np
import pytest

from splitner_jax.inputs import ragged
from splitner_jax.inputs.examples import Example, Examples, join_tokens
from splitner_jax.inputs.tokenizer import TokenizedWords
from tests import random_examples


def test_doctests() -> None:
  result = doctest.testmod(ragged)
  assert result.attempted
  assert not result.failed


# Two examples; the second has no target.
_BY_HAND = Examples(
  token_offsets=np.array([0, 3, 5]),
  ids=np.array([5, 6, 7, 8, 9], np.int32),
  positions=np.array([0, 1, 2, 0, 1], np.int16),
  types=np.array([0, 0, 1, 0, 1], np.int8),
  parts=np.array([0, 1, 2, 0, 0], np.int16),
  texts=np.array([0, 1, 0, 2, 1], np.int32),
  distinct=["a", "b", "c"],
  target_offsets=np.array([0, 2, 2]),
  targets=np.array([2, 1], np.int32),
  labels=np.array([4, 3], np.int32),
  weights=np.array([0.5, 1], np.float32),
  ranges=np.array([[0, 2], [1, 3]], np.int32),
  pos=np.array([1, 2, 3, 4, 5], np.int16),
  sentences=np.array([7, 8], np.int32),
  first_words=np.array([0, 4], np.int32),
  asked=np.array([6, 5], np.int32),
)


def _values(example: Example) -> list:
  """An example's fields, without arrays."""
  return [f.tolist() if isinstance(f, np.ndarray) else f for f in example]


def test_one_example() -> None:
  assert len(_BY_HAND) == 2
  assert _BY_HAND.lengths.tolist() == [3, 2]
  assert _BY_HAND.target_counts.tolist() == [2, 0]
  assert _values(_BY_HAND[0]) == [
    [5, 6, 7],
    [0, 1, 2],
    [0, 0, 1],
    [0, 1, 2],
    ["a", "b", "a"],
    [2, 1],
    [4, 3],
    [0.5, 1.0],
    [[0, 2], [1, 3]],
    [1, 2, 3],
    7,
    0,
  ]
  assert _values(_BY_HAND[1]) == [
    [8, 9], [0, 1], [0, 1], [0, 0], ["c", "b"], [], [], [], [], [4, 5], 8, 4,
  ]  # fmt: skip


def test_examples_are_a_sequence() -> None:
  assert _values(_BY_HAND[-1]) == _values(_BY_HAND[1])
  assert [example.sentence for example in _BY_HAND] == [7, 8]
  for index in (2, -3):
    with pytest.raises(IndexError):
      _BY_HAND[index]


def test_columns_that_a_task_does_not_read() -> None:
  examples = dataclasses.replace(_BY_HAND, ranges=None, pos=None, asked=None)
  assert examples[0].ranges is examples[0].pos is None
  taken = examples.take([1, 0])
  assert taken.ranges is taken.pos is taken.asked is None


def test_targets_among_all_tokens() -> None:
  assert _BY_HAND.target_tokens().tolist() == [2, 1]
  taken = _BY_HAND.take([1, 0, 1, 0])
  assert taken.target_tokens().tolist() == [4, 3, 9, 8]
  assert [taken.target_slice(i) for i in range(4)] == [
    slice(0, 0),
    slice(0, 2),
    slice(2, 2),
    slice(2, 4),
  ]


def test_take() -> None:
  rng = np.random.default_rng(0)
  examples = random_examples.make(rng.integers(1, 9, 30).tolist())
  # Columns that tell the examples apart.
  examples = dataclasses.replace(
    examples,
    parts=rng.integers(0, 9, len(examples.ids)).astype(np.int16),
    first_words=rng.permutation(30).astype(np.int32),
    asked=rng.permutation(len(examples.targets)).astype(np.int32),
    words=rng.integers(0, 99, (len(examples.targets), 2)).astype(np.int32),
    patterns=rng.integers(0, 7, len(examples.ids)).astype(np.int32),
  )
  # Several times, in any order, and none at all.
  for indices in (rng.integers(0, 30, 50), rng.permutation(30), [3], []):
    taken = examples.take(indices)
    assert len(taken) == len(indices)
    for i, index in enumerate(indices):
      assert _values(taken[i]) == _values(examples[index])
      asked = taken.asked[taken.target_slice(i)]
      expected = examples.asked[examples.target_slice(index)]
      assert asked.tolist() == expected.tolist()
      words = taken.words[taken.target_slice(i)]
      expected = examples.words[examples.target_slice(index)]
      assert words.tolist() == expected.tolist()
      tokens, old = (
        slice(*x.token_offsets[j : j + 2].tolist())
        for x, j in ((taken, i), (examples, index))
      )
      assert (taken.patterns[tokens] == examples.patterns[old]).all()
    assert len(taken.ids) == taken.token_offsets[-1]
    assert len(taken.targets) == taken.target_offsets[-1]
    for field in dataclasses.fields(Examples):
      column = getattr(taken, field.name)
      if field.name != "distinct":
        assert column.dtype == getattr(examples, field.name).dtype


def _words(rng: np.random.Generator, tokens: int) -> TokenizedWords:
  """One list of words of one token each."""
  return TokenizedWords(
    rng.integers(0, 99, tokens + 2).astype(np.int32),
    rng.integers(0, 3, tokens + 2).astype(np.int32),
    ["a", "b", "c"],
    np.arange(tokens + 1),
    np.array([0, tokens]),
  )


@pytest.mark.parametrize(("count", "ranges"), [(20, 4), (3, 1), (0, 3)])
def test_join_tokens(count: int, ranges: int) -> None:
  rng = np.random.default_rng(count)
  words = _words(rng, 30)
  starts = rng.integers(0, 32, (count, ranges))
  # Some are empty.
  ends = np.minimum(starts + rng.integers(0, 6, (count, ranges)), 32)
  types = rng.integers(0, 2, ranges).tolist()
  tokens = join_tokens(words, starts, ends, types)
  assert len(tokens.token_offsets) == count + 1
  assert tokens.token_offsets[0] == 0
  assert len(tokens.ids) == tokens.token_offsets[-1]
  for i in range(count):
    expected = [
      (words.ids[at], types[k], words.texts[at], at)
      for k in range(ranges)
      for at in range(starts[i, k], ends[i, k])
    ]
    here = slice(*tokens.token_offsets[i : i + 2])
    columns = tokens.ids, tokens.types, tokens.texts, tokens.source
    rows = list(zip(*(column[here] for column in columns), strict=True))
    assert rows == expected
    assert tokens.positions[here].tolist() == list(range(len(expected)))


def test_joined_columns_have_the_types_of_examples() -> None:
  words = _words(np.random.default_rng(0), 9)
  one = np.array([[0, 4]])
  tokens = join_tokens(words, one, one + 3, [0, 1])
  for name in ("token_offsets", "ids", "positions", "types", "texts"):
    assert getattr(tokens, name).dtype == getattr(_BY_HAND, name).dtype
