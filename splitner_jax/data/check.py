"""What is in a corpus, and what in it looks like a mistake."""

import itertools
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from splitner_jax.data import formats
from splitner_jax.data.corpora.corpus import Corpus
from splitner_jax.data.corpora.sources import SPLIT_NAMES
from splitner_jax.data.sentences import Sentence, Span
from splitner_jax.runtime.errors import UserError

_EXAMPLES = 3
_MAX_FILES = 6  # of a split, to be named one by one
_LONG_MENTION = 10
_LONG_SENTENCE = 200
_FEW_MENTIONS = 5
_SENTENCE_ENDS = 3
_QUOTE_LENGTH = 60
_WIDTH = 11  # of a column of counts

_OPENING, _CLOSING = "([{", ")]}"
_REPLACEMENT = "\ufffd"


class _Mention(NamedTuple):
  """A mention with its sentence."""

  row: Sentence
  span: Span

  @property
  def words(self) -> tuple[str, ...]:
    return self.row.words[self.span.start : self.span.end]

  @property
  def text(self) -> str:
    return " ".join(self.words)

  @property
  def quote(self) -> str:
    return f"{self.row.source} {self.span.label} {_short(self.text)}"


class _Finding(NamedTuple):
  """Something suspicious: what, and a line for each case."""

  what: str
  cases: Sequence[str]


def check(corpus: Corpus, *, tag_column: int = -1, word_column: int = 0) -> str:
  """A report to read before training: counts, files, suspicious things.

  Args:
    corpus: all splits that there are.
    tag_column: where the tag is in files of columns, as they were read.
    word_column: where the word is in files of columns.

  Returns:
    Plain text of many lines. Nothing in it is an error: whatever is certainly
    wrong has stopped the reading of the files.
  """
  splits = {
    name: rows for name in SPLIT_NAMES if (rows := getattr(corpus, name))
  }
  suspicious = [
    line
    for finding in _findings(splits)
    if finding.cases
    for line in _render(finding)
  ]
  parts = [
    [f"corpus {corpus.name}, content {corpus.content_hash}"],
    _counts(splits),
    _files(splits, tag_column, word_column),
    _longest(splits),
    _seen(splits),
    ["suspicious", *(suspicious or ["  nothing"])],
  ]
  return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _counts(splits: dict[str, list[Sentence]]) -> list[str]:
  """The table of sentences, words, mentions and mentions of each type."""
  by_type = {
    name: Counter(m.span.label for m in _mentions(rows))
    for name, rows in splits.items()
  }
  table: list[list[str | int]] = [
    ["", *splits],
    ["sentences", *(len(rows) for rows in splits.values())],
    [
      "  with a mention",
      *(sum(bool(r.spans) for r in s) for s in splits.values()),
    ],
    ["words", *(sum(len(r.words) for r in s) for s in splits.values())],
    ["mentions", *(counts.total() for counts in by_type.values())],
  ]
  for label in sorted(set().union(*by_type.values())):
    table.append(
      [f"  {label}", *(counts[label] for counts in by_type.values())]
    )
  cells = [
    [f"{cell:,}" if isinstance(cell, int) else cell for cell in row]
    for row in table
  ]
  first = max(len(row[0]) for row in cells)
  return [
    name.ljust(first) + "".join(cell.rjust(_WIDTH) for cell in others)
    for name, *others in cells
  ]


def _files(
  splits: dict[str, list[Sentence]], tag_column: int, word_column: int
) -> list[str]:
  """The files of each split and how they mark mentions, where it is known."""
  lines = []
  for name, rows in splits.items():
    paths = dict.fromkeys(row.source.rpartition(":")[0] for row in rows)
    if len(paths) > _MAX_FILES:
      first = next(iter(paths))
      scheme = _scheme(first, tag_column, word_column)
      lines.append(f"  {name:5} {len(paths):,} files such as {first}{scheme}")
      continue
    for path in paths:
      scheme = _scheme(path, tag_column, word_column)
      lines.append(f"  {name:5} {path or 'not from a file'}{scheme}")
  return ["files", *lines]


