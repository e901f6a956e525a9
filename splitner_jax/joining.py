"""The two steps fitted to each other: false spans to learn from, decoding."""

import dataclasses
import logging
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from splitner_jax import metrics
from splitner_jax.calibration import remembering
from splitner_jax.data.sentences import Sentence, Span
from splitner_jax.systems import System, at_least, biased
from splitner_jax.tasks import Run, TokenTask
from splitner_jax.tasks.mentions import NO_ENTITY

log = logging.getLogger(__name__)

O_BIASES = tuple(i / 2 for i in range(1, -9, -1))
MIN_SCORES = tuple(i / 20 for i in range(15))
"""Values that are tried on dev."""
GENEROUS = (0.0, -1.0, -2.0)
"""What is added to the detector's `o_bias` when it looks for false spans: the
classifier is to learn from more of them than it will see."""


def with_false_spans(
  detector: TokenTask, run: Run, sentences: Sequence[Sentence]
) -> list[Sentence]:
  """The sentences; what a detector finds wrongly has the type NO_ENTITY.

  Args:
    detector: the task.
    run: its forward pass.
    sentences: best such as the detector was not trained on.

  Returns:
    The sentences with more spans, which may overlap the gold ones: for
    `MentionTask` alone.
  """
  run = remembering(run)
  found: list[set[tuple[int, int]]] = [set() for _ in sentences]
  for more in GENEROUS:
    task = dataclasses.replace(detector, o_bias=detector.o_bias + more)
    for places, spans in zip(found, task.predict(run, sentences), strict=True):
      places.update((span.start, span.end) for span in spans)
  return [
    dataclasses.replace(
      sentence,
      spans=(
        *sentence.spans,
        *(
          Span(start, end, NO_ENTITY)
          for start, end in sorted(
            places - {(s.start, s.end) for s in sentence.spans}
          )
        ),
      ),
    )
    for sentence, places in zip(sentences, found, strict=True)
  ]


def cross_fitted(
  sentences: Sequence[Sentence],
  folds: int,
  train_detector: Callable[[list[Sentence], int], tuple[TokenTask, Run]],
) -> list[Sentence]:
  """Sentences with the false spans of detectors that never saw them.

  Args:
    sentences: of the training split.
    folds: into how many parts they are divided, equal texts together.
    train_detector: trains a detector on the sentences outside of a fold.

  Returns:
    See `with_false_spans`; in the order of `sentences`.
  """
  fold_of = [zlib.crc32(s.text.encode()) % folds for s in sentences]
  result: list[Sentence] = list(sentences)
  for fold in range(folds):
    inside = [i for i, f in enumerate(fold_of) if f == fold]
    outside = [s for s, f in zip(sentences, fold_of, strict=True) if f != fold]
    task, run = train_detector(outside, fold)
    for i, sentence in zip(
      inside,
      with_false_spans(task, run, [sentences[i] for i in inside]),
      strict=True,
    ):
      result[i] = sentence
  added = sum(len(s.spans) for s in result) - sum(
    len(s.spans) for s in sentences
  )
  log.info("%d false spans for the classifier to learn from", added)
  return result


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
