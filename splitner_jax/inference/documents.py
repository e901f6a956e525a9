"""Texts out of a file or a pipe, one after the other, in constant memory."""

import codecs
import itertools
import json
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from splitner_jax.data import conll2012, formats, jsonl, tags
from splitner_jax.data.text import Word, words_in_line
from splitner_jax.data.words import check_word
from splitner_jax.runtime import json_text
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.files import INNER_RETURN, decode
from splitner_jax.runtime.types import Json


class Row(NamedTuple):
  """One text of the input.

  Attributes:
    content: the text, or its words.
    record: the other fields of a JSON object.
    length: characters of the file's line, its end included; of a text.
    before: characters before that line; 1 behind a byte order mark.
  """

  content: str | list[str]
  record: Json
  length: int
  before: int = 0

  @property
  def text(self) -> str:
    if isinstance(self.content, str):
      return self.content
    return " ".join(self.content)

  @property
  def fields(self) -> Json:
    """The record with the text, or its words, in it."""
    of_text = isinstance(self.content, str)
    return {**self.record, "text" if of_text else "tokens": self.content}

  def blocks(
    self, sentences: Callable[[str], Iterable[list[Word]]]
  ) -> list[list[Word]]:
    """The words of each sentence of the text; words are one sentence.

    Args:
      sentences: splits a text.
    """
    if isinstance(self.content, str):
      return list(sentences(self.content))
    return [words_in_line(self.content)]


_Line = tuple[int, str, int]
"""Number, text without its end, and length with it, of a line."""

KINDS = ("text", "jsonl", "columns", "conll2012")
"""What a file may hold."""

_COLUMNS = (".tsv", ".conll", ".bio", ".iob", ".iob2", ".bioes", ".bilou")

# So many lines are looked at to know what a file holds.
_HEAD = 50

# An object or a list of strings, if perhaps a broken one. Prose may begin with
# a bracket, but hardly like this.
_JSON = re.compile(
  r"""
  \s* (?:
    (?: \[ \s* )* \{ \s* (?: ["}] | '\w+' \s* : )
    | (?: \[ \s* )+ "(?: [^"\\] | \\. )*" \s* (?: ] | , \s* (?: ["[{] | $ ) )
  )
  """,
  re.VERBOSE,
)

_HALF_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


def read_rows(
  lines: Iterable[bytes],
  name: str,
  on_error: Callable[[UserError], None],
  *,
  kind: str | None = None,
  word_column: int = 0,
) -> Iterator[Row]:
  """The texts of a file; what it holds is recognised by name or content.

  Plain text: each line is a text, also an empty one. JSON Lines: objects with
  a string "text" or a list of strings "tokens". Columns: one word a line; an
  empty line ends a sentence. What begins like JSON or columns is read as
  such: then a line that is not so is an error, and no text.

  Args:
    lines: of UTF-8, split at line feeds.
    name: of the file, for its extension and for messages.
    on_error: told of a line that cannot be read; the line is left out if it
      returns.
    kind: one of KINDS, whatever name and content say.
    word_column: where the word is in columns.
  """
  lines = iter(lines)
  head = list(itertools.islice(lines, _HEAD))
  decoded = _decode(itertools.chain(head, lines), name, on_error)
  # What cannot be decoded is told when it is read.
  texts = (
    line.decode(errors="replace").removeprefix("\ufeff") for line in head
  )
  first = [text.removesuffix("\n").removesuffix("\r") for text in texts]
  named = kind or _kind_by_name(name)
  found = named or _kind_by_content(first)
  if not kind:
    on_error = _with_way_out(on_error)
  if found == "jsonl":
    return _read_jsonl(decoded, name, on_error)
  if found == "text":
    mark = bool(head) and head[0].startswith(codecs.BOM_UTF8)
    return (
      Row(line, {}, length, before=int(mark and number == 1))
      for number, line, length in decoded
    )
  rows = _numbered(decoded, name, on_error)
  if found == "conll2012":
    return map(_row_of_words, conll2012.read_words(rows, name, on_error))
  row = formats.first_row(first)
  return _read_columns(
    rows, name, on_error, word_column, row, tagged=named is None
  )


