"""The columns of the CoNLL-2012 shared task, OntoNotes 5, -> sentences.

A row has, from its first column: document, part, word number, word (4th), part
of speech (5th), parse, lemma, frame, sense, speaker, names (11th), and more.
Names are in brackets: `(PERSON*` opens one, `*` goes on, `*)` closes it and
`(GPE)` is one of a single word. Words are kept as written, also where the
original treebank escapes them: `/.`, `/?`, `/-`, `-LRB-`, `-RRB-`.
"""

import itertools
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator

from splitner_jax.data.sentences import Sentence, Span
from splitner_jax.data.words import check_word, label_fault
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.files import read_lines

_DOCUMENT, _WORD, _POS, _NAME = 0, 3, 4, 10

_BLANKS = re.compile("[ \t]+")
_DOCUMENT_LINE = re.compile("#(begin|end) document")
_BRACKETS = re.compile(r"(?:\((?P<label>[^()*]+))?(?P<star>\*)?(?P<close>\))?")

# Number of the line and its columns.
_Row = tuple[int, list[str]]


def is_name(name: str | os.PathLike[str]) -> bool:
  """Whether a file of this name has these columns: it ends in `gold_conll`."""
  return os.fspath(name).endswith("gold_conll")


def read(
  path: str | os.PathLike[str], leave_out: Collection[str] = ()
) -> list[Sentence]:
  """Reads one file of one or more documents.

  Args:
    path: a UTF-8 file.
    leave_out: genres that are not wanted, such as `pt`: what stands before the
      first slash of a document's name.

  Returns:
    The sentences; none if all of them are of a genre that is left out.

  Raises:
    UserError: the file cannot be read, holds no sentence, a row too short, a
      word or type that cannot be kept, or brackets that do not fit together.
  """
  lines = enumerate(read_lines(path), start=1)
  blocks = list(_blocks(lines, path, _refuse))
  if not blocks:
    raise UserError(f"{path}: no sentence in it; give a file with words")
  return [
    Sentence(
      words=tuple(columns[_WORD] for _, columns in block),
      spans=_spans(block, path),
      pos=tuple(columns[_POS] for _, columns in block),
      source=f"{path}:{block[0][0]}",
    )
    for block in blocks
    if block[0][1][_DOCUMENT].partition("/")[0] not in leave_out
  ]


def read_words(
  lines: Iterable[tuple[int, str]],
  path: str | os.PathLike[str],
  on_error: Callable[[UserError], None],
) -> Iterator[list[str]]:
  """The words of each sentence.

  Args:
    lines: of the file, with their numbers.
    path: of the file, for messages.
    on_error: told of a row that is too short; it is left out if that returns.
  """
  for block in _blocks(lines, path, on_error):
    yield [columns[_WORD] for _, columns in block]


def _refuse(error: UserError) -> None:
  raise error


def _blocks(
  lines: Iterable[tuple[int, str]],
  path: str | os.PathLike[str],
  on_error: Callable[[UserError], None],
) -> Iterator[list[_Row]]:
  """The rows of each sentence."""
  block: list[_Row] = []
  # The last line, which is not in the file, ends the last sentence.
  for number, line in itertools.chain(lines, [(0, "")]):
    columns = [column for column in _BLANKS.split(line) if column]
    if not columns or _DOCUMENT_LINE.match(line):
      if block:
        yield block
      block = []
      continue
    if len(columns) <= _NAME:
      on_error(
        UserError(
          f"{path}:{number}: {len(columns)} columns where CoNLL-2012 has at "
          f"least {_NAME + 1}; give a gold_conll file with words and names"
        )
      )
      continue
    try:
      check_word(columns[_WORD], f"{path}:{number}")
      check_word(columns[_POS], f"{path}:{number}", "part of speech")
    except UserError as e:
      on_error(e)
      continue
    block.append((number, columns))


def _spans(block: list[_Row], path: str | os.PathLike[str]) -> tuple[Span, ...]:
  """The mentions that the brackets of one sentence mark."""
  spans = []
  start, open_label = 0, ""
  for word, (number, columns) in enumerate(block):
    where, brackets = f"{path}:{number}", columns[_NAME]
    match = _BRACKETS.fullmatch(brackets)
    labelled = match is not None and match["label"] and match["close"]
    if match is None or not (match["star"] or labelled):
      raise UserError(
        f"{where}: name {brackets!r} is none of *, (TYPE*, *) and (TYPE); "
        f"mend column {_NAME + 1}"
      )
    if match["label"]:
      fault = label_fault(match["label"])
      if fault:
        raise UserError(
          f"{where}: type {match['label']!r} {fault}; mend column {_NAME + 1}"
        )
      if open_label:
        raise UserError(
          f"{where}: {brackets} opens inside ({open_label}*, which line "
          f"{block[start][0]} opens; close that one first"
        )
      start, open_label = word, match["label"]
    if match["close"]:
      if not open_label:
        raise UserError(
          f"{where}: {brackets} closes a name that is not open; remove its )"
        )
      spans.append(Span(start, word + 1, open_label))
      open_label = ""
  if open_label:
    raise UserError(
      f"{path}:{block[start][0]}: ({open_label}* is not closed in its "
      "sentence; add *) at its last word"
    )
  return tuple(spans)
