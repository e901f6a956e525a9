"""Arithmetic on ragged rows that lie behind each other in one array."""

import numpy as np


def offsets(sizes: np.ndarray) -> np.ndarray:
  """int64[n + 1]: where rows of these sizes start, and the end.

  >>> offsets(np.array([2, 0, 3]))
  array([0, 2, 2, 5])
  """
  return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])


def flat_ranges(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
  """The numbers of several ranges, behind each other.

  >>> flat_ranges(np.array([5, 0, 9]), np.array([2, 0, 3]))
  array([ 5,  6,  9, 10, 11])
  """
  ends = np.cumsum(sizes)
  total = int(ends[-1]) if len(ends) else 0
  return np.arange(total) + np.repeat(starts - (ends - sizes), sizes)
