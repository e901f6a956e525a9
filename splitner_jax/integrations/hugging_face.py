"""A model in the manner of transformers' `pipeline`: entities as dictionaries.

What they hold, and when there is a list of lists, is that of
`pipeline("ner", aggregation_strategy="simple")`; nothing else is needed for it.
"""

from collections.abc import Iterable, Iterator
from typing import Any, TypedDict

from splitner_jax.inference.pipeline import SplitNER


class Group(TypedDict):
  """An entity.

  Attributes:
    entity_group: its type.
    score: as of `Entity`.
    word: the mention as written, where a tagger of subwords has to put it
      together again from its vocabulary.
    start, end: characters of the text, `end` exclusive.
  """

  entity_group: str
  score: float
  word: str
  start: int
  end: int


class NerPipeline:
  """Tags as transformers' token-classification pipeline does.

  >>> ner = pipeline("runs/demo/model")
  >>> ner("Ana moved to Rome.")
  [{'entity_group': 'person', 'score': 0.99, 'word': 'Ana', ...}, ...]
  """

  def __init__(self, ner: SplitNER, *, threshold: float | None = None):
    """See `pipeline`."""
    self._ner = ner
    self._threshold = threshold

  def __call__(self, inputs: str | Iterable[str]) -> Any:
    """The entities of one text, of each of a list, or of each of a stream.

    Args:
      inputs: a string, for a list of entities; a list or tuple of strings, for
        a list of such lists; any other iterable of strings, for an iterator.

    Raises:
      UserError: one of them is no text.
    """
    if isinstance(inputs, str):
      [found] = self._stream([inputs])
      return found
    stream = self._stream(inputs)
    return list(stream) if isinstance(inputs, (list, tuple)) else stream

  def _stream(self, texts: Iterable[str]) -> Iterator[list[Group]]:
    for entities in self._ner.stream(texts, threshold=self._threshold):
      yield [
        {
          "entity_group": entity.label,
          "score": entity.score,
          "word": entity.text,
          "start": entity.start,
          "end": entity.end,
        }
        for entity in entities
      ]


def pipeline(
  model: str | SplitNER,
  *,
  batch_size: int = 32,
  threshold: float | None = None,
) -> NerPipeline:
  """A model as transformers' users know it.

  Args:
    model: folder, hub id, or a model that is loaded; its `batch_size` then.
    batch_size: as of `SplitNER.from_pretrained`.
    threshold: as of `SplitNER.predict`.

  Raises:
    UserError: see `SplitNER.from_pretrained`.
  """
  if isinstance(model, str):
    model = SplitNER.from_pretrained(model, batch_size=batch_size)
  return NerPipeline(model, threshold=threshold)
