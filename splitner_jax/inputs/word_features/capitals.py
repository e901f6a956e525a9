"""How words are capitalised: here, in the sentence, in the training text."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

from splitner_jax.data.sentences import Sentence
from splitner_jax.inputs.word_features.base import WordFeature, counts_schema
from splitner_jax.runtime.types import Json

_SHARES = 5  # None, up to a third, to two thirds, less than all, all.
_CASES = 5


def _case(word: str) -> int:
  """1 without letters, 2 lower, 3 upper, 4 first letter alone, 5 mixed."""
  if word.lower() == word.upper():
    return 1
  if word == word.lower():
    return 2
  if word == word.upper() and len(word) > 1:
    return 3
  return 4 if word[1:] == word[1:].lower() else 5


def _share(some: int, of_all: int) -> int:
  """Which fifth a share is, from 1 on."""
  if some in (0, of_all):
    return _SHARES if some else 1
  return 2 + 3 * some // of_all


def _is_capitalised(word: str) -> bool:
  return word[:1].isupper()


def _counts(sentence: Sentence) -> Counter[tuple[str, bool]]:
  """How often each word is capitalised or not; the first says nothing."""
  return Counter(
    (word.lower(), _is_capitalised(word)) for word in sentence.words[1:]
  )


@dataclasses.dataclass(frozen=True)
class Capitals(WordFeature):
  """The case of the word; the share of the sentence's words with a capital;
  and of the word's occurrences in the training text, where it has any.

  Attributes:
    counts: of a word in lower case, how often it has no capital and how often
      it has one, first words of sentences apart.
  """

  counts: Mapping[str, Sequence[int]]

  sizes: ClassVar[tuple[int, ...]] = (1 + _CASES, 1 + _SHARES, 2 + _SHARES)
  schema: ClassVar[Json] = counts_schema(
    {
      "type": "array",
      "items": {"type": "integer", "minimum": 0},
      "minItems": 2,
      "maxItems": 2,
    }
  )

  @classmethod
  def fit(cls, sentences: Sequence[Sentence]) -> Self:
    total: dict[str, list[int]] = {}
    for sentence in sentences:
      for (word, capital), count in _counts(sentence).items():
        total.setdefault(word, [0, 0])[capital] += count
    return cls(total)

  def numbers(
    self, sentence: Sentence, *, counted: bool
  ) -> list[tuple[int, ...]]:
    words = [w for w in sentence.words if _case(w) > 1]
    here = _share(sum(map(_is_capitalised, words)), max(len(words), 1))
    own = _counts(sentence) if counted else Counter()
    numbers: list[tuple[int, ...]] = []
    for word in sentence.words:
      key = word.lower()
      small, large = self.counts.get(key, (0, 0))
      small, large = small - own[key, False], large - own[key, True]
      known = 1 + _share(large, small + large) if small + large else 1
      numbers.append((_case(word), here, known))
    return numbers
