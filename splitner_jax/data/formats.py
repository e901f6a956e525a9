"""Corpus files <-> sentences.

Columns: one word a line, one of its columns the tag, in any of the schemes of
`tags`. Other formats are read in modules of their own. Whatever is wrong
in a file is a UserError that says file and line; nothing is repaired or left
out silently.
"""

import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from splitner_jax.data import conll2012, docbin, jsonl, parquet
from splitner_jax.data import tags as tags_lib
from splitner_jax.data.sentences import ScoredSpan, Sentence
from splitner_jax.data.words import BLANKS, check_word
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.files import atomic_write, read_lines
from splitner_jax.runtime.types import Json

_Path = str | os.PathLike[str]

_DOCUMENT_START = re.compile(r"-DOCSTART-(?:\s|$)")


class _Row(NamedTuple):
  """One word of a columns file."""

  line: int
  word: str
  tag: str
  pos: str


def read(
  path: _Path,
  *,
  tag_column: int = -1,
  word_column: int = 0,
  pos_column: int | None = None,
  separator: str | None = None,
  predicted: bool = False,
) -> list[Sentence]:
  """Reads a corpus file; its name says the format.

  JSON Lines if it ends in `.jsonl` or `.json`, Parquet in `.parquet`, a DocBin
  of spaCy in `.spacy`, CoNLL-2012 in `gold_conll`, else columns; `predicted`
  says how JSON Lines are read, see `jsonl.read`, the other arguments how
  columns are.
  """
  if jsonl.is_name(path):
    return jsonl.read(path, predicted=predicted)
  if parquet.is_name(path):
    return parquet.read(path, predicted=predicted)
  if docbin.is_name(path):
    return docbin.read(path)
  if conll2012.is_name(path):
    return conll2012.read(path)
  return read_columns(
    path,
    tag_column=tag_column,
    word_column=word_column,
    pos_column=pos_column,
    separator=separator,
  )


_OTHERS: dict[str, Callable[[_Path], bool]] = {
  "JSONL": jsonl.is_name,
  "Parquet": parquet.is_name,
  "DocBin": docbin.is_name,
  "CoNLL-2012": conll2012.is_name,
}


def is_columns(path: _Path) -> bool:
  """Whether a file of this name is read as columns."""
  return not any(is_name(path) for is_name in _OTHERS.values())


def has_predictions(path: _Path) -> bool:
  """Whether each record has `predicted`; False of formats that cannot.

  Raises:
    UserError: the file cannot be read.
  """
  if jsonl.is_name(path):
    found = jsonl.objects(path)
  elif parquet.is_name(path):
    found = parquet.objects(path)
  else:
    return False
  return all(isinstance(r, dict) and "predicted" in r for _, r in found)


def scheme_of(
  path: _Path, *, tag_column: int = -1, word_column: int = 0
) -> str:
  """What `read` takes a file for: the format, of columns the tags' scheme.

  Raises:
    UserError: a file of columns cannot be read.
  """
  if not is_columns(path):
    return next(name for name, is_name in _OTHERS.items() if is_name(path))
  blocks = _blocks(path, word_column, tag_column, None, None)
  return tags_lib.detect_scheme([row.tag for row in b] for b in blocks)


def read_columns(
  path: _Path,
  *,
  tag_column: int = -1,
  word_column: int = 0,
  pos_column: int | None = None,
  separator: str | None = None,
) -> list[Sentence]:
  """Reads one word a line; the scheme of the tags is recognised by itself.

  A sentence ends at a line without a word: empty, blank, or only the tag O.
  `-DOCSTART-` lines and comments (`# `, as in CoNLL-U) are skipped.

  Args:
    path: a UTF-8 file.
    tag_column: where the tag is; negative numbers count from the last column.
    word_column: where the word is.
    pos_column: where the part of speech is, if it is wanted.
    separator: what separates columns; None takes the tab in lines with a tab
      and blanks in others.

  Raises:
    UserError: the file cannot be read, or holds no sentence, too few columns,
      rows of several widths, a word without a part of speech where they are
      wanted, or tags that are impossible in their scheme.
  """
  found = _blocks(path, word_column, tag_column, pos_column, separator)
  blocks = [block for block in found if block]
  if not blocks:
    raise UserError(f"{path}: no sentence in it; give a file with words")
  scheme = tags_lib.detect_scheme([row.tag for row in b] for b in blocks)
  sentences = []
  for block in blocks:
    try:
      spans = tags_lib.tags_to_spans([row.tag for row in block], scheme)
    except tags_lib.TagError as error:
      line = block[error.word].line
      raise UserError(
        f"{path}:{line}: {error.reason} (the file reads as {scheme})"
      ) from None
    sentences.append(
      Sentence(
        words=tuple(row.word for row in block),
        spans=tuple(spans),
        pos=() if pos_column is None else tuple(row.pos for row in block),
        source=f"{path}:{block[0].line}",
      )
    )
  return sentences


