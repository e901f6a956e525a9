"""What to annotate next: the texts of which a model is least sure.

A model's answer about a text is a series of decisions: a label of each word,
then a type of each span that the labels make. The answer's probability is the
product of theirs, so that its surprisal, -log of that, is the sum of the
surprisals s = -log p of all decisions, whichever step they are of. To rank by
it is to ask about the least confident answer first (Culotta and McCallum, AAAI
2005). It grows with every word, so that long texts would come first; divided
by the number of words it is what Shen et al. (ICLR 2018) call MNLP, here with
the decisions of both steps: how unsure the model is for what annotating costs.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from splitner_jax.data.sentences import Sentence
from splitner_jax.data.text import Word
from splitner_jax.inference.documents import Row
from splitner_jax.inference.pipeline import SplitNER
from splitner_jax.runtime.types import Json

# Not before a model is loaded: it imports JAX.
if TYPE_CHECKING:
  from splitner_jax.tasks.base import Decision

_CHUNK = 10_000  # Words that are read at a time, which fill the batches well.
_SURE = 0.9  # Decisions more probable than this need no mention.
_LEAST = 1e-30  # What a probability of 0 in float32 may have been.

MEASURES: dict[str, Callable[[np.ndarray, int], float]] = {
  "mean": lambda surprisals, words: float(surprisals.sum() / words),
  "sum": lambda surprisals, words: float(surprisals.sum()),
  "max": lambda surprisals, words: float(surprisals.max()),
}
"""Of the surprisals, float[decisions], and the number of words, at least one:
their sum by words (MNLP), which favours neither long nor short texts; their
sum; that of the least sure decision, in nats."""


class Suggestion(NamedTuple):
  """A text that is worth annotating.

  Attributes:
    row: the text.
    uncertainty: by one of MEASURES; of a text without words 0.
    unsure: the decisions that are not sure, the least sure first, each with
      the words of its sentence.
  """

  row: Row
  uncertainty: float
  unsure: list[tuple["Decision", Sequence[Word]]]

  def record(self) -> Json:
    """As an object of JSON; places as in the output of `splitner predict`."""
    of_text = isinstance(self.row.content, str)
    unsure = []
    for decision, words in self.unsure:
      a, b = words[decision.start].start, words[decision.end - 1].end
      unsure.append(
        {
          "start": a if of_text else decision.start,
          "end": b if of_text else decision.end,
          "task": decision.task,
          "answer": decision.answer,
          "probability": round(decision.probability, 6),
          "text": self.row.text[a:b],
        }
      )
    return {
      **self.row.fields,
      "uncertainty": round(self.uncertainty, 6),
      "unsure": unsure,
    }


def uncertainty(
  decisions: Iterable["Decision"], words: int, measure: str = "mean"
) -> float:
  """How unsure a model is of a text.

  Args:
    decisions: all about the text.
    words: how many it has.
    measure: a key of MEASURES.
  """
  probabilities = [d.probability for d in decisions]
  if not probabilities:
    return 0.0
  # Not -0.0 where all is sure.
  surprisals = 0.0 - np.log(np.clip(probabilities, _LEAST, 1.0))
  return MEASURES[measure](surprisals, words)


def rank(
  ner: SplitNER,
  rows: Iterable[Row],
  *,
  measure: str = "mean",
  top: int | None = None,
) -> list[Suggestion]:
  """The texts, those of which the model is least sure first.

  Of equals the one that comes first in `rows` is first.

  Args:
    ner: the model.
    rows: any number of texts.
    measure: a key of MEASURES.
    top: at most so many, and no more are kept in memory; None: all.
  """
  found = _suggestions(ner, rows, measure)

  def key(suggestion: Suggestion) -> float:
    return suggestion.uncertainty

  if top is None:
    return sorted(found, key=key, reverse=True)
  return heapq.nlargest(top, found, key=key)


def _suggestions(
  ner: SplitNER, rows: Iterable[Row], measure: str
) -> Iterator[Suggestion]:
  """The texts in their order."""
  for chunk in _chunks(ner, rows):
    sentences = [
      Sentence(tuple(w.text for w in words))
      for _, blocks in chunk
      for words in blocks
    ]
    decided = iter(ner.predictor.decisions(sentences))
    for row, blocks in chunk:
      pairs = [(d, words) for words in blocks for d in next(decided)]
      unsure = [pair for pair in pairs if pair[0].probability < _SURE]
      yield Suggestion(
        row,
        uncertainty((d for d, _ in pairs), sum(map(len, blocks)), measure),
        sorted(unsure, key=lambda pair: pair[0].probability),
      )


def _chunks(
  ner: SplitNER, rows: Iterable[Row]
) -> Iterator[list[tuple[Row, list[list[Word]]]]]:
  """Texts with the words of their sentences, some thousand words together."""
  chunk: list[tuple[Row, list[list[Word]]]] = []
  size = 0
  for row in rows:
    blocks = [words for words in row.blocks(ner.sentences) if words]
    chunk.append((row, blocks))
    size += 1 + sum(map(len, blocks))
    if size >= _CHUNK:
      yield chunk
      chunk, size = [], 0
  yield chunk
