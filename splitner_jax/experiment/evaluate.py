"""Scores a system on a split, through the path that prediction takes."""

import time
from collections.abc import Sequence
from typing import Any

from splitner_jax.data.sentences import ScoredSpan, Sentence
from splitner_jax.evaluation import metrics
from splitner_jax.evaluation.scores import score_mentions
from splitner_jax.runtime.compilation import compile_clock
from splitner_jax.tasks.systems import SplitNER, System


def evaluate(
  system: System, sentences: Sequence[Sentence]
) -> tuple[dict[str, Any], list[list[ScoredSpan]]]:
  """Predicts and scores all sentences of a split.

  Returns:
    The split's part of `report.json` (see `report`), and the predictions.
  """
  start, compiled = time.monotonic(), compile_clock.seconds
  predicted, by_reference = system.answer(sentences)
  compiling = compile_clock.seconds - compiled
  seconds = time.monotonic() - start - compiling
  scores = {
    **score_mentions(sentences, predicted),
    "reference_protocol": metrics.reference_protocol(
      [s.text for s in sentences],
      [s.spans for s in sentences],
      by_reference,
      merge_repeats=system.MERGE_REPEATS,
    ),
    "gold_lost_to_length": getattr(system, system.FINDER).lost_to_length(
      sentences
    ),
    "seconds": {"inference": round(seconds, 3), "compile": round(compiling, 3)},
  }
  if isinstance(system, SplitNER):
    scores["classification_on_gold"] = system.classifier.evaluate(
      system.run_classifier, sentences
    )
  return scores, predicted
