"""Scores a model on a split, through the path that prediction takes."""

import dataclasses
import time
from collections.abc import Sequence

from splitner_jax.data.sentences import ScoredSpan, Sentence
from splitner_jax.evaluation import metrics
from splitner_jax.evaluation.scores import score_mentions
from splitner_jax.inference.ner_model import Predictor
from splitner_jax.runtime.compilation import compile_clock
from splitner_jax.runtime.types import Json
from splitner_jax.tasks.decoding import Decoding


@dataclasses.dataclass(frozen=True)
class Split:
  """A split that a model has read.

  Attributes:
    sentences: with gold mentions.
    reading: of `Predictor.read`.
    seconds: that it took, tokenising included and compiling apart.
    compile_seconds: of compiling.
  """

  sentences: Sequence[Sentence]
  reading: object
  seconds: float
  compile_seconds: float


def read(
  predictor: Predictor,
  sentences: Sequence[Sentence],
  outside_biases: Sequence[float],
) -> Split:
  """Runs the model on a split, to be decoded with these biases."""
  start, compiled = time.monotonic(), compile_clock.seconds
  examples = predictor.encode(sentences)
  reading = predictor.read(sentences, examples, outside_biases)
  compiling = compile_clock.seconds - compiled
  seconds = time.monotonic() - start - compiling
  return Split(sentences, reading, seconds, compiling)


def evaluate(
  predictor: Predictor, split: Split, decoding: Decoding
) -> tuple[Json, list[list[ScoredSpan]]]:
  """Scores all sentences of a split.

  Returns:
    The split's part of `report.json` (see `report`), and the predictions.
  """
  kind, sentences = predictor.kind, split.sentences
  start = time.monotonic()
  predicted, by_reference = predictor.decode(split.reading, decoding)
  seconds = split.seconds + time.monotonic() - start
  scores = {
    **score_mentions(sentences, predicted),
    "reference_protocol": metrics.reference_protocol(
      [s.text for s in sentences],
      [s.spans for s in sentences],
      by_reference,
      merge_repeats=kind.merge_repeats,
    ),
    "seconds": {
      "inference": round(seconds, 3),
      "compile": round(split.compile_seconds, 3),
    },
  }
  scores |= kind.component_scores(
    predictor.tasks, predictor.forwards, sentences
  )
  return scores, predicted
