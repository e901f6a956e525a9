"""A component of spaCy: `nlp.add_pipe("splitner", config={"model": FOLDER})`.

It reads spaCy's own tokens, so that its mentions are spans of them, exact in
any text. Needs pip install "splitner_jax[spacy]".
"""

import itertools
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, get_args

import spacy.scorer
import spacy.util
import srsly
from spacy.language import Language
from spacy.tokens import Doc, Span

from splitner_jax.inference.checks import check_choice
from splitner_jax.inference.pipeline import Entity, SplitNER
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.types import Json

Overlaps = Literal["keep", "replace", "clear"]
"""What is done about entities that a document has already: those stay, and what
overlaps them is left out; or the other way round; or all of them go first."""


@Language.factory(
  "splitner",
  assigns=["doc.ents", "token.ent_iob", "token.ent_type"],
  default_config={
    "model": "",
    "threshold": None,
    "labels": None,
    "overlaps": "keep",
    "batch_size": 32,
  },
  default_score_weights={
    "ents_f": 1.0,
    "ents_p": 0.0,
    "ents_r": 0.0,
    "ents_per_type": None,
  },
)
def make(
  nlp: Language,
  name: str,
  model: str,
  threshold: float | None,
  labels: list[str] | None,
  overlaps: str,
  batch_size: int,
) -> "SplitNERComponent":
  """What spaCy calls; the arguments are the component's."""
  del nlp
  return SplitNERComponent(
    model,
    name=name,
    threshold=threshold,
    labels=labels,
    overlaps=overlaps,
    batch_size=batch_size,
  )


