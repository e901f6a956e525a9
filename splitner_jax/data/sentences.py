"""The records that all of the data code speaks: Sentence and Span."""

import dataclasses
from typing import NamedTuple


class Span(NamedTuple):
  """A mention: words `start` up to, not including, `end`, and its type."""

  start: int
  end: int
  label: str


class ScoredSpan(NamedTuple):
  """A predicted mention; `score` is a probability in [0, 1]."""

  start: int
  end: int
  label: str
  score: float

  @property
  def span(self) -> Span:
    return Span(self.start, self.end, self.label)


@dataclasses.dataclass(frozen=True)
class Sentence:
  """One sentence of words with its mentions.

  Attributes:
    words: the words as written; never empty strings.
    spans: gold mentions, sorted by start, never overlapping.
    pos: part-of-speech tag of each word where the data has them, else empty.
    source: where it came from, `file:line` of its first word, for messages.
    is_copy: whether it is another sentence's copy with other mentions, made to
      be trained on.
  """

  words: tuple[str, ...]
  spans: tuple[Span, ...] = ()
  pos: tuple[str, ...] = ()
  source: str = ""
  is_copy: bool = dataclasses.field(default=False, kw_only=True)

  @property
  def text(self) -> str:
    return " ".join(self.words)
