"""The arithmetic between seconds of turns and the report."""

from collections.abc import Mapping, Sequence

import numpy as np

from splitner_jax.runtime.types import Json
from splitner_jax.throughput.sides import Side

OURS = "splitner"
"""The system that ratios are of."""


def pass_seconds(
  sides: Mapping[str, Side], turns: Mapping[str, Sequence[float]]
) -> np.ndarray:
  """float[turns]: seconds of a pass by each turn, all tasks of a system.

  Args:
    sides: of each task.
    turns: seconds of their turns.
  """
  each = [
    np.asarray(turns[task]) * side.turns_a_pass for task, side in sides.items()
  ]
  return np.sum(each, axis=0)


def phase(
  sides: Mapping[str, Side],
  seconds: np.ndarray,
  sentences: int,
  sentence_tokens: float,
  peak_flops_per_s: float,
) -> Json:
  """What the report says of a system in a phase.

  Args:
    sides: of its tasks.
    seconds: of a pass, see `pass_seconds`.
    sentences: of a pass.
    sentence_tokens: of these sentences, without questions.
    peak_flops_per_s: of the machine.
  """
  usual = float(np.median(seconds))
  low, high = np.percentile(seconds, (25, 75))
  tokens = sum(side.tokens for side in sides.values())
  found: Json = {
    "sentences_per_s": sentences / usual,
    "quartiles": [sentences / high, sentences / low],
    "tokens_per_s": tokens / usual,
    "tokens_per_sentence": tokens / sentences,
    "turns": len(seconds),
  }
  positions = sum(side.positions for side in sides.values())
  if all(side.positions for side in sides.values()):
    found["padding"] = 1 - tokens / positions
  operations = sum(side.flops for side in sides.values())
  if all(side.flops for side in sides.values()):
    found["flops_per_s"] = operations / usual
    found["flops_per_token"] = operations / sentence_tokens
    found["mfu"] = operations / usual / peak_flops_per_s
  # Tasks of a phase may share their programs.
  compiled = {id(s.compiled): s.compiled for s in sides.values() if s.compiled}
  if compiled:
    found["programs"] = sum(len(c.programs) for c in compiled.values())
    found["compile_s"] = sum(c.seconds for c in compiled.values())
    # Not every platform says how much memory a program needs.
    if peak := max(c.peak_bytes for c in compiled.values()):
      found["peak_bytes"] = peak
  return found


def ratios(seconds: Mapping[str, np.ndarray]) -> tuple[Json, Json]:
  """How many times as fast SplitNER is, and the quartiles over turns.

  Args:
    seconds: of each system, turn by turn, of one phase.
  """
  usual, quartiles = {}, {}
  for name, each in seconds.items():
    if name != OURS and OURS in seconds:
      found = each / seconds[OURS]
      usual[name] = float(np.median(found))
      quartiles[name] = [float(x) for x in np.percentile(found, (25, 75))]
  return usual, quartiles


def token_ratios(sides: Mapping[str, Mapping[str, Side]]) -> Json:
  """How many times as many tokens the others read as SplitNER.

  Args:
    sides: of each system its tasks, of one phase.
  """
  return _relative(
    {
      name: sum(side.tokens for side in tasks.values())
      for name, tasks in sides.items()
    }
  )


def weighted_token_ratios(
  sides: Mapping[str, Mapping[str, Side]],
  features: Mapping[str, Mapping[str, float]],
) -> Json:
  """The same, a token of a task with features counting for more.

  Args:
    sides: as of `token_ratios`.
    features: of each system and task the share of features in a step; a task
      that is not there has none. A token without them counts as 1, one with
      them as much more as they take in SplitNER's own detector: the others' own
      speed has no part in this.
  """
  share = max(features.get(OURS, {}).values(), default=0.0)
  weight = 1 / (1 - share)
  return _relative(
    {
      name: sum(
        side.tokens
        * (weight if features.get(name, {}).get(task, 0.0) > 0 else 1.0)
        for task, side in tasks.items()
      )
      for name, tasks in sides.items()
    }
  )


def _relative(cost: Mapping[str, float]) -> Json:
  """Of the others to SplitNER's."""
  return {
    name: each / cost[OURS]
    for name, each in cost.items()
    if OURS in cost and name != OURS and each
  }
