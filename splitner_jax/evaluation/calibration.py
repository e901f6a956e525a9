"""Scores that mean something: temperature, and calibration error."""

import math
from collections.abc import Sequence

import numpy as np

ENOUGH = 20
"""Fewer mentions than these decide no temperature."""

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
  # Slow to import, and needed at the end of a training only.
  import scipy.optimize
  import scipy.special

  logits = np.asarray(logits, np.float64)
  rows = np.arange(len(labels))

  def loss(log_t: float) -> float:
    scores = scipy.special.log_softmax(logits / math.exp(log_t), axis=-1)
    return -float(scores[rows, labels].mean())

  # Convex in 1/T, the loss has one minimum in log T too.
  found = scipy.optimize.minimize_scalar(
    loss,
    bounds=(math.log(_COLDEST), math.log(_WARMEST)),
    method="bounded",
    options={"xatol": 1e-6},
  )
  return math.exp(found.x)


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
