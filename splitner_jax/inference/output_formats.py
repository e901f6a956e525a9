"""Tagged texts as files: each format is a generator of its parts."""

import dataclasses
import html
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from splitner_jax.data import docbin, tags
from splitner_jax.data.sentences import Span
from splitner_jax.data.text import Word
from splitner_jax.inference.documents import Row
from splitner_jax.inference.pipeline import Entity
from splitner_jax.runtime.types import Json

Tagged = Iterable[tuple[Row, list[Entity]]]


@dataclasses.dataclass(frozen=True)
class Style:
  """What the formats need beside the texts.

  Attributes:
    labels: entity types, in the order of their colours.
    sentences: splits a text into words.
    colour: whether `text` goes to a terminal.
  """

  labels: Sequence[str]
  sentences: Callable[[str], Iterable[list[Word]]]
  colour: bool = False


def record(row: Row, entities: Sequence[Entity]) -> Json:
  """A text with its entities, as an object of JSON."""
  of_text = isinstance(row.content, str)
  return {
    **row.fields,
    "entities": [
      {
        "start": e.start if of_text else e.first_word,
        "end": e.end if of_text else e.end_word,
        "label": e.label,
        "score": round(e.score, 6),
        "text": e.text,
      }
      for e in entities
    ],
  }


def jsonl(tagged: Tagged, style: Style) -> Iterator[str]:
  """An object a line: the input's fields with `entities`.

  Their start and end are characters of `text`, or indices of `tokens`.
  """
  del style
  for row, entities in tagged:
    yield json.dumps(record(row, entities), ensure_ascii=False) + "\n"


def conll(tagged: Tagged, style: Style) -> Iterator[str]:
  """Columns: word, tab, BIO tag; an empty line after each sentence."""
  for row, entities in tagged:
    left = iter(entities)
    entity = next(left, None)
    for block in row.blocks(style.sentences):
      spans = []
      while entity is not None and entity.start < block[-1].end:
        inside = [
          i
          for i, word in enumerate(block)
          if entity.start <= word.start < entity.end
        ]
        spans.append(Span(inside[0], inside[-1] + 1, entity.label))
        entity = next(left, None)
      for word, tag in zip(
        block, tags.spans_to_tags(spans, len(block)), strict=True
      ):
        # A word that was given may hold a blank.
        yield re.sub(r"\s", "_", word.text) + f"\t{tag}\n"
      yield "\n"


def _marked(
  row: Row, entities: list[Entity], mark: Callable[[str, Entity | None], str]
) -> str:
  """The text, with `mark` applied to entities and to what lies between."""
  parts, at = [], 0
  for entity in entities:
    parts.append(mark(row.text[at : entity.start], None))
    parts.append(mark(entity.text, entity))
    at = entity.end
  return "".join([*parts, mark(row.text[at:], None)])


def text(tagged: Tagged, style: Style) -> Iterator[str]:
  """The texts with [mention|type], or in colours."""
  colours = {label: 41 + i % 6 for i, label in enumerate(style.labels)}

  def mark(part: str, entity: Entity | None) -> str:
    if entity is None:
      return part
    if style.colour:
      colour = f"\x1b[97;{colours[entity.label]}m"
      return f"{colour} {part} \x1b[2m{entity.label} \x1b[0m"
    return f"[{part}|{entity.label}]"

  for row, entities in tagged:
    yield _marked(row, entities, mark) + "\n"


_PAGE = """<!doctype html>
<html>
<head>
<meta charset="utf-8">
<title>Entities</title>
<style>
body { font: 16px/2.2 sans-serif; max-width: 50em; margin: 2em auto; }
p { margin: 0; padding: 0.3em 0; white-space: pre-wrap; }
mark { padding: 0.3em 0.4em; border-radius: 0.4em; color: #111; }
mark small { font-weight: bold; font-size: 0.65em; margin-inline-start: 0.6em; }
</style>
</head>
<body>
"""


def html_page(tagged: Tagged, style: Style) -> Iterator[str]:
  """A page of its own: no script, nothing from elsewhere, all escaped."""
  # Neighbouring hues far apart.
  colours = {
    label: f"hsl({i * 137 % 360} 75% 82%)"
    for i, label in enumerate(style.labels)
  }

  def mark(part: str, entity: Entity | None) -> str:
    part = html.escape(part)
    if entity is None:
      return part
    return (
      f'<mark style="background: {colours[entity.label]}" '
      f'title="{entity.score:.2f}">{part}'
      f"<small>{html.escape(entity.label)}</small></mark>"
    )

  yield _PAGE
  for row, entities in tagged:
    yield f'<p dir="auto">{_marked(row, entities, mark)}</p>\n'
  yield "</body>\n</html>\n"


def brat(tagged: Tagged, style: Style) -> Iterator[str]:
  """Standoff annotations, whose document is the input file of plain text.

  Of other input it is the texts, each with a line feed behind it.
  """
  del style
  number = at = 0
  for row, entities in tagged:
    # Whoever opens the document as UTF-8 counts its mark as a character.
    at += row.before
    for entity in entities:
      number += 1
      start = at + entity.start
      # A mention over several lines is one of several parts.
      parts = [
        f"{start + part.start()} {start + part.end()}"
        for part in re.finditer("[^\n]+", entity.text)
      ]
      label = re.sub(r"\s", "_", entity.label)
      shown = re.sub("\n+", " ", entity.text)
      yield f"T{number}\t{label} {';'.join(parts)}\t{shown}\n"
    at += row.length


def docbin_file(tagged: Tagged, style: Style) -> Iterator[bytes]:
  """A DocBin of spaCy: a document for each text, `span._.score` included.

  It is one part, so that all documents are in memory at the end.
  """

  def document(row: Row, entities: list[Entity]) -> docbin.Document:
    given = [(e.start, e.end, e.label, e.score) for e in entities]
    if isinstance(row.content, str):
      sentences = style.sentences(row.content)
      return docbin.Document.of_text(row.content, sentences, given, row.record)
    starts = [i == 0 for i in range(len(row.content))]
    return docbin.Document(row.content, None, starts, given, row.record)

  documents = (document(row, entities) for row, entities in tagged)
  yield docbin.to_bytes(documents, "--format=docbin")


FORMATS: dict[str, Callable[[Tagged, Style], Iterator[str | bytes]]] = {
  "jsonl": jsonl,
  "conll": conll,
  "text": text,
  "html": html_page,
  "brat": brat,
  "docbin": docbin_file,
}
"""The values of --format."""
