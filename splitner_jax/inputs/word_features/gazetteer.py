"""The mentions of the training text, found again."""

import dataclasses
import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

from splitner_jax.data.sentences import Sentence
from splitner_jax.inputs.word_features.base import WordFeature, counts_schema
from splitner_jax.runtime.types import Json

_OUTSIDE, _FIRST, _INSIDE, _LAST = 1, 2, 3, 4
_OFTEN = (1, 2, 4)  # Seen at least so often: a number for each.


def _mentions(sentence: Sentence) -> Counter[str]:
  return Counter(
    " ".join(sentence.words[span.start : span.end]).lower()
    for span in sentence.spans
  )


@dataclasses.dataclass(frozen=True)
class Gazetteer(WordFeature):
  """Whether a word is in a text that is a mention elsewhere in training.

  From left to right the longest such text is taken. The columns: where in it
  the word is, and how often it is a mention, whatever its type.

  Attributes:
    counts: of each mention in lower case, a blank between its words.
  """

  counts: Mapping[str, int]

  sizes: ClassVar[tuple[int, ...]] = (1 + _LAST, 2 + len(_OFTEN))
  schema: ClassVar[Json] = counts_schema("counts")

  @classmethod
  def fit(cls, sentences: Sequence[Sentence]) -> Self:
    total: Counter[str] = Counter()
    for sentence in sentences:
      total.update(_mentions(sentence))
    return cls(dict(total))

  def numbers(
    self, sentence: Sentence, *, counted: bool
  ) -> list[tuple[int, ...]]:
    own = _mentions(sentence) if counted else Counter()
    words = [word.lower() for word in sentence.words]
    numbers: list[tuple[int, ...]] = [(_OUTSIDE, 1)] * len(words)
    start = 0
    while start < len(words):
      end, count = self._longest(words, start, own)
      often = 1 + sum(count >= least for least in _OFTEN)
      for i in range(start, end):
        place = _LAST if i == end - 1 else _INSIDE
        numbers[i] = _FIRST if i == start else place, often
      start = max(end, start + 1)
    return numbers

  def _longest(
    self, words: Sequence[str], start: int, own: Counter[str]
  ) -> tuple[int, int]:
    """Where the longest mention at a word ends, and its count; or the word."""
    for end in range(min(len(words), start + self._most_words), start, -1):
      text = " ".join(words[start:end])
      count = self.counts.get(text, 0) - own[text]
      if count > 0:
        return end, count
    return start, 0

  @functools.cached_property
  def _most_words(self) -> int:
    return max((1 + text.count(" ") for text in self.counts), default=0)
