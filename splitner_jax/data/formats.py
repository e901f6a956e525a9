"""Corpus files <-> sentences.

Columns: one word a line, one of its columns the tag, in any of the schemes of
`tags`. JSON Lines: one sentence a line, its words or its text with the mentions
beside it. A third format, CoNLL-2012, is in `conll2012`. Whatever is wrong in a
file is a UserError that says file and line; nothing is repaired or left out
silently.
"""

import itertools
import json
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from splitner_jax.data import conll2012
from splitner_jax.data import tags as tags_lib
from splitner_jax.data.lines import read_lines, write_whole
from splitner_jax.data.sentences import ScoredSpan, Sentence, Span
from splitner_jax.data.text import Word, words_with_offsets
from splitner_jax.errors import UserError

_Path = str | os.PathLike[str]

# The blanks of file formats only: a word may hold any other character, also
# those that Unicode counts among the spaces and line ends.
_BLANKS = " \t\r\n\v\f"
_BLANK = re.compile(f"[{_BLANKS}]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_LABEL = re.compile("[^\t\r\n\v\f\ud800-\udfff]+")
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
) -> list[Sentence]:
  """Reads a corpus file; its name says the format.

  JSON Lines if it ends in `.jsonl` or `.json`, CoNLL-2012 in `gold_conll`, else
  columns; the arguments besides the path say how columns are read.
  """
  if _is_jsonl(path):
    return read_jsonl(path)
  if conll2012.is_name(path):
    return conll2012.read(path)
  return read_columns(
    path,
    tag_column=tag_column,
    word_column=word_column,
    pos_column=pos_column,
    separator=separator,
  )


def scheme_of(
  path: _Path, *, tag_column: int = -1, word_column: int = 0
) -> str:
  """What `read` takes a file for: JSONL, CoNLL-2012, or the tags' scheme.

  Raises:
    UserError: a file of columns cannot be read.
  """
  if _is_jsonl(path):
    return "JSONL"
  if conll2012.is_name(path):
    return "CoNLL-2012"
  blocks = _blocks(path, word_column, tag_column, None, None)
  return tags_lib.detect_scheme([row.tag for row in b] for b in blocks)


def _is_jsonl(path: _Path) -> bool:
  return pathlib.Path(path).suffix.lower() in (".jsonl", ".json")


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
    UserError: the file cannot be read, or holds no sentence, too few columns
      or tags that are impossible in their scheme.
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
  # The width of the first line that is a word's row beyond doubt.
  usual = next(
    (len(_fields(x, separator)) for x in lines if x[:1] not in " \t#-"), None
  )
  block: list[_Row] = []
  for number, line in enumerate(lines, start=1):
    fields = _fields(line, separator)
    count = len(fields)
    word = fields[word_column] if -count <= word_column < count else ""
    no_word = not word and set(fields) <= {"", "O"}
    if no_word or _DOCUMENT_START.match(line):
      yield block
      block = []
      continue
    if line.startswith("# ") and "\t" not in line:
      # In a file separated by blanks this may be the word #.
      same_width = count >= needed and count == (usual or count)
      if not (same_width and tags_lib.is_tag(fields[tag_column])):
        continue
    where = f"{path}:{number}"
    if count < needed:
      raise UserError(
        f"{where}: {count} column{'s' * (count != 1)} where {needed} are "
        "needed; check the separator and the numbers of the columns"
      )
    _check_word(word, where)
    pos = "" if pos_column is None else fields[pos_column]
    block.append(_Row(number, word, fields[tag_column], pos))
  yield block


def _fields(line: str, separator: str | None) -> list[str]:
  if separator is None and "\t" not in line:
    fields = [field for field in line.split(" ") if field]
    # A lone field behind a blank has left its first column empty.
    return ["", *fields] if line[:1] == " " and len(fields) < 2 else fields
  return [field.strip(_BLANKS) for field in line.split(separator or "\t")]


def read_jsonl(path: _Path) -> list[Sentence]:
  """Reads one JSON object a line, each a sentence.

  Either `{"tokens": [...], "entities": [...]}` or `{"text": "...",
  "entities": [...]}`; an entity is `{"start", "end", "label"}`, in words or in
  characters (Unicode code points), `end` exclusive. Text is split by
  `text.words_with_offsets`; blanks at an entity's edges do not count. What
  `write_jsonl` adds under `predicted` is not read.

  Raises:
    UserError: the file cannot be read, holds no sentence, or holds a line that
      is not as described; entities must not overlap nor cut a word.
  """
  lines = read_lines(path)
  while lines and not lines[-1].strip(_BLANKS):
    lines.pop()
  if not lines:
    raise UserError(f"{path}: no sentence in it; give one JSON object a line")
  return [
    _from_json(line, f"{path}:{number}")
    for number, line in enumerate(lines, start=1)
  ]


