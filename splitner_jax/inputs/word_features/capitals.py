"""How words are capitalised: here, in the sentence, in the training text."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

from splitner_jax.data.sentences import Sentence
from splitner_jax.inputs.word_features.base import WordFeature, counts_schema
from splitner_jax.runtime.types import Json

_SHARES = 5  # None, below a third, below two thirds, below all, all.
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
  """Which of these a share is, from 1 on."""
  if some in (0, of_all):
    return _SHARES if some else 1
  return 2 + 3 * some // of_all


def _is_capitalised(word: str) -> bool:
  return word[:1].isupper()


def _counts(sentence: Sentence, *, capital: bool) -> Counter[str]:
  """How often a word has a capital or none; the first word says nothing."""
  return Counter(
    word.lower()
    for word in sentence.words[1:]
    if _is_capitalised(word) == capital
  )


@dataclasses.dataclass(frozen=True)
class Capitals(WordFeature):
  """The case of the word; the share of the sentence's words with a capital;
  and of the word's occurrences in the training text, where it has any.

  Attributes:
    small, capital: how often a word, in lower case, has no capital and one,
      first words of sentences apart.
  """

  small: Mapping[str, int]
  capital: Mapping[str, int]

  sizes: ClassVar[tuple[int, ...]] = (1 + _CASES, 1 + _SHARES, 2 + _SHARES)
  schema: ClassVar[Json] = counts_schema("small", "capital")

  @classmethod
  def fit(cls, sentences: Sequence[Sentence]) -> Self:
    small: Counter[str] = Counter()
    capital: Counter[str] = Counter()
    for sentence in sentences:
      small.update(_counts(sentence, capital=False))
      capital.update(_counts(sentence, capital=True))
    return cls(dict(small), dict(capital))

  def numbers(
    self, sentence: Sentence, *, counted: bool
  ) -> list[tuple[int, ...]]:
    with_letters = [w for w in sentence.words if _case(w) > 1]
    here = _share(
      sum(map(_is_capitalised, with_letters)), max(len(with_letters), 1)
    )
    own_small, own_capital = (
      _counts(sentence, capital=c) if counted else Counter()
      for c in (False, True)
    )
    numbers: list[tuple[int, ...]] = []
    for word in sentence.words:
      key = word.lower()
      capital = self.capital.get(key, 0) - own_capital[key]
      total = capital + self.small.get(key, 0) - own_small[key]
      known = 1 + _share(capital, total) if total else 1
      numbers.append((_case(word), here, known))
    return numbers
