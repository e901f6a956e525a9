"""How much is tried: little in each run, more in slow ones, most in long ones.

What fails is made small by Hypothesis and printed with its seed; the same seed
gives the same inputs. A long run is in chunks, each a test that need not run
again once it passed. No input may take out of all proportion.
"""

import contextlib
import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import pytest

CHUNKS = 20

_MOST_SECONDS = 20.0
_MOST_MEMORY = 2**30
_PROCESS = pathlib.Path("/proc/self")


@contextlib.contextmanager
def in_proportion(usual: float = 0.0) -> Iterator[None]:
  """What is done takes at most 20 s more of CPU than usual, and 1 GB more.

  Args:
    usual: seconds of CPU that it may take anyway.
  """
  before, start = _memory("VmRSS"), time.process_time()
  with contextlib.suppress(OSError):
    (_PROCESS / "clear_refs").write_text("5")  # The peak is counted anew.
  yield
  assert time.process_time() - start < usual + _MOST_SECONDS
  assert _memory("VmHWM") - before < _MOST_MEMORY


def _memory(name: str) -> int:
  """Bytes, as Linux counts them for this process; 0 elsewhere."""
  try:
    status = (_PROCESS / "status").read_text()
  except OSError:
    return 0
  return int(status.split(f"{name}:")[1].split()[0]) * 1024


@dataclasses.dataclass(frozen=True)
class Amount:
  """So many inputs, by a seed."""

  seed: int
  examples: int

  def run(self, check: Callable[..., None], **inputs: Any) -> None:
    """Calls `check` with drawn inputs: strategies, by its arguments."""

    @functools.wraps(check)
    def in_limits(*args: Any, **kwargs: Any) -> None:
      with in_proportion():
        check(*args, **kwargs)

    settings = hypothesis.settings(
      max_examples=self.examples,
      deadline=None,
      database=None,
      print_blob=True,
      suppress_health_check=[*hypothesis.HealthCheck],
    )
    seeded = hypothesis.seed(self.seed)
    seeded(settings(hypothesis.given(**inputs)(in_limits)))()

  def __str__(self) -> str:
    return f"{self.examples} of seed {self.seed}"


def amounts(quick: int, slow: int, chunk: int) -> pytest.MarkDecorator:
  """The argument `amount` of a test.

  Args:
    quick: inputs in each run; 0: the test is slow.
    slow: inputs with --all.
    chunk: inputs in each of CHUNKS tests with --long.
  """
  long = [
    pytest.param(Amount(2 + i, chunk), marks=pytest.mark.long)
    for i in range(CHUNKS)
  ]
  more = pytest.param(Amount(1, slow), marks=pytest.mark.slow)
  few = [Amount(0, quick)] if quick else []
  return pytest.mark.parametrize("amount", [*few, more, *long], ids=str)
