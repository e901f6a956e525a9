"""Scores a system on a split, through the path that prediction takes."""

import time
from collections.abc import Sequence
from typing import Any

from splitner_jax.data.sentences import ScoredSpan, Sentence
from splitner_jax.evaluation import metrics, significance
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
  gold = [s.spans for s in sentences]
  counts = metrics.counts_per_sentence(gold, predicted)
  scores = {
    "all_sentences": metrics.score(gold, predicted),
    "interval": list(metrics.bootstrap_interval(counts)),
    "reference_protocol": metrics.reference_protocol(
      [s.text for s in sentences],
      gold,
      by_reference,
      merge_repeats=system.MERGE_REPEATS,
    ),
    "detection": metrics.score_detection(gold, predicted),
    "sentences": len(sentences),
    "gold_mentions": sum(len(spans) for spans in gold),
    "gold_lost_to_length": getattr(system, system.FINDER).lost_to_length(
      sentences
    ),
    "seconds": {"inference": round(seconds, 3), "compile": round(compiling, 3)},
    "per_sentence": significance.pack(counts),
  }
  if isinstance(system, SplitNER):
    scores["classification_on_gold"] = system.classifier.evaluate(
      system.run_classifier, sentences
    )
  return scores, predicted
