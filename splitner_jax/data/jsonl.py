"""JSON Lines, one sentence a line, -> sentences."""

import bisect
import itertools
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from splitner_jax.data.sentences import Sentence, Span
from splitner_jax.data.text import Word, words_with_offsets
from splitner_jax.data.words import BLANKS, check_word, label_fault
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.files import read_lines
from splitner_jax.runtime.json_text import parse
from splitner_jax.runtime.types import Json

_KEYS = ("text", "tokens", "entities", "pos", "predicted")
_ENTITY = ("start", "end", "label")
_PREDICTED = (*_ENTITY, "score", "text")


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

  Args:
    path: a UTF-8 file.
    predicted: reads what a model said instead: the entities under `predicted`
      where a line has them, else its `entities`. As `splitner predict` writes
      them, they may have a `score` and their `text`, and a line any other keys.

  Raises:
    UserError: the file cannot be read, holds no sentence, or holds a line that
      is not as described; entities must not overlap nor cut a word.
  """
  lines = read_lines(path)
  while lines and not lines[-1].strip(BLANKS):
    lines.pop()
  if not lines:
    raise UserError(f"{path}: no sentence in it; give one JSON object a line")
  return [
    _from_json(line, f"{path}:{number}", predicted)
    for number, line in enumerate(lines, start=1)
  ]


def _from_json(line: str, where: str, predicted: bool) -> Sentence:
  """The sentence of one line; `where` is its file and line number."""
  try:
    record = parse(line)
  except ValueError as error:
    raise UserError(
      f"{where}: not JSON ({error}); write one object a line"
    ) from None
  _check_keys(record, _KEYS, where, any_other=predicted)
  if ("text" in record) == ("tokens" in record):
    raise UserError(f"{where}: give either 'text' or 'tokens', and only one")
  said = predicted and "predicted" in record
  entities = _field(record, "predicted" if said else "entities", list, where)
  if "text" in record:
    text = _field(record, "text", str, where)
    words = words_with_offsets(text)
    length = len(text)
  else:
    tokens = _field(record, "tokens", list, where)
    words = [Word(token, i, i + 1) for i, token in enumerate(tokens)]
    length = len(tokens)
  if not words:
    raise UserError(f"{where}: no word in it; remove the line or add words")
  for word, _, _ in words:
    check_word(word, where)
  has_pos = "pos" in record and not predicted
  pos = _field(record, "pos", list, where) if has_pos else []
  for tag in pos:
    check_word(tag, where, "part of speech")
  if has_pos and len(pos) != len(words):
    raise UserError(
      f"{where}: {len(pos)} parts of speech for {len(words)} words; give one "
      "for each"
    )
  mentions = sorted(
    _entity(entity, i, length, where, _PREDICTED if predicted else _ENTITY)
    for i, entity in enumerate(entities)
  )
  for left, right in itertools.pairwise(mentions):
    if right.start < left.end:
      raise UserError(
        f"{where}: entities {_show(left)} and {_show(right)} overlap; keep one"
      )
  ends = [end for _, _, end in words]
  spans = tuple(_to_words(mention, words, ends, where) for mention in mentions)
  return Sentence(
    words=tuple(word for word, _, _ in words),
    spans=spans,
    pos=tuple(pos),
    source=where,
  )


def _entity(
  entity: Json, index: int, length: int, where: str, keys: Sequence[str]
) -> Span:
  where = f"{where}: entity {index}"
  _check_keys(entity, keys, where)
  start = _field(entity, "start", int, where)
  end = _field(entity, "end", int, where)
  label = _field(entity, "label", str, where)
  if not 0 <= start < end <= length:
    raise UserError(
      f"{where}: {start} to {end} is empty or outside 0 to {length}; "
      "count from 0, end exclusive"
    )
  fault = label_fault(label)
  if fault:
    raise UserError(f"{where}: label {label!r} {fault}; write a plain name")
  return Span(start, end, label)


def _to_words(
  mention: Span,
  words: Sequence[tuple[str, int, int]],
  ends: Sequence[int],
  where: str,
) -> Span:
  """The mention in words; its own offsets count like those of `words`."""
  first = last = bisect.bisect_right(ends, mention.start)
  while last < len(words) and words[last][1] < mention.end:
    word, start, end = words[last]
    if start < mention.start or mention.end < end:
      raise UserError(
        f"{where}: entity {_show(mention)} cuts the word {word!r} "
        f"({start} to {end}); move its edge, or give 'tokens'"
      )
    last += 1
  if first == last:
    raise UserError(
      f"{where}: entity {_show(mention)} holds no word; remove it"
    )
  return Span(first, last, mention.label)


def _show(span: Span) -> str:
  return f"{span.label!r} ({span.start} to {span.end})"


def _field(record: Json, key: str, kind: type, where: str) -> Any:
  if key not in record:
    raise UserError(f"{where}: {key!r} is missing; add it")
  value = record[key]
  # JSON's true is an int in Python.
  if not isinstance(value, kind) or isinstance(value, bool):
    names = {list: "a list", str: "a string", int: "a whole number"}
    raise UserError(f"{where}: {key!r} must be {names[kind]}")
  return value


def _check_keys(
  record: object, allowed: Sequence[str], where: str, any_other: bool = False
) -> None:
  if not isinstance(record, dict):
    keys = ", ".join(allowed)
    raise UserError(f"{where}: not a JSON object; give one with {keys}")
  for key in record:
    if key not in allowed and not any_other:
      raise UserError(
        f"{where}: key {key!r} is unknown; use {', '.join(allowed)}"
      )