def _scheme(path: str, tag_column: int, word_column: int) -> str:
  if os.path.exists(path) and not os.path.isfile(path):
    return ""  # A pipe can be read once.
  try:
    scheme = formats.scheme_of(
      path, tag_column=tag_column, word_column=word_column
    )
  except UserError:
    return ""  # the sentences come from elsewhere
  return f": {scheme}"


def _longest(splits: dict[str, list[Sentence]]) -> list[str]:
  lines = []
  for name, rows in splits.items():
    row = max(rows, key=lambda row: len(row.words))
    lines.append(f"  {name:5} {len(row.words)} words, {row.source}")
  return ["longest sentence", *lines]


def _seen(splits: dict[str, list[Sentence]]) -> list[str]:
  """The share of mentions whose text is also that of a mention of train."""
  known = {mention.text for mention in _mentions(splits.get("train", ()))}
  lines = []
  for name in ("dev", "test"):
    texts = [mention.text for mention in _mentions(splits.get(name, ()))]
    if texts:
      seen = sum(text in known for text in texts)
      share = 100 * seen / len(texts)
      lines.append(f"  {name:5} {share:.1f}% ({seen:,} of {len(texts):,})")
  return ["mentions whose text is one of train's", *lines] if lines else []


def _findings(splits: dict[str, list[Sentence]]) -> Iterator[_Finding]:
  """All that is looked for, also where nothing is found."""
  rows = [row for split in splits.values() for row in split]
  mentions = list(_mentions(rows))
  yield _Finding(
    "split without a mention",
    [name for name, part in splits.items() if not any(_mentions(part))],
  )
  for left, right in (("train", "dev"), ("train", "test"), ("dev", "test")):
    yield _Finding(
      f"sentence both in {left} and in {right}",
      list(_shared(splits.get(left, ()), splits.get(right, ()))),
    )
  yield _Finding("sentence annotated in two ways", list(_annotated_twice(rows)))
  yield _Finding("text with several types", _several_types(mentions))
  yield from _odd_mentions(mentions)
  yield from _odd_sentences(rows)
  yield from _odd_types(list(_mentions(splits.get("train", ()))))


def _shared(
  left: Iterable[Sentence], right: Iterable[Sentence]
) -> Iterator[str]:
  first = {row.text: row for row in reversed(list(left))}
  # The longest first: a short one may well be written twice.
  for row in sorted(right, key=lambda row: -len(row.words)):
    if row.text in first:
      yield _pair(first[row.text], row)


def _annotated_twice(rows: Iterable[Sentence]) -> Iterator[str]:
  first: dict[str, Sentence] = {}
  for row in rows:
    other = first.setdefault(row.text, row)
    if other.spans != row.spans:
      yield _pair(other, row)


def _pair(first: Sentence, second: Sentence) -> str:
  """Both places, the file once if it is one, and the text they share."""
  path, _, line = second.source.rpartition(":")
  same_file = path == first.source.rpartition(":")[0]
  place = line if same_file else second.source
  return f"{first.source} and {place} {_short(first.text)}"


def _several_types(mentions: Iterable[_Mention]) -> list[str]:
  """A line for each text, those that look most like a slip first."""
  by_text: dict[str, dict[str, list[_Mention]]] = defaultdict(dict)
  for mention in mentions:
    by_text[mention.text].setdefault(mention.span.label, []).append(mention)
  cases = []
  for text, by_label in by_text.items():
    if len(by_label) > 1:
      uses = sorted(by_label.items(), key=lambda item: -len(item[1]))
      counts = ", ".join(f"{label} {len(found)}" for label, found in uses)
      rare = uses[-1][1][0]
      balance = len(uses[-1][1]) / len(uses[0][1])
      line = f"{rare.row.source} {_short(text)}: {counts}"
      cases.append((balance, line))
  return [line for _, line in sorted(cases, key=lambda case: case[0])]


