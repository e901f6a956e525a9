"""The two steps fitted to each other: false spans to learn from, decoding."""

import dataclasses
import logging
import zlib
from collections.abc import Callable, Sequence

from splitner_jax.data.sentences import Sentence, Span
from splitner_jax.tasks import Run, TokenTask
from splitner_jax.tasks.base import remembering
from splitner_jax.tasks.mentions import NO_ENTITY

log = logging.getLogger(__name__)

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
