"""Records with `text` or `tokens` and `entities` -> sentences."""

import bisect
import itertools
from collections.abc import Sequence
from typing import Any

from splitner_jax.data.sentences import Sentence, Span
from splitner_jax.data.text import Word, words_with_offsets
from splitner_jax.data.words import check_word, label_fault
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.types import Json

_KEYS = ("text", "tokens", "entities", "pos", "predicted")
_ENTITY = ("start", "end", "label")
_PREDICTED = (*_ENTITY, "score", "text")


def sentence(
  record: object, where: str, *, predicted: bool = False
) -> Sentence:
  """The sentence of one record; see `jsonl.read`.

  Args:
    record: an object of JSON.
    where: its file and line, for messages.
    predicted: as there.

  Raises:
    UserError: it is not as described there.
  """
  record = checked(record, _KEYS, where, any_other=predicted)
  if ("text" in record) == ("tokens" in record):
    raise UserError(f"{where}: give either 'text' or 'tokens', and only one")
  said = predicted and "predicted" in record
  entities = field(record, "predicted" if said else "entities", list, where)
  if "text" in record:
    text = field(record, "text", str, where)
    words = words_with_offsets(text)
    length = len(text)
  else:
    tokens = field(record, "tokens", list, where)
    words = [Word(token, i, i + 1) for i, token in enumerate(tokens)]
    length = len(tokens)
  has_pos = "pos" in record and not predicted
  pos = field(record, "pos", list, where) if has_pos else []
  for tag in pos:
    check_word(tag, where, "part of speech")
  if has_pos and len(pos) != len(words):
    raise UserError(
      f"{where}: {len(pos)} parts of speech for {len(words)} words; give one "
      "for each"
    )
  keys = _PREDICTED if predicted else _ENTITY
  return sentence_of(words, entities, length, where, keys=keys, pos=pos)


def sentence_of(
  words: Sequence[Word],
  entities: Sequence[Json],
  length: int,
  where: str,
  *,
  keys: Sequence[str] = _ENTITY,
  pos: Sequence[str] = (),
) -> Sentence:
  """A sentence of words and entities, after a look at all of them.

  Args:
    words: with offsets that count like those of the entities.
    entities: objects with `start`, `end` and `label`.
    length: the most that an offset may be.
    where: file and line, for messages.
    keys: that an entity may have.
    pos: parts of speech, or none.

  Raises:
    UserError: no word is there, one cannot be kept, or an entity is outside,
      overlaps another or cuts a word.
  """
  if not words:
    raise UserError(f"{where}: no word in it; remove the line or add words")
  for word, _, _ in words:
    check_word(word, where)
  mentions = sorted(
    _entity(entity, i, length, where, keys) for i, entity in enumerate(entities)
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
  checked(entity, keys, where)
  start = field(entity, "start", int, where)
  end = field(entity, "end", int, where)
  label = field(entity, "label", str, where)
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


def field(record: Json, key: str, kind: type, where: str) -> Any:
  """The value of a key, which is to be a list, str, int or dict.

  Raises:
    UserError: it is missing, or of another kind.
  """
  if key not in record:
    raise UserError(f"{where}: {key!r} is missing; add it")
  value = record[key]
  # JSON's true is an int in Python.
  if not isinstance(value, kind) or isinstance(value, bool):
    names = {list: "a list", str: "a string", int: "a whole number"}
    names[dict] = "an object"
    raise UserError(f"{where}: {key!r} must be {names[kind]}")
  return value


def checked(
  record: object, allowed: Sequence[str], where: str, any_other: bool = False
) -> Json:
  """The record, which is to be an object without other keys.

  Args:
    record: what was read.
    allowed: the keys.
    where: its file and line, for messages.
    any_other: whether other keys do no harm.

  Raises:
    UserError: it is none, or has another key.
  """
  if not isinstance(record, dict):
    keys = ", ".join(allowed)
    raise UserError(f"{where}: not a JSON object; give one with {keys}")
  for key in record:
    if key not in allowed and not any_other:
      raise UserError(
        f"{where}: key {key!r} is unknown; use {', '.join(allowed)}"
      )
  return record
