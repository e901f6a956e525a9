"""Questions about mentions as examples.

`own`: an example for each mention, its sentence and its question behind each
other, as in the paper. `shared`: a sentence once, as part 0, and all of its
questions behind it, each a part that sees the sentence and itself.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from splitner_jax.inputs.examples import Examples
from splitner_jax.inputs.ragged import flat_ranges, offsets
from splitner_jax.inputs.tokenizer import (
  TokenizedWords,
  Tokenizer,
  context_window,
  windows,
)

CONTEXTS = ("shared", "own")
PLACES = ("sentence", "question")
"""Where the tokens of a mention stand."""

Range = tuple[int, int]
Place = Literal["sentence", "question"]


@dataclasses.dataclass(frozen=True)
class MentionQuestions:
  """How mentions are asked about.

  Attributes:
    before, after: words of a question around its mention.
    context: one of CONTEXTS.
    max_context: the most subwords of a sentence that are read.
    positions: whether the mention's tokens in the question have the positions
      that they have there, or those that they have in the sentence.
    ranges: where the range of a target is; None: there are none.
  """

  before: tuple[str, ...]
  after: tuple[str, ...]
  context: str
  max_context: int
  positions: Place
  ranges: Place | None

  def encode(
    self,
    tokenizer: Tokenizer,
    sentences: Sequence[Sequence[str]],
    mentions: Sequence[Sequence[Range]],
  ) -> Examples:
    """Examples with a target for each mention: its question's [CLS].

    The targets' `asked` are the mentions' numbers, counted through all
    sentences; labels and weights are 0.

    Args:
      tokenizer: no example is longer than its `max_length`.
      sentences: the words of each.
      mentions: first and end word of those of each sentence.
    """
    used = [i for i, spans in enumerate(mentions) if spans]
    words = tokenizer([self.before, self.after, *(sentences[i] for i in used)])
    first = np.cumsum([0, *map(len, mentions)]).tolist()
    builder = _Builder(self, words, tokenizer)
    for place, i in enumerate(used, start=2):
      starts = words.starts(place)
      numbers = range(first[i], first[i + 1])
      numbered = list(zip(numbers, mentions[i], strict=True))
      for window, group in self._windows(starts, numbered, tokenizer):
        for number, mention in group:
          builder.add(i, starts, window, number, mention)
    return builder.examples()

  def _windows(
    self,
    starts: np.ndarray,
    mentions: list[tuple[int, Range]],
    tokenizer: Tokenizer,
  ) -> Iterator[tuple[Range, list[tuple[int, Range]]]]:
    """Words that are read of a sentence, and the mentions asked about there."""
    # At least half of the input is left to the question.
    limit = min(self.max_context, tokenizer.max_length // 2)
    if self.context == "own":
      for number, mention in mentions:
        yield context_window(starts, *mention, limit), [(number, mention)]
      return
    cuts = windows(starts, limit, limit // 2)
    groups: list[list[tuple[int, Range]]] = [[] for _ in cuts]
    for number, (first, end) in mentions:
      # Tokens between it and the nearer edge of each window.
      margins = [
        min(starts[first] - starts[a], starts[b] - starts[end]) for a, b in cuts
      ]
      groups[int(np.argmax(margins))].append((number, (first, end)))
    yield from zip(cuts, groups, strict=True)


class _Run(NamedTuple):
  """Neighbouring tokens of an example.

  Attributes:
    start, end: in `TokenizedWords`.
    position: of the first.
    type, part: of all.
  """

  start: int
  end: int
  position: int
  type: int
  part: int


class _Builder:
  """Examples that are being made: what their columns follow from."""

  def __init__(
    self, how: MentionQuestions, words: TokenizedWords, tokenizer: Tokenizer
  ):
    self._how = how
    self._words = words
    self._max_length = tokenizer.max_length
    self._pairs = tokenizer.pairs
    self._runs: list[_Run] = []
    self._targets: list[int] = []
    self._asked: list[int] = []
    self._ranges: list[Range] = []
    # Of each mention in a question: its run, and its sentence's window.
    self._mention_runs: list[tuple[int, int, int]] = []
    # Of each example.
    self._lengths: list[int] = []
    self._questions: list[int] = []
    self._sentences: list[int] = []
    self._first_words: list[int] = []

  def add(
    self,
    sentence: int,
    starts: np.ndarray,
    window: Range,
    number: int,
    mention: Range,
  ) -> None:
    """Asks about a mention, in the last example if there is room in it.

    Args:
      sentence: its number.
      starts: where its words start, as of `TokenizedWords.starts`.
      window: first and end word of what is read of it.
      number: the mention's.
      mention: its first and end word.
    """
    shared = self._how.context == "shared"
    # Separators before the question, beside the one that ends the sentence.
    extra = self._pairs.separators - 1
    begin, end = int(starts[window[0]]), int(starts[window[1]])
    size = end - begin
    first, stop = int(starts[mention[0]]), int(starts[mention[1]])
    before, inside, after = _cut(
      [
        self._words.starts(0),
        starts[mention[0] : mention[1] + 1],
        self._words.starts(1),
      ],
      # Special tokens: four, and those that only a question of its own has.
      self._max_length - size - 4 - (extra if shared else 0),
    )
    asks = sum(e - s for s, e in (before, inside, after)) + 1 + extra + shared
    goes_on = (
      shared
      and self._sentences[-1:] == [sentence]
      and self._first_words[-1:] == [window[0]]
      and self._lengths[-1] + asks <= self._max_length
    )
    if not goes_on:
      self._open(sentence, window[0], begin, end)
    self._questions[-1] += 1

    part = self._questions[-1] if shared else 0
    at, position = self._lengths[-1], size + 2
    second = self._pairs.second_type
    self._targets.append(at if shared else 0)
    self._asked.append(number)
    cls, sep = self._words.cls, self._words.sep
    if shared:
      self._runs.append(_Run(cls, cls + 1, 0, 0, part))
    for _ in range(extra):
      self._runs.append(_Run(sep, sep + 1, position, 0, part))
      position += 1
    at += shared + extra + before[1] - before[0]
    inside_sentence = (
      1 + max(first - begin, 0),
      1 + min(stop, end) - begin,
    )
    in_question = at, at + inside[1] - inside[0]
    self._ranges.append(
      in_question if self._how.ranges == "question" else inside_sentence
    )
    self._mention_runs.append((len(self._runs) + 1, begin, size))
    for start, end in (before, inside, after, (sep, sep + 1)):
      self._runs.append(_Run(start, end, position, second, part))
      position += end - start
    self._lengths[-1] += asks

  def _open(self, sentence: int, first_word: int, begin: int, end: int) -> None:
    """Starts an example: [CLS] sentence [SEP]."""
    cls, sep, size = self._words.cls, self._words.sep, end - begin
    self._runs += [
      _Run(cls, cls + 1, 0, 0, 0),
      _Run(begin, end, 1, 0, 0),
      _Run(sep, sep + 1, size + 1, 0, 0),
    ]
    self._lengths.append(size + 2)
    self._questions.append(0)
    self._sentences.append(sentence)
    self._first_words.append(first_word)

  def examples(self) -> Examples:
    """All of them."""
    words, count = self._words, len(self._asked)
    runs = np.array(self._runs, np.int64).reshape(-1, 5)
    sizes = runs[:, 1] - runs[:, 0]
    source = flat_ranges(runs[:, 0], sizes)
    positions = flat_ranges(runs[:, 2], sizes)
    if self._how.positions == "sentence":
      which, begin, size = (
        np.array(self._mention_runs, np.int64).reshape(-1, 3).T
      )
      inside = flat_ranges(offsets(sizes)[which], sizes[which])
      begin, size = (np.repeat(x, sizes[which]) for x in (begin, size))
      # A mention may be longer than what is read of the sentence.
      positions[inside] = 1 + np.clip(source[inside] - begin, 0, size - 1)
    return Examples(
      offsets(np.array(self._lengths, np.int64)),
      words.ids[source],
      positions.astype(np.int16),
      np.repeat(runs[:, 3], sizes).astype(np.int8),
      np.repeat(runs[:, 4], sizes).astype(np.int16),
      words.texts[source],
      words.distinct,
      offsets(np.array(self._questions, np.int64)),
      np.array(self._targets, np.int32),
      np.zeros(count, np.int32),
      np.zeros(count, np.float32),
      np.array(self._ranges, np.int32).reshape(-1, 2)
      if self._how.ranges
      else None,
      None,
      np.array(self._sentences, np.int32),
      np.array(self._first_words, np.int32),
      np.array(self._asked, np.int32),
    )


def _cut(parts: list[np.ndarray], room: int) -> list[Range]:
  """First and end token of parts of words; words too many are left out.

  Args:
    parts: where the words of each start, and where it ends.
    room: the most tokens of all together.
  """
  if sum(int(part[-1] - part[0]) for part in parts) > room:
    sizes = np.concatenate([np.diff(part) for part in parts])
    _, read = windows(offsets(sizes), room, 0)[0]
    for i, part in enumerate(parts):
      parts[i] = part[: min(read, len(part) - 1) + 1]
      read -= len(parts[i]) - 1
  return [(int(part[0]), int(part[-1])) for part in parts]
