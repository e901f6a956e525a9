"""Scores that mean something: temperature, calibration error, thresholds."""

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from splitner_jax.data.sentences import ScoredSpan, Sentence
from splitner_jax.runtime.errors import UserError

# JAX is imported with the first model: --help need not wait for it.
if TYPE_CHECKING:
  pass

ENOUGH = 20
"""Fewer mentions than these decide no temperature and no type's threshold."""

_COLDEST, _WARMEST = 1 / 20, 20.0


def fit_temperature(
  logits: np.ndarray, labels: Sequence[int] | np.ndarray
) -> float:
  """The T for which softmax(logits / T) makes the labels most likely.

  Args:
    logits: float[N, C].
    labels: N classes.

  Returns:
    T in [1/20, 20]; 1.0 if N < ENOUGH.
  """
  if len(labels) < ENOUGH:
    return 1.0
  logits = np.asarray(logits, np.float64)
  logits = logits - logits.max(axis=-1, keepdims=True)
  wanted = logits[np.arange(len(labels)), labels]

  def loss(log_t: float) -> float:
    t = math.exp(log_t)
    return float(np.mean(np.log(np.exp(logits / t).sum(axis=-1)) - wanted / t))

  # Golden section; convex in 1/T, the loss has one minimum in log T too.
  low, high = math.log(_COLDEST), math.log(_WARMEST)
  ratio = (math.sqrt(5) - 1) / 2
  left, right = high - ratio * (high - low), low + ratio * (high - low)
  at_left, at_right = loss(left), loss(right)
  while high - low > 1e-6:
    if at_left <= at_right:
      high, right, at_right = right, left, at_left
      left = high - ratio * (high - low)
      at_left = loss(left)
    else:
      low, left, at_left = left, right, at_right
      right = low + ratio * (high - low)
      at_right = loss(right)
  return math.exp((low + high) / 2)


def expected_calibration_error(
  scores: np.ndarray, correct: np.ndarray, bins: int = 10
) -> float:
  """How far scores are from the share that is correct, in percent.

  The scores are put into bins of equal width over [0, 1]; the difference of
  mean score and share of correct ones, averaged with the bins' sizes.

  Args:
    scores: float[N] in [0, 1].
    correct: bool[N].
    bins: their number.

  Returns:
    0.0 if N is 0.
  """
  if not len(scores):
    return 0.0
  which = np.minimum((np.asarray(scores) * bins).astype(int), bins - 1)
  # A bin's size times its difference is the difference of its sums.
  sums = np.bincount(which, np.asarray(scores, float) - correct, bins)
  return 100.0 * float(np.abs(sums).sum()) / len(scores)


class Counts(NamedTuple):
  """Numbers of mentions, and what follows from them, as shares."""

  gold: int
  predicted: int
  correct: int

  @property
  def precision(self) -> float:
    return self.correct / self.predicted if self.predicted else 0.0

  @property
  def recall(self) -> float:
    return self.correct / self.gold if self.gold else 0.0

  @property
  def f1(self) -> float:
    return 2 * self.correct / (self.gold + self.predicted or 1)


@dataclasses.dataclass(frozen=True)
class Target:
  """What thresholds are to reach.

  Attributes:
    measure: precision, recall or f1.
    value: the share to reach; of f1, all that can be had.
  """

  measure: str
  value: float = 1.0

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
      return cls(measure, value)
    raise UserError(
      f"--target: {text!r} is none of precision:P, recall:R and f1; give, for "
      "example, precision:0.95, a share above 0 and at most 1"
    )

  def merit(self, counts: Counts) -> tuple[float, float]:
    """Of two results, the one with the higher merit is to be preferred.

    More than was asked for counts nothing; then the other measure decides.
    """
    precision, recall = counts.precision, counts.recall
    if self.measure == "precision":
      return min(precision, self.value), recall
    if self.measure == "recall":
      return min(recall, self.value), precision
    return counts.f1, recall

  def is_reached(self, counts: Counts) -> bool:
    return self.merit(counts)[0] >= self.value


def choose_threshold(
  scores: np.ndarray, correct: np.ndarray, gold: int, target: Target
) -> tuple[float, Counts]:
  """The least score with which mentions come closest to the target.

  Args:
    scores: float[N] of predicted mentions.
    correct: bool[N].
    gold: how many mentions there are to find.
    target: to be reached, or missed by as little as can be.

  Returns:
    The threshold, half-way between two scores, or 0.0 if all mentions are to
    be kept; and what it leads to.
  """
  order = np.argsort(-scores, kind="stable")
  ranked, hits = scores[order], np.cumsum(correct[order])
  # Mentions with the same score are kept or dropped together.
  last = np.flatnonzero(np.append(ranked[1:] < ranked[:-1], True))
  results = [Counts(gold, int(i) + 1, int(hits[i])) for i in last if len(hits)]
  if not results:
    return 0.0, Counts(gold, 0, 0)
  best = max(results, key=target.merit)
  if best.predicted == len(scores):
    return 0.0, best
  kept, dropped = map(float, ranked[best.predicted - 1 : best.predicted + 1])
  middle = (kept + dropped) / 2
  # Between neighbours among the floats there is nothing.
  return middle if middle > dropped else kept, best


@dataclasses.dataclass(frozen=True)
class Judged:
  """Predicted mentions of a split, beside the gold ones.

  Attributes:
    scores: float[N] of the predicted mentions.
    correct: bool[N].
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
  ) -> "Judged":
    """Compares; see `metrics` for what is correct."""
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

  def part(self, label: str) -> "Judged":
    """What there is of one type."""
    mine = self.labels == label
    return Judged(
      self.scores[mine],
      self.correct[mine],
      self.labels[mine],
      {label: self.gold.get(label, 0)},
    )

  def counts(
    self, default: float = 0.0, per_type: Mapping[str, float] | None = None
  ) -> Counts:
    """Numbers of mentions under thresholds."""
    per_type = per_type or {}
    least = [per_type.get(str(label), default) for label in self.labels]
    kept = self.scores >= np.array(least, float)
    return Counts(
      sum(self.gold.values()), int(kept.sum()), int(self.correct[kept].sum())
    )

  def choose(self, target: Target) -> tuple[float, Counts]:
    """One threshold for all; see `choose_threshold`."""
    gold = sum(self.gold.values())
    return choose_threshold(self.scores, self.correct, gold, target)


def choose_thresholds(
  judged: Judged, target: Target
) -> tuple[float, dict[str, float]]:
  """The global threshold, and that of each type with ENOUGH gold mentions."""
  default, together = judged.choose(target)
  per_type = {}
  for label in sorted(judged.gold):
    part = judged.part(label)
    if judged.gold[label] >= ENOUGH and len(part.scores):
      per_type[label], _ = part.choose(target)
  # What is best for each type need not be best for all of them together.
  apart = judged.counts(default, per_type)
  if target.merit(apart) < target.merit(together):
    per_type = {}
  return default, per_type
