"""Prefixes and suffixes of words."""

import dataclasses
import functools
import zlib
from collections.abc import Sequence
from typing import ClassVar, Self

from splitner_jax.data.sentences import Sentence
from splitner_jax.inputs.word_features.base import WordFeature

_LENGTHS = (2, 3, 4)
_BUCKETS = 2048


@functools.lru_cache(maxsize=1 << 16)
def _numbers(word: str) -> tuple[int, ...]:
  word = word.lower()
  affixes = [word[:n] for n in _LENGTHS] + [word[-n:] for n in _LENGTHS]
  return tuple(1 + zlib.crc32(a.encode()) % _BUCKETS for a in affixes)


@dataclasses.dataclass(frozen=True)
class Affixes(WordFeature):
  """The first and the last 2, 3 and 4 characters, in lower case.

  Numbered by a hash: nothing has to be counted, and unknown ones have numbers
  too, though not always their own.
  """

  sizes: ClassVar[tuple[int, ...]] = (1 + _BUCKETS,) * 2 * len(_LENGTHS)

  @classmethod
  def fit(cls, sentences: Sequence[Sentence]) -> Self:
    del sentences
    return cls()

  def numbers(
    self, sentence: Sentence, *, counted: bool
  ) -> list[tuple[int, ...]]:
    del counted
    return [_numbers(word) for word in sentence.words]
