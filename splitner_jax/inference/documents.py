"""Texts out of a file or a pipe, one after the other, in constant memory."""

import itertools
import json
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from splitner_jax.data import formats, tags
from splitner_jax.runtime.errors import UserError
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

_HALF_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


def read_rows(
  lines: Iterable[bytes], name: str, on_error: Callable[[UserError], None]
) -> Iterator[Row]:
  """The texts of a file; what it holds is recognised by name or content.

  Plain text: each line is a text, also an empty one. JSON Lines: objects with
  a string "text" or a list of strings "tokens". Columns: one word a line, in
  the first column; an empty line ends a sentence.

  Args:
    lines: of UTF-8, split at line feeds.
    name: of the file, for its extension and for messages.
    on_error: told of a line that cannot be read; the line is left out if it
      returns.
  """
  decoded = _decode(lines, name, on_error)
  kind = _KINDS.get(pathlib.Path(name).suffix.lower())
  if kind is None:
    # The lines up to the first that says something.
    head = []
    for item in decoded:
      head.append(item)
      if item[1].strip():
        kind = _kind_of(item[1])
        break
    decoded = itertools.chain(head, decoded)
  if kind == "jsonl":
    return _read_jsonl(decoded, name, on_error)
  if kind == "columns":
    return _read_columns(decoded)
  return (Row(line, {}, length) for _, line, length in decoded)


def _kind_of(line: str) -> str:
  if line.lstrip().startswith("{"):
    try:
      record = json.loads(line)
    except (ValueError, RecursionError):
      return "text"
    if "text" in record or "tokens" in record:
      return "jsonl"
  fields = formats.split_columns(line)
  tagged = len(fields) > 1 and tags.is_tag(fields[-1])
  return "columns" if tagged or line.startswith("-DOCSTART-") else "text"


def _decode(
  lines: Iterable[bytes], name: str, on_error: Callable[[UserError], None]
) -> Iterator[tuple[int, str, int]]:
  """Number, text without its end, and length with it, of each line."""
  for number, line in enumerate(lines, start=1):
    try:
      text = line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError:
      on_error(UserError(f"{name}:{number}: not UTF-8; convert the file"))
      continue
    yield number, text.removesuffix("\n").removesuffix("\r"), len(text)


def _read_jsonl(
  lines: Iterable[tuple[int, str, int]],
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


def _read_columns(lines: Iterable[tuple[int, str, int]]) -> Iterator[Row]:
  """By the rules of `formats.read_columns`, but for tags, which may lack."""
  words: list[str] = []
  usual = 0
  end = [(0, "", 0)]  # The last sentence needs no empty line.
  for _, line, _ in itertools.chain(lines, end):
    fields = formats.split_columns(line)
    word = fields[0] if fields else ""
    if formats.ends_sentence(line, fields, word):
      if words:
        yield Row(words, {}, len(" ".join(words)) + 1)
      words = []
      continue
    same_width = len(fields) > 1 and len(fields) == (usual or len(fields))
    if formats.is_comment(line, fields[-1] if same_width else ""):
      continue
    usual = usual or len(fields)
    if word:
      words.append(word)
