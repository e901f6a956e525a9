"""Windows into which long sentences are cut, and around mentions."""

from collections.abc import Iterable

import numpy as np


def windows(
  starts: np.ndarray, capacity: int, overlap: int
) -> list[tuple[int, int]]:
  """Cuts a sentence into windows of whole words.

  Args:
    starts: int[words + 1] as of `TokenizedWords.starts`.
    capacity: the most subwords of a window; at least MAX_WORD_PIECES.
    overlap: about how many subwords neighbouring windows share.

  Returns:
    (first word, end word) of each window: one for a sentence that fits, else
    as many as needed, each as full as possible, together all words.

  >>> windows(np.arange(11), 10, 4)
  [(0, 10)]
  >>> windows(np.arange(21), 10, 4)
  [(0, 10), (6, 16), (12, 20)]
  """
  words, result, first = len(starts) - 1, [], 0
  while True:
    end = int(np.searchsorted(starts, starts[first] + capacity, "right")) - 1
    end = min(max(end, first + 1), words)
    result.append((first, end))
    if end == words:
      return result
    back = int(np.searchsorted(starts, starts[end] - overlap, "left"))
    first = max(first + 1, min(back, end))


def stitch(parts: Iterable[tuple[int, np.ndarray]], words: int) -> np.ndarray:
  """Joins the word rows of overlapping windows.

  Each word is taken from the window in which it is most central, so that a
  mention across the edge of one window is read from the other.

  Args:
    parts: (first word, float[m, C]) of each window, in order.
    words: how many words the sentence has.

  Returns:
    float[words, C].
  """
  parts = list(parts)
  if len(parts) == 1:
    return parts[0][1]
  rows = np.zeros((words, parts[0][1].shape[1]), parts[0][1].dtype)
  best = np.full(words, -1)
  for first, values in parts:
    m = len(values)
    central = np.minimum(np.arange(m), np.arange(m)[::-1])
    here = slice(first, first + m)
    better = central > best[here]
    rows[here][better] = values[better]
    best[here][better] = central[better]
  return rows


def context_window(
  starts: np.ndarray, first: int, end: int, capacity: int
) -> tuple[int, int]:
  """Words around a mention, of at most `capacity` subwords, it in the middle.

  Args:
    starts: int[words + 1] as of `TokenizedWords.starts`.
    first, end: the mention's words.
    capacity: the most subwords.

  Returns:
    (first word, end word); near an end of the sentence the other side gets
    what is left. Of a mention longer than the capacity the middle, at least
    one word.
  """
  begin, total = int(starts[0]), int(starts[-1])
  if total - begin <= capacity:
    return 0, len(starts) - 1
  middle = (int(starts[first]) + int(starts[end])) // 2
  left = min(max(begin, middle - capacity // 2), total - capacity)
  a = int(np.searchsorted(starts, left, "left"))
  b = int(np.searchsorted(starts, left + capacity, "right")) - 1
  if a >= b:  # No whole word fits.
    a = int(np.searchsorted(starts, middle, "right")) - 1
    b = a + 1
  return a, b
