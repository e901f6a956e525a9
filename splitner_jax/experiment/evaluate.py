"""Scores a model on a split, through the path that prediction takes."""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

from splitner_jax.data.sentences import ScoredSpan, Sentence
from splitner_jax.evaluation import metrics, significance
from splitner_jax.inference.ner_model import Predictor
from splitner_jax.runtime.compilation import compile_clock
from splitner_jax.tasks.decoding import Decoding


@dataclasses.dataclass(frozen=True)
class Evaluation:
  """What a model said of a split, and how that was scored.

  Attributes:
    scores: the split's part of `report.json` (see `report`).
    predicted: the mentions of each sentence.
    reading: of `Predictor.read`.
  """

  scores: dict[str, Any]
  predicted: list[list[ScoredSpan]]
  reading: Any


def evaluate(
  predictor: Predictor, sentences: Sequence[Sentence], decoding: Decoding
) -> Evaluation:
  """Predicts and scores all sentences of a split."""
  kind, tasks = predictor.kind, predictor.tasks
  start, compiled = time.monotonic(), compile_clock.seconds
  examples = predictor.encode(sentences)
  biases = [decoding.outside_bias]
  reading = predictor.read(sentences, examples, biases)
  predicted, by_reference = predictor.decode(reading, decoding)
  compiling = compile_clock.seconds - compiled
  seconds = time.monotonic() - start - compiling
  gold = [s.spans for s in sentences]
  counts = metrics.counts_per_sentence(gold, predicted)
  scores = {
    "all_sentences": metrics.score(gold, predicted),
    "interval": list(metrics.bootstrap_interval(counts)),
    "reference_protocol": metrics.reference_protocol(
      [s.text for s in sentences],
      gold,
      by_reference,
      merge_repeats=kind.merge_repeats,
    ),
    "detection": metrics.score_detection(gold, predicted),
    "sentences": len(sentences),
    "gold_mentions": sum(len(spans) for spans in gold),
    "gold_lost_to_length": kind.detection(tasks).lost_to_length(
      sentences, examples
    ),
    "seconds": {"inference": round(seconds, 3), "compile": round(compiling, 3)},
    "per_sentence": significance.pack(counts),
  }
  scores |= kind.component_scores(tasks, predictor.forwards, sentences)
  return Evaluation(scores, predicted, reading)