def _with_way_out(
  on_error: Callable[[UserError], None],
) -> Callable[[UserError], None]:
  """Says also what helps where the file was taken for something else."""
  way_out = "if it is plain text, give --input_format=text"
  return lambda error: on_error(UserError(f"{error}; {way_out}"))


def _kind_by_name(name: str) -> str | None:
  if jsonl.is_name(name):
    return "jsonl"
  if conll2012.is_name(name):
    return "conll2012"
  suffix = pathlib.Path(name).suffix.lower()
  if suffix in _COLUMNS:
    return "columns"
  return "text" if suffix in (".txt", ".text") else None


def _kind_by_content(head: list[str]) -> str:
  # An object may begin some lines below its bracket.
  beginning = itertools.islice((x for x in head if x.strip()), 3)
  if _JSON.match("\n".join(beginning)):
    return "jsonl"
  return "columns" if _are_columns(head) else "text"


def _are_columns(lines: Iterable[str]) -> bool:
  """Whether these lines, the beginning of a file, are meant as columns.

  At least half of the rows, or the first two, have a tab and end with a tag.
  A text may have lines that end like a tag, `They flew in a B-52`: without
  tabs two thirds of the rows must do so, all of one width, with an O among
  them, and a mention or a line that is no row. Two rows are few: then all
  must, and one alone is a text.
  """
  rows: list[tuple[bool, list[str]]] = []
  between = False
  # Line ends of old Macs: the reader tells what is wrong.
  for line in itertools.chain.from_iterable(x.split("\r") for x in lines):
    fields = formats.split_columns(line)
    word = fields[0] if fields else ""
    if formats.ends_sentence(line, fields, word) or line.startswith("# "):
      if line.startswith("-DOCSTART-"):
        return True
      between |= bool(rows or word)
      continue
    rows.append(("\t" in line, fields))
  with_tab = [tab and tags.is_tag(fields[-1]) for tab, fields in rows]
  if 2 * sum(with_tab) >= max(len(rows), 1) or with_tab[:2] == [True, True]:
    return True
  found = [
    (len(fields), fields[-1] != "O")
    for tab, fields in rows
    if not tab and len(fields) > 1 and _ends_with_tag(fields)
  ]
  widths = [width for width, _ in found]
  usual = max(widths, key=widths.count, default=0)
  mentions = [mention for width, mention in found if width == usual]
  if len(mentions) == len(rows) == 2:
    enough = between
  else:
    enough = len(mentions) > 2 and 3 * len(mentions) >= 2 * len(rows)
  return enough and not all(mentions) and (any(mentions) or between)


def _ends_with_tag(fields: Sequence[str]) -> bool:
  # B-52 is no type of mentions.
  return tags.is_tag(fields[-1]) and not fields[-1][2:3].isdigit()


def _decode(
  lines: Iterable[bytes], name: str, on_error: Callable[[UserError], None]
) -> Iterator[_Line]:
  for number, line in enumerate(lines, start=1):
    try:
      text = decode(line, name, number)
    except UserError as e:
      on_error(e)
      continue
    yield number, text.removesuffix("\n").removesuffix("\r"), len(text)


def _read_jsonl(
  lines: Iterable[_Line],
  name: str,
  on_error: Callable[[UserError], None],
) -> Iterator[Row]:
  for number, line, _ in lines:
    if not line.strip():
      continue
    try:
      yield json_row(line, f"{name}:{number}")
    except UserError as e:
      on_error(UserError(f"{e}, or use --on-error=skip"))


def json_row(line: str, where: str) -> Row:
  """The text of a line of JSON Lines.

  Args:
    line: without its end.
    where: its file and number, for messages.

  Raises:
    UserError: it is no object with a text or a list of words.
  """
  try:
    return _from_json(line)
  except (ValueError, RecursionError) as e:
    raise UserError(
      f"{where}: cannot be read ({e}); write an object with 'text' or 'tokens' "
      "on each line"
    ) from None


