"""Scores a system on a split, through the path that prediction takes."""

import time
from collections.abc import Sequence
from typing import Any

from splitner_jax import metrics
from splitner_jax.data.sentences import ScoredSpan, Sentence
from splitner_jax.runtime import compile_clock
from splitner_jax.systems import SplitNER


def evaluate(
  system: SplitNER, sentences: Sequence[Sentence]
) -> tuple[dict[str, Any], list[list[ScoredSpan]]]:
  """Predicts and scores all sentences of a split.

  Returns:
    The split's part of `report.json` (see `report`), and the predictions.
  """
  start, compiled = time.monotonic(), compile_clock.seconds
  predicted = system.predict(sentences)
  compiling = compile_clock.seconds - compiled
  seconds = time.monotonic() - start - compiling
  gold = [s.spans for s in sentences]
  scores = {
    "all_sentences": metrics.score(gold, predicted),
    "reference_protocol": metrics.reference_protocol(
      [s.text for s in sentences],
      gold,
      predicted,
      merge_repeats=True,
      keep_empty=False,
    ),
    "detection": metrics.score_detection(gold, predicted),
    "classification_on_gold": system.classifier.evaluate(
      system.run_classifier, sentences
    ),
    "sentences": len(sentences),
    "gold_mentions": sum(len(spans) for spans in gold),
    "gold_lost_to_length": system.detector.lost_to_length(sentences),
    "seconds": {"inference": round(seconds, 3), "compile": round(compiling, 3)},
  }
  return scores, predicted
