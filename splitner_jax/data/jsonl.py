"""JSON Lines, one sentence a line, and exports of annotation tools."""

import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence

from splitner_jax.data import annotation_tools, records, tagged_rows
from splitner_jax.data.sentences import Sentence
from splitner_jax.data.words import BLANKS
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.files import read_lines
from splitner_jax.runtime.json_text import parse

_INFO = "dataset_info.json"

Rows = Iterable[tuple[str, object]]
"""Where each record stands, and what it is."""


def is_name(path: str | os.PathLike[str]) -> bool:
  """Whether a file of this name is JSON Lines."""
  return pathlib.Path(path).suffix.lower() in (".jsonl", ".json")


def read(
  path: str | os.PathLike[str], *, predicted: bool = False
) -> list[Sentence]:
  """Reads one JSON object a line, each a sentence.

  Either `{"tokens": [...], "entities": [...]}` or `{"text": "...",
  "entities": [...]}`; an entity is `{"start", "end", "label"}`, in words or in
  characters (Unicode code points), `end` exclusive. Text is split by
  `text.words_with_offsets`; blanks at an entity's edges do not count. A list
  `"pos"` may add the part of speech of each word. What `formats.write_jsonl`
  adds under `predicted` is not read.

  The file may be one list of such objects too. Or the records are, as the
  first one says, `{"tokens": [...], "ner_tags": [...]}` of the library
  datasets, whose numbers are names in a dataset_info.json beside the file;
  what Prodigy writes; or the list of tasks that Label Studio exports. What has
  `entities` is never taken for one of these.

  Args:
    path: a UTF-8 file.
    predicted: reads what a model said instead: the entities under `predicted`
      where a line has them, else its `entities`, whatever else it has. As
      `splitner predict` writes them, they may have a `score` and their `text`,
      and a line any other keys.

  Raises:
    UserError: the file cannot be read, holds no sentence, or holds a line that
      is not as described; entities must not overlap nor cut a word.
  """
  lines = _written(path)
  return sentences(
    _objects(lines, path),
    path,
    lambda: _names(path),
    predicted=predicted,
    listed=_is_list(lines),
  )


def objects(path: str | os.PathLike[str]) -> Rows:
  """The records of a file, whatever they are.

  Raises:
    UserError: the file cannot be read, is empty, or a line is not JSON.
  """
  return _objects(_written(path), path)


def _objects(lines: Sequence[str], path: str | os.PathLike[str]) -> Rows:
  return _tasks(lines, path) if _is_list(lines) else _lines(lines, path)


def _written(path: str | os.PathLike[str]) -> list[str]:
  """The lines up to the last that is not blank."""
  lines = read_lines(path)
  while lines and not lines[-1].strip(BLANKS):
    lines.pop()
  if not lines:
    raise UserError(f"{path}: no sentence in it; give one JSON object a line")
  return lines


def sentences(
  rows: Rows,
  path: str | os.PathLike[str],
  names: Callable[[], Sequence[str]],
  *,
  predicted: bool = False,
  listed: bool = False,
) -> list[Sentence]:
  """The sentences of records, all of the kind of the first; see `read`.

  Args:
    rows: the records.
    path: of their file, for messages.
    names: says what the numbers of `ner_tags` mean; none if it is not known.
    predicted: as of `read`.
    listed: whether they are one list: the short export of Label Studio has no
      key of its own.

  Raises:
    UserError: see `read`.
  """
  rows = list(rows)
  first = rows[0][1] if rows else {}
  keys = set(first) if isinstance(first, dict) else set()
  if annotation_tools.has_entities(first) or (
    predicted and "predicted" in keys
  ):
    found = [records.sentence(r, w, predicted=predicted) for w, r in rows]
  elif "ner_tags" in keys:
    return tagged_rows.sentences(rows, names)
  elif keys & annotation_tools.PRODIGY_KEYS:
    accepted = (annotation_tools.prodigy(record, w) for w, record in rows)
    found = [sentence for sentence in accepted if sentence]
  elif keys & annotation_tools.LABEL_STUDIO_KEYS or listed:
    found = [annotation_tools.label_studio(record, w) for w, record in rows]
  else:
    found = [records.sentence(r, w, predicted=predicted) for w, r in rows]
  if not found:
    raise UserError(f"{path}: no sentence in it; give a file with annotations")
  return found


def _lines(lines: Sequence[str], path: str | os.PathLike[str]) -> Iterator:
  for number, line in enumerate(lines, start=1):
    where = f"{path}:{number}"
    try:
      yield where, parse(line)
    except ValueError as error:
      raise UserError(
        f"{where}: not JSON ({error}); write one object a line"
      ) from None


def _is_list(lines: Sequence[str]) -> bool:
  """Whether a file is one list of objects, over one line or many."""
  start = "".join(lines[:2]).replace(" ", "").replace("\t", "")
  return start.startswith("[{")


def _tasks(lines: Sequence[str], path: str | os.PathLike[str]) -> Rows:
  try:
    tasks = parse("\n".join(lines))
  except ValueError as error:
    raise UserError(
      f"{path}: not JSON ({error}); export it again, or write one object a line"
    ) from None
  return [(f"{path}: task {i}", task) for i, task in enumerate(tasks, start=1)]


def _names(path: str | os.PathLike[str]) -> Sequence[str]:
  """The names of `ner_tags` that a dataset_info.json beside the file has."""
  info = pathlib.Path(path).with_name(_INFO)
  if not info.is_file():
    return ()
  try:
    fields = parse(info.read_bytes())
  except (OSError, ValueError) as error:
    raise UserError(f"{info}: cannot be read ({error}); mend it") from None
  return tagged_rows.names_of(fields, str(info))