def _from_json(line: str) -> Row:
  record = json_text.parse(line)
  if not isinstance(record, dict):
    raise ValueError("not a JSON object")
  if _HALF_ESCAPE.search(line):
    # Escapes can write half a character, which no file can hold.
    whole = json.dumps(record, ensure_ascii=False).encode("utf-8", "replace")
    record = json_text.parse(whole)
  return _from_record(record)


def _from_record(record: Json) -> Row:
  """Takes the text out of a record."""
  if "text" in record and "tokens" in record:
    raise ValueError("both 'text' and 'tokens'")
  if "text" in record:
    content = record.pop("text")
    if not isinstance(content, str):
      raise ValueError("'text' is no string")
    return Row(content, record, len(content) + 1)
  if "tokens" not in record:
    raise ValueError("no 'text' in it")
  content = record.pop("tokens")
  if not isinstance(content, list) or not all(
    isinstance(word, str) and word for word in content
  ):
    raise ValueError("'tokens' is no list of words")
  return _row_of_words(content, record)


def row_of_record(record: Json, where: str) -> Row:
  """The text of a record that something else than JSON Lines has.

  Args:
    record: its fields.
    where: it stands, for messages.

  Raises:
    UserError: as of `json_row`.
  """
  try:
    return _from_record(dict(record))
  except ValueError as e:
    raise UserError(
      f"{where}: cannot be read ({e}); give each row 'text' or 'tokens'"
    ) from None


def _row_of_words(words: list[str], record: Json | None = None) -> Row:
  return Row(words, record or {}, len(" ".join(words)) + 1)


def _numbered(
  lines: Iterable[_Line],
  name: str,
  on_error: Callable[[UserError], None],
) -> Iterator[tuple[int, str]]:
  """Lines of columns, without those with line ends of old Macs in them."""
  for number, line, _ in lines:
    if "\r" in line:
      on_error(UserError(f"{name}:{number}: {INNER_RETURN}"))
    else:
      yield number, line


def _read_columns(
  lines: Iterable[tuple[int, str]],
  name: str,
  on_error: Callable[[UserError], None],
  word_column: int,
  first: list[str] | None,
  tagged: bool,
) -> Iterator[Row]:
  """By the rules of `formats.read_columns`, but for tags, which may lack.

  Args:
    first: `formats.first_row` of the lines.
    tagged: whether tags may not lack: where they say that these are columns.
  """
  usual, tag_columns = None, [-1]
  if first:
    usual = len(first)
    others = set(range(usual)) - {word_column % usual}
    tag_columns = [i for i in sorted(others) if tags.is_tag(first[i])]
  words: list[str] = []
  end = [(0, "")]  # The last sentence needs no empty line.
  for number, line in itertools.chain(lines, end):
    fields = formats.split_columns(line)
    count = len(fields)
    word = fields[word_column] if -count <= word_column < count else ""
    if formats.ends_sentence(line, fields, word):
      if words:
        yield _row_of_words(words)
      words = []
      continue
    same_width = count > 1 and count == (usual or count)
    if formats.is_comment(line, fields if same_width else None, tag_columns):
      continue
    usual = usual or count
    where = f"{name}:{number}"
    try:
      if count != usual:
        raise UserError(f"{where}: {formats.other_width(count, usual)}")
      if tagged and not tags.is_tag(fields[-1]):
        raise UserError(
          f"{where}: last column {fields[-1]!r} is neither O nor PREFIX-TYPE, "
          "as in the other rows; mend it"
        )
      if not -count <= word_column < count:
        raise UserError(
          f"{where}: {count} columns, and no column {word_column}; check the "
          "separator and --word_column"
        )
      check_word(word, where)
      words.append(word)
    except UserError as e:
      on_error(e)