def _odd_mentions(mentions: Sequence[_Mention]) -> Iterator[_Finding]:
  yield _Finding(
    f"mention of more than {_LONG_MENTION} words",
    [m.quote for m in mentions if len(m.words) > _LONG_MENTION],
  )
  yield _Finding(
    "mention that begins or ends with punctuation",
    [m.quote for m in mentions if _has_loose_edge(m.words)],
  )
  yield _Finding(
    "mention that begins or ends with an invisible character",
    [
      m.quote
      for m in mentions
      if _is_invisible(m.text[0]) or _is_invisible(m.text[-1])
    ],
  )


def _has_loose_edge(words: Sequence[str]) -> bool:
  """Whether the mention takes in punctuation that seems not to be its own.

  Brackets that belong together may be, and so may the `.` of `Inc.`, the `@`
  of a user and the `#` of a tag.
  """
  text = "".join(words)
  first, last = words[0], words[-1]
  balanced = all(
    text.count(left) == text.count(right)
    for left, right in zip(_OPENING, _CLOSING, strict=True)
  )
  if first[0] in ",;:" or last[-1] in ",;:":
    return True
  if first[0] in _CLOSING or last[-1] in _OPENING:
    return True
  if first[0] in _OPENING or last[-1] in _CLOSING:
    return not balanced
  return _is_punctuation(first) or _is_punctuation(last)


def _is_punctuation(word: str) -> bool:
  return all(unicodedata.category(c)[0] == "P" for c in word)


def _is_invisible(character: str) -> bool:
  return unicodedata.category(character) in ("Cc", "Cf", "Zs", "Zl", "Zp")


def _odd_sentences(rows: Sequence[Sentence]) -> Iterator[_Finding]:
  yield _Finding(
    f"sentence of more than {_LONG_SENTENCE} words",
    [
      f"{row.source} {len(row.words)} words"
      for row in rows
      if len(row.words) > _LONG_SENTENCE
    ],
  )
  yield _Finding(
    "sentence that looks like several",
    [
      f"{row.source} {_short(row.text)}"
      for row in rows
      if _inner_ends(row.words) >= _SENTENCE_ENDS
    ],
  )
  yield _Finding(
    "word with a character that was lost in conversion (U+FFFD)",
    [
      f"{row.source} {_short(word)}"
      for row in rows
      for word in row.words
      if _REPLACEMENT in word
    ],
  )


def _inner_ends(words: Sequence[str]) -> int:
  """Number of full stops with a capitalised word behind them."""
  return sum(
    word in (".", "!", "?") and follower[0].isupper()
    for word, follower in itertools.pairwise(words)
  )


def _odd_types(mentions: Sequence[_Mention]) -> Iterator[_Finding]:
  counts = Counter(mention.span.label for mention in mentions)
  yield _Finding(
    f"type with fewer than {_FEW_MENTIONS} mentions in train",
    [f"{label} {n}" for label, n in counts.items() if n < _FEW_MENTIONS],
  )
  alike: dict[str, list[str]] = defaultdict(list)
  for label in sorted(counts):
    alike["".join(filter(str.isalnum, label)).casefold()].append(label)
  yield _Finding(
    "types that differ only in case or punctuation",
    [", ".join(labels) for labels in alike.values() if len(labels) > 1],
  )


def _render(finding: _Finding) -> list[str]:
  shown = finding.cases[:_EXAMPLES]
  more = len(finding.cases) - len(shown)
  lines = [f"  {finding.what}: {len(finding.cases):,}"]
  lines += [f"    {case}" for case in shown]
  return [*lines, f"    and {more:,} more"] if more else lines


def _mentions(rows: Iterable[Sentence]) -> Iterator[_Mention]:
  return (_Mention(row, span) for row in rows for span in row.spans)


def _short(text: str) -> str:
  """The text in quotes, cut where it is long, invisible characters escaped."""
  if len(text) > _QUOTE_LENGTH:
    text = text[: _QUOTE_LENGTH - 3] + "..."
  return repr(text)
