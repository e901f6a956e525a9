"""Texts out of a file or a pipe, one after the other, in constant memory."""

import itertools
import json
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from splitner_jax.data import formats, tags
from splitner_jax.data.words import check_word
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.files import INNER_RETURN
from splitner_jax.runtime.types import Json


class Row(NamedTuple):
  """One text of the input.

  Attributes:
    content: the text, or its words.
    record: the other fields of a JSON object.
    length: characters of the file's line, its end included; of a text.
  """

  content: str | list[str]
  record: Json
  length: int

  @property
  def text(self) -> str:
    if isinstance(self.content, str):
      return self.content
    return " ".join(self.content)


_Line = tuple[int, str, int]
"""Number, text without its end, and length with it, of a line."""

_KINDS = {
  ".txt": "text",
  ".text": "text",
  ".jsonl": "jsonl",
  ".json": "jsonl",
  ".conll": "columns",
  ".bio": "columns",
  ".iob": "columns",
  ".iob2": "columns",
}

KINDS = ("text", "jsonl", "columns")
"""What a file may hold."""

# So many lines decide whether what begins like columns is columns.
_HEAD = 50

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
  empty line ends a sentence.

  Args:
    lines: of UTF-8, split at line feeds.
    name: of the file, for its extension and for messages.
    on_error: told of a line that cannot be read; the line is left out if it
      returns.
    kind: one of KINDS, whatever name and content say.
    word_column: where the word is in columns.
  """
  decoded = _decode(lines, name, on_error)
  kind = kind or _KINDS.get(pathlib.Path(name).suffix.lower())
  head: list[_Line] = []
  if kind is None:
    kind, head = _recognise(decoded)
  if kind == "columns":
    head += itertools.islice(decoded, _HEAD)
    usual = formats.usual_width(text for _, text, _ in head)
    decoded = itertools.chain(head, decoded)
    return _read_columns(decoded, name, on_error, word_column, usual)
  decoded = itertools.chain(head, decoded)
  if kind == "jsonl":
    return _read_jsonl(decoded, name, on_error)
  return (Row(line, {}, length) for _, line, length in decoded)


def _recognise(lines: Iterator[_Line]) -> tuple[str, list[_Line]]:
  """What the lines are, and those that had to be read to know it.

  The first that says something decides, unless it may be a row of columns.
  """
  head = []
  for line in lines:
    head.append(line)
    if line[1].strip():
      break
  first = head[-1][1] if head else ""
  if _is_json(first):
    return "jsonl", head
  if not _may_be_columns(first):
    return "text", head
  head += itertools.islice(lines, _HEAD)
  columns = _are_columns([text for _, text, _ in head])
  return "columns" if columns else "text", head


def _is_json(line: str) -> bool:
  if not line.lstrip().startswith("{"):
    return False
  try:
    record = json.loads(line)
  except (ValueError, RecursionError):
    return False
  return "text" in record or "tokens" in record


def _may_be_columns(line: str) -> bool:
  """Whether a line is a row of columns, if those after it are too."""
  # Line ends of old Macs: `_read_columns` tells what is wrong.
  line = line.split("\r")[0]
  fields = formats.split_columns(line)
  tagged = len(fields) > 1 and tags.is_tag(fields[-1])
  comment = line.startswith("# ")
  return tagged or comment or line.startswith("-DOCSTART-")


def _are_columns(lines: Iterable[str]) -> bool:
  """Whether these lines, the beginning of a file, are columns.

  Then all rows are as wide as the first, and most of them end with a tag. A
  text may have one such line, `They flew in a B-52`, or several: so columns
  with blanks between them must also have an O somewhere.
  """
  rows, tabs = [], False
  for line in itertools.chain.from_iterable(x.split("\r") for x in lines):
    fields = formats.split_columns(line)
    word = fields[0] if fields else ""
    if formats.ends_sentence(line, fields, word) or line.startswith("# "):
      continue
    tabs |= "\t" in line
    rows.append(fields)
  if not rows:
    return any(line.startswith("-DOCSTART-") for line in lines)
  tagged = sum(tags.is_tag(fields[-1]) for fields in rows)
  return (
    len({len(fields) for fields in rows}) == 1
    and len(rows[0]) > 1
    and tagged >= 0.9 * len(rows)
    and (tabs or any(fields[-1] == "O" for fields in rows))
  )


def _decode(
  lines: Iterable[bytes], name: str, on_error: Callable[[UserError], None]
) -> Iterator[_Line]:
  for number, line in enumerate(lines, start=1):
    try:
      text = line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError:
      on_error(UserError(f"{name}:{number}: not UTF-8; convert the file"))
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
      yield _from_json(line)
    except (ValueError, RecursionError) as e:
      reason = getattr(e, "msg", None) or str(e)
      on_error(
        UserError(
          f"{name}:{number}: cannot be read ({reason}); write one object with "
          "'text' or 'tokens', or use --on-error=skip"
        )
      )


def _from_json(line: str) -> Row:
  record = json.loads(line)
  if not isinstance(record, dict):
    raise ValueError("not a JSON object")
  if _HALF_ESCAPE.search(line):
    # Escapes can write half a character, which no file can hold.
    whole = json.dumps(record, ensure_ascii=False).encode("utf-8", "replace")
    record = json.loads(whole)
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
  return Row(content, record, len(" ".join(content)) + 1)


def _read_columns(
  lines: Iterable[_Line],
  name: str,
  on_error: Callable[[UserError], None],
  word_column: int,
  usual: int | None,
) -> Iterator[Row]:
  """By the rules of `formats.read_columns`, but for tags, which may lack."""
  words: list[str] = []
  end = [(0, "", 0)]  # The last sentence needs no empty line.
  for number, line, _ in itertools.chain(lines, end):
    if "\r" in line:
      on_error(UserError(f"{name}:{number}: {INNER_RETURN}"))
      continue
    fields = formats.split_columns(line)
    count = len(fields)
    word = fields[word_column] if -count <= word_column < count else ""
    if formats.ends_sentence(line, fields, word):
      if words:
        yield Row(words, {}, len(" ".join(words)) + 1)
      words = []
      continue
    same_width = count > 1 and count == (usual or count)
    if formats.is_comment(line, fields[-1] if same_width else ""):
      continue
    usual = usual or count
    try:
      if count != usual:
        raise UserError(f"{name}:{number}: {formats.other_width(count, usual)}")
      check_word(word, f"{name}:{number}")
      words.append(word)
    except UserError as e:
      on_error(e)
