"""Is a difference of F1 more than chance? Counts of sentences, drawn again."""

from collections.abc import Mapping

import numpy as np

from splitner_jax.runtime.types import Json

SAMPLES = 10_000
"""How often sentences are drawn."""


_ROWS = ("gold", "predicted", "correct")


def pack(counts: np.ndarray) -> dict[str, str]:
  """int[3, N] of `metrics.counts_per_sentence`, as report.json has it.

  >>> pack(np.array([[2, 1], [1, 1], [1, 0]]))
  {'gold': '2 1', 'predicted': '1 1', 'correct': '1 0'}
  """
  return {
    name: " ".join(map(str, row.tolist()))
    for name, row in zip(_ROWS, counts, strict=True)
  }


def unpack(packed: Mapping[str, str]) -> np.ndarray:
  """int64[3, N], the inverse of `pack`.

  Raises:
    ValueError: not what `pack` makes.
  """
  try:
    counts = np.array(
      [[int(n) for n in packed[name].split()] for name in _ROWS], np.int64
    )
  except (KeyError, TypeError, AttributeError, ValueError) as error:
    raise ValueError(f"no packed counts: {error!r}") from None
  if (counts[2] < 0).any() or (counts[2] > counts[:2]).any():
    raise ValueError("counts that cannot be")
  return counts


def is_significant(found: Json) -> bool:
  """Whether a difference, of `metrics.paired_bootstrap`, is no chance."""
  return found["p_value"] < 0.05


def p_value(found: Json) -> str:
  """The p value of a difference of SAMPLES draws, in words."""
  p, least = found["p_value"], 1 / SAMPLES
  return f"p = {p:.2g}" if p > least else f"p at most {least:g}"
