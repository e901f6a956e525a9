"""Thresholds of scores: what they keep, and which reach a target."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from splitner_jax.data.sentences import ScoredSpan, Sentence
from splitner_jax.evaluation.metrics import Counts
from splitner_jax.runtime.errors import UserError

ENOUGH = 20
"""Fewer mentions than these decide no threshold of a type."""


@dataclasses.dataclass(frozen=True)
class Thresholds:
  """The least score of a mention.

  Attributes:
    default: of the types that have none of their own.
    per_type: of some types.
  """

  default: float = 0.0
  per_type: Mapping[str, float] = dataclasses.field(default_factory=dict)

  def of(self, label: str) -> float:
    """The least score of a mention of one type."""
    return self.per_type.get(label, self.default)

  def keep(self, mentions: Iterable[ScoredSpan]) -> list[ScoredSpan]:
    """The mentions whose score is high enough."""
    return [m for m in mentions if m.score >= self.of(m.label)]


@dataclasses.dataclass(frozen=True)
class Target:
  """What a decoding is to reach.

  Attributes:
    measure: precision, recall or f1.
    percent: the precision or recall to reach; of f1, all that can be had.
  """

  measure: str
  percent: float = 100.0

  @classmethod
  def parse(cls, text: str) -> "Target":
    """Reads precision:0.95, recall:0.8 or f1.

    Raises:
      UserError: it is something else.
    """
    if text == "f1":
      return cls("f1")
    measure, _, share = text.partition(":")
    try:
      value = float(share)
    except ValueError:
      value = math.nan
    if measure in ("precision", "recall") and 0 < value <= 1:
      return cls(measure, 100 * value)
    raise UserError(
      f"--target: {text!r} is none of precision:P, recall:R and f1; give, for "
      "example, precision:0.95, a share above 0 and at most 1"
    )

  def objective(self, counts: Counts) -> tuple[float, ...]:
    """What a result is worth: the greater, the better.

    Above the target a measure counts no more, and the other one decides.
    """
    if self.measure == "precision":
      return min(counts.precision, self.percent), counts.recall
    if self.measure == "recall":
      return min(counts.recall, self.percent), counts.precision
    return counts.f1, counts.recall

  def is_reached(self, counts: Counts) -> bool:
    return self.objective(counts)[0] >= self.percent


@dataclasses.dataclass(frozen=True)
class MatchedPredictions:
  """The predicted mentions of a split, beside the gold ones.

  Attributes:
    scores: float[N] of the predicted mentions.
    correct: bool[N], whether the gold mentions have it too, type included.
    labels: str[N].
    gold: number of gold mentions of each type.
  """

  scores: np.ndarray
  correct: np.ndarray
  labels: np.ndarray
  gold: Mapping[str, int]

  @classmethod
  def of(
    cls, sentences: Sequence[Sentence], predicted: Sequence[list[ScoredSpan]]
  ) -> "MatchedPredictions":
    """Matches predictions with the gold mentions of their sentences."""
    pairs = [
      (span, span.span in sentence.spans)
      for sentence, row in zip(sentences, predicted, strict=True)
      for span in row
    ]
    return cls(
      np.array([span.score for span, _ in pairs], float),
      np.array([found for _, found in pairs], bool),
      np.array([span.label for span, _ in pairs], str),
      Counter(span.label for s in sentences for span in s.spans),
    )

  def of_type(self, label: str) -> "MatchedPredictions":
    """The mentions of one type."""
    mine = self.labels == label
    return MatchedPredictions(
      self.scores[mine],
      self.correct[mine],
      self.labels[mine],
      {label: self.gold.get(label, 0)},
    )

  def counts(self, thresholds: Thresholds | None = None) -> Counts:
    """Numbers of mentions, those below thresholds left out."""
    thresholds = thresholds or Thresholds()
    least = [thresholds.of(str(label)) for label in self.labels]
    kept = self.scores >= np.array(least, float)
    return Counts(
      sum(self.gold.values()), int(kept.sum()), int(self.correct[kept].sum())
    )

  def best_threshold(self, target: Target) -> float:
    """The least score with which mentions come closest to a target.

    Returns:
      Half-way between two scores, or 0.0 if all mentions are to be kept.
    """
    order = np.argsort(-self.scores, kind="stable")
    ranked, hits = self.scores[order], np.cumsum(self.correct[order])
    # Mentions with the same score are kept or dropped together.
    last = np.flatnonzero(np.append(ranked[1:] < ranked[:-1], True))
    gold = sum(self.gold.values())
    if not len(hits):
      return 0.0
    results = [Counts(gold, int(i) + 1, int(hits[i])) for i in last]
    best = max(results, key=target.objective)
    if best.predicted == len(ranked):
      return 0.0
    kept, dropped = map(float, ranked[best.predicted - 1 : best.predicted + 1])
    middle = (kept + dropped) / 2
    # Between neighbours among the floats there is nothing.
    return middle if middle > dropped else kept


def best_thresholds(matched: MatchedPredictions, target: Target) -> Thresholds:
  """Thresholds with which predictions come closest to a target.

  One for all, and one of its own for each type with ENOUGH gold mentions,
  where that is not worse for all of them together.
  """
  together = Thresholds(matched.best_threshold(target))
  per_type = {}
  for label in sorted(matched.gold):
    part = matched.of_type(label)
    if matched.gold[label] >= ENOUGH and len(part.scores):
      per_type[label] = part.best_threshold(target)
  apart = Thresholds(together.default, per_type)
  options = (apart, together)
  return max(options, key=lambda t: target.objective(matched.counts(t)))