def _from_json(line: str, where: str) -> Sentence:
  """The sentence of one line; `where` is its file and line number."""

  def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    for key in keys:
      if keys.count(key) > 1:
        raise UserError(f"{where}: key {key!r} appears twice; keep one")
    return dict(pairs)

  try:
    record = json.loads(line, object_pairs_hook=unique)
  except UserError:
    raise
  except (ValueError, RecursionError) as error:
    reason = getattr(error, "msg", "too large or too deep")
    raise UserError(
      f"{where}: not JSON ({reason}); write one object a line"
    ) from None
  _check_keys(record, ("text", "tokens", "entities", "predicted"), where)
  if ("text" in record) == ("tokens" in record):
    raise UserError(f"{where}: give either 'text' or 'tokens', and only one")
  entities = _field(record, "entities", list, where)
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
    _check_word(word, where)
  mentions = sorted(
    _entity(entity, i, length, where) for i, entity in enumerate(entities)
  )
  for left, right in itertools.pairwise(mentions):
    if right.start < left.end:
      raise UserError(
        f"{where}: entities {_show(left)} and {_show(right)} overlap; keep one"
      )
  spans = tuple(_to_words(mention, words, where) for mention in mentions)
  return Sentence(tuple(word for word, _, _ in words), spans, source=where)


def _entity(entity: Any, index: int, length: int, where: str) -> Span:
  where = f"{where}: entity {index}"
  _check_keys(entity, ("start", "end", "label"), where)
  start = _field(entity, "start", int, where)
  end = _field(entity, "end", int, where)
  label = _field(entity, "label", str, where)
  if not 0 <= start < end <= length:
    raise UserError(
      f"{where}: {start} to {end} is empty or outside 0 to {length}; "
      "count from 0, end exclusive"
    )
  if label != label.strip() or not _LABEL.fullmatch(label):
    raise UserError(
      f"{where}: label {label!r} is empty or has a blank at an edge, a tab or "
      "a line break; write a plain name"
    )
  return Span(start, end, label)


def _to_words(
  mention: Span, words: Sequence[tuple[str, int, int]], where: str
) -> Span:
  """The mention in words; its own offsets count like those of `words`."""
  inside = []
  for i, (word, start, end) in enumerate(words):
    if start < mention.end and mention.start < end:
      if start < mention.start or mention.end < end:
        raise UserError(
          f"{where}: entity {_show(mention)} cuts the word {word!r} "
          f"({start} to {end}); move its edge, or give 'tokens'"
        )
      inside.append(i)
  if not inside:
    raise UserError(
      f"{where}: entity {_show(mention)} holds no word; remove it"
    )
  return Span(inside[0], inside[-1] + 1, mention.label)


def _show(span: Span) -> str:
  return f"{span.label!r} ({span.start} to {span.end})"


def _field(record: dict[str, Any], key: str, kind: type, where: str) -> Any:
  if key not in record:
    raise UserError(f"{where}: {key!r} is missing; add it")
  value = record[key]
  # JSON's true is an int in Python.
  if not isinstance(value, kind) or isinstance(value, bool):
    names = {list: "a list", str: "a string", int: "a whole number"}
    raise UserError(f"{where}: {key!r} must be {names[kind]}")
  return value


def _check_keys(record: Any, allowed: Sequence[str], where: str) -> None:
  if not isinstance(record, dict):
    keys = ", ".join(allowed)
    raise UserError(f"{where}: not a JSON object; give one with {keys}")
  for key in record:
    if key not in allowed:
      raise UserError(
        f"{where}: key {key!r} is unknown; use {', '.join(allowed)}"
      )


def _check_word(word: Any, where: str) -> None:
  if not isinstance(word, str) or not word or _BLANK.search(word):
    raise UserError(
      f"{where}: word {word!r} must be a string, not empty and without blanks"
    )
  if _SURROGATE.search(word):
    raise UserError(f"{where}: word {word!r} holds half a character; mend it")


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
    record: dict[str, Any] = {
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
  write_whole(
    path, itertools.starmap(render, zip(sentences, spans, strict=True))
  )