class SplitNERComponent:
  """Sets `doc.ents`, and `span._.score` of each of them.

  The score is in the document's user data, so that it is saved with it by
  `doc.to_bytes` and by a DocBin with `store_user_data=True`.

  Sentences are those of the document where a component before it has found
  them, else those that the model's own rules find.

  Attributes:
    name: in the pipeline.
  """

  def __init__(
    self,
    model: str = "",
    *,
    name: str = "splitner",
    threshold: float | None = None,
    labels: Sequence[str] | None = None,
    overlaps: str = "keep",
    batch_size: int = 32,
    ner: SplitNER | None = None,
  ):
    """Loads nothing yet: a saved pipeline brings its model itself.

    Args:
      model: folder of a model, or its hub id.
      name: in the pipeline.
      threshold, labels: as of `SplitNER.predict`.
      overlaps: one of Overlaps.
      batch_size: as of `SplitNER.from_pretrained`.
      ner: the model, where it is loaded already.

    Raises:
      UserError: no model is named, or an option is impossible.
    """
    if not model and ner is None:
      raise UserError(
        'splitner: no model; give add_pipe config={"model": FOLDER}'
      )
    if overlaps not in get_args(Overlaps):
      raise UserError(
        f"splitner: overlaps {overlaps!r} is none of "
        + ", ".join(get_args(Overlaps))
      )
    check_choice(threshold, labels)
    self.name = name
    self._model = model
    self._ner = ner
    self._threshold = threshold
    self._types = labels
    self._overlaps = overlaps
    self._batch_size = batch_size
    if not Span.has_extension("score"):
      Span.set_extension("score", default=None)

  @property
  def ner(self) -> SplitNER:
    """The model, which is loaded now if it is not yet.

    Raises:
      UserError: see `SplitNER.from_pretrained`.
    """
    if self._ner is None:
      self._ner = SplitNER.from_pretrained(
        self._model, batch_size=self._batch_size
      )
    return self._ner

  @property
  def labels(self) -> tuple[str, ...]:
    """The entity types it can set; none are known before there is a model.

    spaCy asks for them while it loads a pipeline, before `from_disk`.
    """
    known = self._ner.labels if self._ner else ()
    if self._types is None:
      return known
    return tuple(label for label in known if label in self._types)

  def __call__(self, doc: Doc) -> Doc:
    """Tags one document."""
    [doc] = self.pipe([doc])
    return doc

  def pipe(
    self, stream: Iterable[Doc], *, batch_size: int | None = None
  ) -> Iterator[Doc]:
    """Tags documents, those that are short together; in order.

    Args:
      stream: any number of them; some thousand words are read ahead.
      batch_size: spaCy's number of documents, which is not needed: batches
        are made of sentences.
    """
    del batch_size
    read = ((doc, list(self._sentences(doc))) for doc in stream)
    ahead, docs = itertools.tee(read)
    found = self.ner.stream(
      (
        [doc[i].text for i in tokens]
        for doc, parts in ahead
        for tokens in parts
      ),
      threshold=self._threshold,
      labels=self._types,
    )
    for doc, parts in docs:
      _set_entities(
        doc,
        [
          (_span(doc, tokens, entity), entity.score)
          for tokens in parts
          for entity in next(found)
        ],
        self._overlaps,
      )
      yield doc

  def _sentences(self, doc: Doc) -> Iterator[list[int]]:
    """The tokens of each sentence, those that are blanks left out."""
    words = [token.i for token in doc if not token.text.isspace()]
    if doc.has_annotation("SENT_START"):
      starts = [sentence.start_char for sentence in doc.sents]
    else:
      starts = [first.start for first, *_ in self.ner.sentences(doc.text)]
    starts = starts[1:]
    # A token that begins before a sentence's first word is of the one before.
    groups = itertools.groupby(
      words, key=_Counter(starts, lambda i: doc[i].idx)
    )
    return (list(tokens) for _, tokens in groups)

  def score(self, examples: Iterable[Any], **options: object) -> Json:
    """What `nlp.evaluate` reports: precision, recall and F1 of entities."""
    del options
    return spacy.scorer.get_ner_prf(examples)

  def to_disk(
    self, path: str | os.PathLike[str], *, exclude: Iterable[str] = ()
  ) -> None:
    """Saves the model's folder with the pipeline.

    Raises:
      UserError: it cannot be written.
    """
    del exclude
    self.ner.save_pretrained(str(path))

  def from_disk(
    self, path: str | os.PathLike[str], *, exclude: Iterable[str] = ()
  ) -> "SplitNERComponent":
    """Loads the model's folder of a saved pipeline.

    Raises:
      UserError: see `SplitNER.from_pretrained`.
    """
    del exclude
    self._ner = SplitNER.from_pretrained(str(path), batch_size=self._batch_size)
    return self

  def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
    """The files of the model's folder."""
    del exclude
    with tempfile.TemporaryDirectory() as parent:
      folder = pathlib.Path(parent, "model")
      self.ner.save_pretrained(str(folder))
      files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
      }
    return srsly.msgpack_dumps(files)

  def from_bytes(
    self, data: bytes, *, exclude: Iterable[str] = ()
  ) -> "SplitNERComponent":
    """Loads what `to_bytes` gave.

    Raises:
      UserError: these are no files of a model.
    """
    del exclude
    with tempfile.TemporaryDirectory() as folder:
      root = pathlib.Path(folder).resolve()
      for name, content in srsly.msgpack_loads(data).items():
        path = (root / name).resolve()
        if not path.is_relative_to(root):
          raise UserError(
            f"splitner: {name!r} is no file of a model's folder; save "
            "the pipeline again"
          )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
      return self.from_disk(folder)


class _Counter:
  """How many of some ascending numbers are reached, for ascending keys."""

  def __init__(self, numbers: Sequence[int], key: Callable[[int], int]):
    self._left = list(reversed(numbers))
    self._key = key

  def __call__(self, item: int) -> int:
    while self._left and self._left[-1] <= self._key(item):
      self._left.pop()
    return len(self._left)


def _span(doc: Doc, tokens: Sequence[int], entity: Entity) -> Span:
  """The tokens of a mention; blanks between its words are of it."""
  assert entity.first_word is not None
  assert entity.end_word is not None
  first, last = tokens[entity.first_word], tokens[entity.end_word - 1]
  return Span(doc, first, last + 1, label=entity.label)


def _set_entities(
  doc: Doc, found: Sequence[tuple[Span, float]], overlaps: str
) -> None:
  """Adds to the entities of a document; see Overlaps."""
  there = [] if overlaps == "clear" else list(doc.ents)
  new = found
  if overlaps == "keep":
    taken = {i for span in there for i in range(span.start, span.end)}
    new = [x for x in found if taken.isdisjoint(range(x[0].start, x[0].end))]
  else:
    taken = {i for span, _ in found for i in range(span.start, span.end)}
    there = [x for x in there if taken.isdisjoint(range(x.start, x.end))]
  spans = [*there, *(span for span, _ in new)]
  doc.ents = tuple(sorted(spans, key=lambda span: span.start))
  for span, score in new:
    span._.score = score
