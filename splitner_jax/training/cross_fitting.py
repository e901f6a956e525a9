"""The classifier fitted to the detector: false spans to learn from."""

import dataclasses
import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence

from splitner_jax.data.sentences import Sentence, Span
from splitner_jax.runtime.errors import UserError
from splitner_jax.tasks import ForwardFn, TokenTask
from splitner_jax.tasks.mentions import NO_ENTITY

log = logging.getLogger(__name__)

OUTSIDE_OFFSETS = (0.0, -1.0, -2.0)
"""What is added to the detector's outside bias when it looks for false spans:
the classifier is to learn from more of them than it will see."""


def with_false_spans(
  detector: TokenTask,
  forward: ForwardFn,
  sentences: Sequence[Sentence],
  outside_bias: float,
  *,
  counted: bool = False,
) -> list[Sentence]:
  """The sentences; what a detector finds wrongly has the type NO_ENTITY.

  Args:
    detector: the task.
    forward: its forward pass.
    sentences: best such as the detector was not trained on.
    outside_bias: with which it will decode.
    counted: whether they are of the training split, see `TokenTask.encode`.

  Returns:
    The sentences with more spans, which may overlap the gold ones: for
    `MentionTask` alone.
  """
  examples, _ = detector.encode(sentences, counted=counted)
  logits = forward(examples)
  found: list[set[tuple[int, int]]] = [set() for _ in sentences]
  for offset in OUTSIDE_OFFSETS:
    rows = detector.decode(examples, logits, sentences, outside_bias + offset)
    for places, spans in zip(found, rows, strict=True):
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


def check_folds(folds: Sequence[int], sentences: Sequence[Sentence]) -> None:
  """Raises UserError if there are more folds than different sentences."""
  texts = len({sentence.text for sentence in sentences})
  for count in folds:
    if count > texts:
      raise UserError(
        f"config.classifier.folds: {count} is more than the {texts} different "
        "training sentences; lower it"
      )


def _folds_of(sentences: Sequence[Sentence], folds: int) -> list[int]:
  """The fold of each sentence, decided by the texts alone.

  Equal texts are in one fold, and folds as nearly of one size as these allow.
  """
  counts = Counter(sentence.text for sentence in sentences)

  def place(text: str) -> tuple[int, bytes]:
    # The frequent first, as the others make up for them. Those that stand near
    # each other in a file are often alike; their digests are not.
    return -counts[text], hashlib.sha256(text.encode()).digest()

  sizes, fold_of = [0] * folds, dict[str, int]()
  for text in sorted(counts, key=place):
    fold_of[text] = fold = sizes.index(min(sizes))
    sizes[fold] += counts[text]
  return [fold_of[sentence.text] for sentence in sentences]


def cross_fitted(
  sentences: Sequence[Sentence],
  folds: int,
  detector: TokenTask,
  train_detector: Callable[[list[Sentence], int], ForwardFn],
  outside_bias: float,
) -> list[Sentence]:
  """Sentences with the false spans of detectors that never saw them.

  Args:
    sentences: of the training split.
    folds: into how many parts they are divided, equal texts together; see
      `check_folds`.
    detector: the task.
    train_detector: trains it on the sentences outside of a fold, and returns
      its forward pass.
    outside_bias: see `with_false_spans`.

  Returns:
    See `with_false_spans`; in the order of `sentences`.
  """
  fold_of = _folds_of(sentences, folds)
  result: list[Sentence] = list(sentences)
  for fold in range(folds):
    inside = [i for i, f in enumerate(fold_of) if f == fold]
    outside = [s for s, f in zip(sentences, fold_of, strict=True) if f != fold]
    forward = train_detector(outside, fold)
    mine = [sentences[i] for i in inside]
    for i, sentence in zip(
      inside,
      with_false_spans(detector, forward, mine, outside_bias, counted=True),
      strict=True,
    ):
      result[i] = sentence
  added = sum(len(s.spans) for s in result) - sum(
    len(s.spans) for s in sentences
  )
  log.info("%d false spans for the classifier to learn from", added)
  return result
