"""How mentions are decoded, chosen on a split."""

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any

from splitner_jax.data.sentences import Sentence
from splitner_jax.evaluation import metrics
from splitner_jax.tasks.base import remembering
from splitner_jax.tasks.systems import System, at_least, biased

log = logging.getLogger(__name__)

O_BIASES = tuple(i / 2 for i in range(1, -9, -1))


MIN_SCORES = tuple(i / 20 for i in range(15))
"""Values that are tried on dev."""


def tune_decoding(
  system: System, sentences: Sequence[Sentence]
) -> tuple[System, dict[str, Any]]:
  """Chooses how mentions are decoded, by F1 over all sentences of a split.

  A lower `o_bias` finds more spans, right and wrong; `min_score` then drops
  the mentions that the steps together hold for unlikely.

  Returns:
    The system with both; and for `report.json`, `o_bias` and `min_score`, the
    `f1` with them, and `f1_before`.
  """
  cheap = system.with_runs(remembering)
  gold = [s.spans for s in sentences]
  before = metrics.score(gold, cheap.predict(sentences))["f1"]
  f1: dict[tuple[float, float], float] = {}
  for o_bias in O_BIASES:
    found = biased(cheap, o_bias).predict(sentences)
    for min_score in MIN_SCORES:
      kept = [at_least(min_score, row) for row in found]
      f1[o_bias, min_score] = metrics.score(gold, kept)["f1"]
  # Of equals the one that changes least.
  best = max(f1, key=lambda pair: (f1[pair], -abs(pair[0]), -pair[1]))
  log.info(
    "o_bias %g, least score %g: dev F1 %.2f, %.2f before",
    *best,
    f1[best],
    before,
  )
  o_bias, min_score = best
  tuned = dataclasses.replace(biased(system, o_bias), min_score=min_score)
  return tuned, {
    "o_bias": o_bias,
    "min_score": min_score,
    "f1": f1[best],
    "f1_before": before,
  }
