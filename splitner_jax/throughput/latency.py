"""How long a caller waits for the entities of one text."""

import itertools
import threading
import time
from collections.abc import Sequence

import numpy as np

from splitner_jax.inference.pipeline import SplitNER
from splitner_jax.runtime.types import Json

CALLERS = (1, 8, 64)
_LEAST_CALLS = 100


def measure(
  ner: SplitNER, texts: Sequence[str | Sequence[str]], seconds: float
) -> Json:
  """Percentiles by the number of callers at the same time.

  Args:
    ner: that has run once.
    texts: each call has one, in turn.
    seconds: for each number of callers; at least 100 calls are made, so that
      the slowest one in a hundred is one.
  """
  ner.predict([texts[0]])
  return {
    str(callers): _summary(*_calls(ner, texts, seconds, callers))
    for callers in CALLERS
  }


def _calls(
  ner: SplitNER,
  texts: Sequence[str | Sequence[str]],
  seconds: float,
  callers: int,
) -> tuple[list[float], float]:
  """Seconds of each call, and of all of them together."""
  numbers = itertools.count()
  taken: list[float] = []
  begin = time.perf_counter()
  end = begin + seconds

  def call() -> None:
    while (n := next(numbers)) < _LEAST_CALLS or time.perf_counter() < end:
      start = time.perf_counter()
      ner.predict([texts[n % len(texts)]])
      taken.append(time.perf_counter() - start)

  threads = [threading.Thread(target=call) for _ in range(callers)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  return taken, time.perf_counter() - begin


def _summary(taken: Sequence[float], seconds: float) -> Json:
  p50, p95, p99 = np.percentile(taken, (50, 95, 99)) * 1000
  return {
    "p50_ms": float(p50),
    "p95_ms": float(p95),
    "p99_ms": float(p99),
    "texts_per_s": len(taken) / seconds,
  }