def _blocks(
  path: _Path,
  word_column: int,
  tag_column: int,
  pos_column: int | None,
  separator: str | None,
) -> Iterator[list[_Row]]:
  """The rows between sentence ends; some blocks are empty."""
  columns = [word_column, tag_column]
  if pos_column is not None:
    columns.append(pos_column)
  needed = max(c + 1 if c >= 0 else -c for c in columns)
  if word_column % needed == tag_column % needed:
    needed += 1  # as in a file of words alone: its first column is its last
  lines = read_lines(path)
  sure = first_row(lines, separator)
  usual = sure and len(sure)
  block: list[_Row] = []
  for number, line in enumerate(lines, start=1):
    fields = split_columns(line, separator)
    count = len(fields)
    word = fields[word_column] if -count <= word_column < count else ""
    if ends_sentence(line, fields, word):
      yield block
      block = []
      continue
    same_width = count >= needed and count == (usual or count)
    if is_comment(line, fields if same_width else None, [tag_column]):
      continue
    usual = usual or count
    where = f"{path}:{number}"
    if count < needed:
      raise UserError(
        f"{where}: {count} column{'s' * (count != 1)} where {needed} are "
        "needed; check the separator and the numbers of the columns"
      )
    if count != usual:
      raise UserError(f"{where}: {other_width(count, usual)}")
    check_word(word, where)
    pos = ""
    if pos_column is not None:
      if range(count)[pos_column] == range(count)[tag_column]:
        raise UserError(
          f"{where}: column {pos_column} is the tag's; name the one that holds "
          "the parts of speech"
        )
      pos = fields[pos_column]
      check_word(pos, where, "part of speech")
    block.append(_Row(number, word, fields[tag_column], pos))
  yield block


def first_row(
  lines: Iterable[str], separator: str | None = None
) -> list[str] | None:
  """The first line's columns that is a word's row beyond doubt, if one is."""
  sure = (x for x in lines if x[:1] not in ("", *" \t#-"))
  return next((split_columns(x, separator) for x in sure), None)


def other_width(count: int, usual: int) -> str:
  """Says that a row is not as wide as those before it."""
  return (
    f"{count} column{'s' * (count != 1)} where the rows before have {usual}; "
    "mend the row, for with columns apart by blanks no word may hold one"
  )


def ends_sentence(line: str, fields: Sequence[str], word: str) -> bool:
  """Whether a line of columns ends a sentence: no word in it, O at most."""
  no_word = not word and set(fields) <= {"", "O"}
  return no_word or bool(_DOCUMENT_START.match(line))


def is_comment(
  line: str, fields: Sequence[str] | None, tag_columns: Sequence[int]
) -> bool:
  """Whether a line of columns is a comment, as in CoNLL-U.

  In a file separated by blanks it may be the word #: then it is as wide as
  the rows and, where they have tags, has one too.

  Args:
    line: the line.
    fields: its columns; None if it is not as wide as the rows.
    tag_columns: where a tag may be; none in a file without tags.
  """
  if not line.startswith("# ") or "\t" in line:
    return False
  if fields is None:
    return True
  tagged = any(tags_lib.is_tag(fields[column]) for column in tag_columns)
  return bool(tag_columns) and not tagged


def split_columns(line: str, separator: str | None = None) -> list[str]:
  """The columns of a line; see `read_columns`."""
  if separator is None and "\t" not in line:
    fields = [field for field in line.split(" ") if field]
    # A lone field behind a blank has left its first column empty.
    return ["", *fields] if line[:1] == " " and len(fields) < 2 else fields
  return [field.strip(BLANKS) for field in line.split(separator or "\t")]


def write_columns(
  path: _Path,
  sentences: Sequence[Sentence],
  predicted: Sequence[Sequence[ScoredSpan]] | None = None,
) -> None:
  """Writes word, gold tag and, where given, predicted tag: BIO, with tabs."""

  def block(sentence: Sentence, spans: Sequence[ScoredSpan] | None) -> str:
    length = len(sentence.words)
    columns = [sentence.words, tags_lib.spans_to_tags(sentence.spans, length)]
    if spans is not None:
      columns.append(tags_lib.spans_to_tags([s.span for s in spans], length))
    rows = zip(*columns, strict=True)
    return "".join("\t".join(row) + "\n" for row in rows) + "\n"

  _write(path, sentences, predicted, block)


def write_jsonl(
  path: _Path,
  sentences: Sequence[Sentence],
  predicted: Sequence[Sequence[ScoredSpan]] | None = None,
) -> None:
  """Writes tokens, entities and, where given, predicted, an object a line.

  `predicted` holds a list of entities with their `score` for each sentence.
  """

  def line(sentence: Sentence, spans: Sequence[ScoredSpan] | None) -> str:
    record: Json = {
      "tokens": sentence.words,
      "entities": [span._asdict() for span in sentence.spans],
    }
    if spans is not None:
      record["predicted"] = [
        {**span._asdict(), "score": float(span.score)} for span in spans
      ]
    return json.dumps(record, ensure_ascii=False) + "\n"

  _write(path, sentences, predicted, line)


def _write(
  path: _Path,
  sentences: Sequence[Sentence],
  predicted: Sequence[Sequence[ScoredSpan]] | None,
  render: Callable[[Sentence, Sequence[ScoredSpan] | None], str],
) -> None:
  spans = [None] * len(sentences) if predicted is None else predicted
  atomic_write(
    path, itertools.starmap(render, zip(sentences, spans, strict=True))
  )
