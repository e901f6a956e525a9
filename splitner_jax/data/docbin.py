"""Documents of spaCy on disk (DocBin) <-> sentences.

Needs pip install "splitner_jax[spacy]".
"""

import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from splitner_jax.data import records
from splitner_jax.data.sentences import Sentence
from splitner_jax.data.text import Word, words_in_line
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.extras import needed
from splitner_jax.runtime.files import atomic_write
from splitner_jax.runtime.types import Json


def is_name(path: str | os.PathLike[str]) -> bool:
  """Whether a file of this name is a DocBin."""
  return pathlib.Path(path).suffix.lower() == ".spacy"


def read(path: str | os.PathLike[str]) -> list[Sentence]:
  """The sentences of a DocBin, with `doc.ents` as mentions.

  A document is one sentence where it does not say itself where its sentences
  begin. Tokens of blanks are no words.

  Args:
    path: of a file that `DocBin.to_disk` or `spacy convert` wrote.

  Raises:
    UserError: it cannot be read, holds no word, does not say what a document's
      entities are, or one of them is as no entity may be.
  """
  spacy = needed("spacy", "spacy", str(path))
  tokens = needed("spacy.tokens", "spacy", str(path))
  try:
    data = pathlib.Path(path).read_bytes()
  except FileNotFoundError:
    raise UserError(f"{path}: no such file; check the path") from None
  except OSError as error:
    raise UserError(
      f"{path}: cannot be read ({error.strerror}); check it"
    ) from None
  try:
    docs = list(
      tokens.DocBin().from_bytes(data).get_docs(spacy.blank("xx").vocab)
    )
  except Exception as error:  # Of zlib, msgpack or spaCy.
    reason = " ".join(str(error).split())[:160]
    raise UserError(
      f"{path}: is no DocBin of spaCy ({reason}); write it with DocBin.to_disk"
    ) from error
  found = [
    sentence
    for number, doc in enumerate(docs, start=1)
    for sentence in _sentences(doc, f"{path}: document {number}")
  ]
  if not found:
    raise UserError(f"{path}: no sentence in it; give a file with words")
  return found


def _sentences(doc: Any, where: str) -> Iterator[Sentence]:
  if any(token.ent_iob == 0 for token in doc):
    raise UserError(
      f"{where}: does not say what its entities are; set doc.ents, also where "
      "there are none"
    )
  if not len(doc):
    return
  parts = [doc[:]]
  if doc.has_annotation("SENT_START"):
    parts = list(doc.sents)
  for number, part in enumerate(parts, start=1):
    place = f"{where}, sentence {number}" if len(parts) > 1 else where
    words = [
      Word(token.text, token.i, token.i + 1)
      for token in part
      if not token.text.isspace()
    ]
    entities = [
      {"start": e.start, "end": e.end, "label": e.label_}
      for e in doc.ents
      if e.start < part.end and part.start < e.end
    ]
    for entity in entities:
      if entity["start"] < part.start or part.end < entity["end"]:
        raise UserError(
          f"{place}: entity {entity['label']!r} ({entity['start']} to "
          f"{entity['end']}) goes beyond it; mend the sentences"
        )
    if words or entities:
      yield records.sentence_of(words, entities, len(doc), place)


class Document(NamedTuple):
  """What a document is made of.

  Attributes:
    words: its tokens, those of blanks too.
    spaces: whether a blank is behind each; None: behind all but the last.
    starts: whether a sentence begins with each.
    entities: characters `start` and `end`, type, and score or None of each.
    record: kept as its user data `record`, if there is anything in it.
  """

  words: Sequence[str]
  spaces: Sequence[bool] | None
  starts: Sequence[bool]
  entities: Sequence[tuple[int, int, str, float | None]]
  record: Json | None = None

  @classmethod
  def of_text(
    cls,
    text: str,
    sentences: Iterable[Sequence[Word]],
    entities: Sequence[tuple[int, int, str, float | None]],
    record: Json,
  ) -> "Document":
    """The document whose text is exactly this one.

    What is between words, but for one blank, becomes a token too.
    """
    words: list[str] = []
    spaces: list[bool] = []
    starts: list[bool] = []
    at = 0

    def skip(end: int) -> None:
      between = text[at:end]
      if words and between.startswith(" "):
        spaces[-1], between = True, between[1:]
      if between:
        words.append(between)
        spaces.append(False)
        starts.append(False)

    for sentence in sentences:
      for i, word in enumerate(sentence):
        skip(word.start)
        words.append(text[word.start : word.end])
        spaces.append(False)
        starts.append(i == 0)
        at = word.end
    skip(len(text))
    return cls(words, spaces, starts, entities, record)


def write(path: str | os.PathLike[str], sentences: Sequence[Sentence]) -> None:
  """Writes each sentence as a document.

  Raises:
    UserError: the file cannot be written.
  """

  def document(sentence: Sentence) -> Document:
    words = words_in_line(sentence.words)
    starts = [i == 0 for i in range(len(words))]
    entities = [
      (words[start].start, words[end - 1].end, label, None)
      for start, end, label in sentence.spans
    ]
    return Document(sentence.words, None, starts, entities)

  atomic_write(path, [to_bytes(map(document, sentences), str(path))])


def to_bytes(documents: Iterable[Document], what: str) -> bytes:
  """A DocBin; the score of an entity is its `span._.score`.

  Args:
    documents: any number; all of them are in memory at the end.
    what: is written, for messages.

  Raises:
    UserError: spaCy is not installed.
  """
  spacy = needed("spacy", "spacy", what)
  tokens = needed("spacy.tokens", "spacy", what)
  if not tokens.Span.has_extension("score"):
    tokens.Span.set_extension("score", default=None)
  vocab = spacy.blank("xx").vocab
  saved = tokens.DocBin(store_user_data=True)
  for document in documents:
    words, spaces = list(document.words), document.spaces
    if spaces is None:
      spaces = [True] * (len(words) - 1) + [False] * bool(words)
    # spaCy wants to hear that the first begins one.
    starts = [i == 0 or start for i, start in enumerate(document.starts)]
    doc = tokens.Doc(vocab, words=words, spaces=spaces, sent_starts=starts)
    spans = [
      doc.char_span(start, end, label=label)
      for start, end, label, _ in document.entities
    ]
    doc.ents = spans
    for span, (*_, score) in zip(spans, document.entities, strict=True):
      if score is not None:
        span._.score = score
    if document.record:
      doc.user_data["record"] = document.record
    saved.add(doc)
  return saved.to_bytes()
