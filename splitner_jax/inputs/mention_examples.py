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
from splitner_jax.inputs.tokenizer import TokenizedWords, Tokenizer
from splitner_jax.inputs.windows import context_window, windows

CONTEXTS = ("shared", "own")
PLACES = ("sentence", "question")
"""Where the tokens of a mention stand."""

Range = tuple[int, int]
Asked = tuple[Range, ...]
"""First and end word of each mention that one question names."""
Place = Literal["sentence", "question"]


@dataclasses.dataclass(frozen=True)
class MentionQuestions:
  """How mentions are asked about.

  Attributes:
    before, after: words of a question around what it names.
    context: one of CONTEXTS.
    max_context: the most subwords of a sentence that are read.
    positions: whether the mention's tokens in the question have the positions
      that they have there, or those that they have in the sentence.
    ranges: where the range of a target is; None: there are none.
    between: of a question that names several mentions, the words between each
      two. The range of its target is that of the first one.
  """

  before: tuple[str, ...]
  after: tuple[str, ...]
  context: str
  max_context: int
  positions: Place
  ranges: Place | None
  between: tuple[tuple[str, ...], ...] = ()

  def encode(
    self,
    tokenizer: Tokenizer,
    sentences: Sequence[Sequence[str]],
    asked: Sequence[Sequence[Asked]],
  ) -> Examples:
    """Examples with a target for each question: its [CLS].

    The targets' `asked` are the questions' numbers, counted through all
    sentences; labels and weights are 0.

    Args:
      tokenizer: no example is longer than its `max_length`.
      sentences: the words of each.
      asked: what each question about a sentence names, in the order of its
        words: one mention more than there are words `between`.
    """
    used = [i for i, questions in enumerate(asked) if questions]
    around = self.before, *self.between, self.after
    words = tokenizer([*around, *(sentences[i] for i in used)])
    first = np.cumsum([0, *map(len, asked)]).tolist()
    builder = _Builder(self, words, tokenizer)
    for place, i in enumerate(used, start=len(around)):
      starts = words.starts(place)
      numbers = range(first[i], first[i + 1])
      numbered = list(zip(numbers, asked[i], strict=True))
      for window, group in self._windows(starts, numbered, tokenizer):
        for number, mentions in group:
          builder.add(i, starts, window, number, mentions)
    return builder.examples()

  def _windows(
    self,
    starts: np.ndarray,
    questions: list[tuple[int, Asked]],
    tokenizer: Tokenizer,
  ) -> Iterator[tuple[Range, list[tuple[int, Asked]]]]:
    """Words that are read of a sentence, and the questions asked there."""
    # At least half of the input is left to the question.
    limit = min(self.max_context, tokenizer.max_length // 2)
    if self.context == "own":
      for number, mentions in questions:
        window = context_window(starts, *_hull(mentions), limit)
        yield window, [(number, mentions)]
      return
    cuts = windows(starts, limit, limit // 2)
    groups: list[list[tuple[int, Asked]]] = [[] for _ in cuts]
    for number, mentions in questions:
      first, end = _hull(mentions)
      # Tokens between it and the nearer edge of each window.
      margins = [
        min(starts[first] - starts[a], starts[b] - starts[end]) for a, b in cuts
      ]
      groups[int(np.argmax(margins))].append((number, mentions))
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
    mentions: Asked,
  ) -> None:
    """Asks a question, in the last example if there is room in it.

    Args:
      sentence: its number.
      starts: where its words start, as of `TokenizedWords.starts`.
      window: first and end word of what is read of it.
      number: the question's.
      mentions: that it names.
    """
    shared = self._how.context == "shared"
    # Separators before the question, beside the one that ends the sentence.
    extra = self._pairs.separators - 1
    begin, end = int(starts[window[0]]), int(starts[window[1]])
    size = end - begin
    first, stop = (int(starts[word]) for word in mentions[0])
    pieces = [self._words.starts(0)]
    for i, (a, b) in enumerate(mentions, start=1):
      pieces += [starts[a : b + 1], self._words.starts(i)]
    before, *named, after = _cut(
      pieces,
      # Special tokens: four, and those that only a question of its own has.
      self._max_length - size - 4 - (extra if shared else 0),
    )
    asks = sum(e - s for s, e in (before, *named, after)) + 1 + extra + shared
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
    in_question = at, at + named[0][1] - named[0][0]
    self._ranges.append(
      in_question if self._how.ranges == "question" else inside_sentence
    )
    for i in range(len(mentions)):
      self._mention_runs.append((len(self._runs) + 1 + 2 * i, begin, size))
    for start, end in (before, *named, after, (sep, sep + 1)):
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


def _hull(mentions: Asked) -> Range:
  """First and end word of all of them together."""
  return min(a for a, _ in mentions), max(b for _, b in mentions)


def _cut(parts: list[np.ndarray], room: int) -> list[Range]:
  """First and end token of parts of words; words too many are left out.

  Each mention keeps its first word, or its share of the room if that is less:
  a question that names nothing has no answer.

  Args:
    parts: where the words of each start, and where it ends. Every second one is
      a mention.
    room: the most tokens of all together.
  """
  ranges = [(int(part[0]), int(part[-1])) for part in parts]
  if sum(end - start for start, end in ranges) <= room:
    return ranges
  share = room // len(parts[1::2])
  kept = [
    min(int(part[1] - part[0]), share) if i % 2 else 0
    for i, part in enumerate(parts)
  ]
  rest = room - sum(kept)
  for i, (part, least) in enumerate(zip(parts, kept, strict=True)):
    start, end = ranges[i]
    read = int(part[part <= start + least + rest][-1])
    ranges[i] = start, max(read, start + least)
    # Nothing is read behind what is left out.
    rest = rest + least - (end - start) if read == end else 0
  return ranges
