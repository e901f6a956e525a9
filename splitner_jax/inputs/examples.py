"""Examples: what a model reads and what it is asked, in flat arrays.

An example is a ragged list of tokens and some targets: tokens at which the
model answers. All examples of a task are columns behind each other, with the
offsets at which each starts: a million of them are a dozen arrays.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from splitner_jax.inputs.ragged import flat_ranges, offsets
from splitner_jax.inputs.tokenizer import TokenizedWords


class Example(NamedTuple):
  """One example by itself, to look at: see `Examples` for the fields.

  `targets` and `ranges` count from the example's first token.
  """

  ids: np.ndarray
  positions: np.ndarray
  types: np.ndarray
  parts: np.ndarray
  texts: list[str]
  targets: np.ndarray
  labels: np.ndarray
  weights: np.ndarray
  ranges: np.ndarray | None
  pos: np.ndarray | None
  sentence: int
  first_word: int


@dataclasses.dataclass(frozen=True)
class Examples:
  """Ragged examples: N of them, with T tokens and M targets in all.

  Attributes:
    token_offsets: int64[N + 1]; example i is tokens token_offsets[i] up to,
      not including, token_offsets[i + 1].
    ids: int32[T] vocabulary ids.
    positions: int16[T] the position of each token in its example, from 0.
    types: int8[T] token types, 0 or 1.
    parts: int16[T]; tokens of part 0 are seen by the whole example and see
      only each other, those of another part are seen by that part alone.
    texts: int32[T] which of `distinct` a token is.
    distinct: the different token texts, for the features.
    target_offsets: int64[N + 1] into the columns of targets.
    targets: int32[M] the token that answers, counted from the example's first.
    labels: int32[M]; zeros where there is no gold.
    weights: float32[M]: how much a label counts in the loss.
    ranges: int32[M, 2] first and end token of what is asked about, counted
      like `targets`; None if the task does not read it.
    pos: int16[T] part of speech of each token, 0 for none; None if the task
      does not read it.
    sentences: int32[N] index of the sentence that each was made from.
    first_words: int32[N] index of the first word that each holds.
    asked: int32[M] which mention each target asks about, counted through all
      sentences; None if targets are words.
    words: int32[M, K] numbers of `word_features` of each target's word; None if
      the task does not read them.
    patterns: int32[T] whose pattern the pattern feature reads at a token, as
      `texts`; None: the token's own.
  """

  token_offsets: np.ndarray
  ids: np.ndarray
  positions: np.ndarray
  types: np.ndarray
  parts: np.ndarray
  texts: np.ndarray
  distinct: Sequence[str]
  target_offsets: np.ndarray
  targets: np.ndarray
  labels: np.ndarray
  weights: np.ndarray
  ranges: np.ndarray | None
  pos: np.ndarray | None
  sentences: np.ndarray
  first_words: np.ndarray
  asked: np.ndarray | None = None
  words: np.ndarray | None = None
  patterns: np.ndarray | None = None

  def __len__(self) -> int:
    return len(self.token_offsets) - 1

  @property
  def lengths(self) -> np.ndarray:
    """int64[N]: tokens of each."""
    return np.diff(self.token_offsets)

  @property
  def target_counts(self) -> np.ndarray:
    """int64[N]: targets of each."""
    return np.diff(self.target_offsets)

  @property
  def pattern_texts(self) -> np.ndarray:
    """int32[T]: the text of each token's pattern, see `patterns`."""
    return self.texts if self.patterns is None else self.patterns

  def target_slice(self, index: int) -> slice:
    """Where an example's targets are among all of them."""
    return slice(*self.target_offsets[index : index + 2].tolist())

  def target_tokens(self) -> np.ndarray:
    """int64[M]: the targets' places among all T tokens."""
    return self.targets + np.repeat(self.token_offsets[:-1], self.target_counts)

  def __getitem__(self, index: int) -> Example:
    index = range(len(self))[index]
    tokens = slice(*self.token_offsets[index : index + 2].tolist())
    targets = self.target_slice(index)
    return Example(
      self.ids[tokens],
      self.positions[tokens],
      self.types[tokens],
      self.parts[tokens],
      [self.distinct[t] for t in self.texts[tokens]],
      self.targets[targets],
      self.labels[targets],
      self.weights[targets],
      None if self.ranges is None else self.ranges[targets],
      None if self.pos is None else self.pos[tokens],
      int(self.sentences[index]),
      int(self.first_words[index]),
    )

  def take(self, indices: Sequence[int] | np.ndarray) -> "Examples":
    """Some of the examples, in the order of the indices."""
    indices = np.asarray(indices, np.int64)
    tokens = flat_ranges(self.token_offsets[indices], self.lengths[indices])
    targets = flat_ranges(
      self.target_offsets[indices], self.target_counts[indices]
    )
    return Examples(
      offsets(self.lengths[indices]),
      self.ids[tokens],
      self.positions[tokens],
      self.types[tokens],
      self.parts[tokens],
      self.texts[tokens],
      self.distinct,
      offsets(self.target_counts[indices]),
      self.targets[targets],
      self.labels[targets],
      self.weights[targets],
      None if self.ranges is None else self.ranges[targets],
      None if self.pos is None else self.pos[tokens],
      self.sentences[indices],
      self.first_words[indices],
      None if self.asked is None else self.asked[targets],
      None if self.words is None else self.words[targets],
      None if self.patterns is None else self.patterns[tokens],
    )


class Tokens(NamedTuple):
  """The columns of `Examples` that have a row for each token."""

  token_offsets: np.ndarray
  ids: np.ndarray
  positions: np.ndarray
  types: np.ndarray
  texts: np.ndarray
  source: np.ndarray


def join_tokens(
  words: TokenizedWords,
  starts: np.ndarray,
  ends: np.ndarray,
  types: Sequence[int],
) -> Tokens:
  """Examples that are a few ranges of tokens, behind each other.

  Args:
    words: has the tokens.
    starts, ends: int[N, K] the ranges of each example, in order.
    types: K token types.

  Returns:
    The columns; `source` is the place of each token in `words`.
  """
  count, ranges = np.shape(starts)
  sizes = ends - starts
  source = flat_ranges(starts.reshape(-1), sizes.reshape(-1))
  lengths = sizes.sum(axis=1)
  return Tokens(
    offsets(lengths),
    words.ids[source],
    flat_ranges(np.zeros(count, np.int64), lengths).astype(np.int16),
    np.repeat(
      np.tile(np.array(types, np.int8), count), sizes.reshape(count * ranges)
    ),
    words.texts[source],
    source,
  )
