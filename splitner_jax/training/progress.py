"""How far a training is: what its checkpoints know beside the state."""

import time

from splitner_jax.runtime.compilation import compile_clock
from splitner_jax.runtime.types import Json


def fresh_progress() -> Json:
  """What a checkpoint knows beside the state; all of it JSON."""
  return {
    "step": 0,
    # Whole epochs, and of the one under way the batches and examples read.
    "epoch": 0,
    "batch": 0,
    "read": 0,
    "best_f1": -1.0,
    "best_epoch": 0,
    "stale": 0,
    "finished": False,
    "evaluations": [],
    "epoch_seconds": [],
    "seconds": 0.0,
    "compile_seconds": 0.0,
  }


class Stopwatch:
  """Training seconds of the current epoch, kept over restarts."""

  def __init__(self, progress: Json):
    self._progress = progress
    self._start, self._compiled = time.monotonic(), compile_clock.seconds

  def lap(self) -> None:
    """Books the time since the last lap, compile time apart."""
    now, compiled = time.monotonic(), compile_clock.seconds
    compiling = compiled - self._compiled
    self._progress["compile_seconds"] += compiling
    self._progress["seconds"] += now - self._start - compiling
    self._start, self._compiled = now, compiled

  def minutes(self) -> float:
    """Of all epochs so far, compile time included."""
    known = ("seconds", "compile_seconds")
    seconds = sum(self._progress[name] for name in known)
    seconds += sum(self._progress["epoch_seconds"])
    return (seconds + time.monotonic() - self._start) / 60

  def skip(self) -> None:
    """Leaves the time since the last lap out."""
    self._start, self._compiled = time.monotonic(), compile_clock.seconds
