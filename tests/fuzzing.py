"""How much is tried: little in each run, more in slow ones, most in long ones.

What fails is made small by Hypothesis and printed with its seed; the same seed
gives the same inputs. A long run is in chunks, each a test that need not run
again once it passed.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import hypothesis
import pytest

CHUNKS = 20


@dataclasses.dataclass(frozen=True)
class Amount:
  """So many inputs, by a seed."""

  seed: int
  examples: int

  def run(self, check: Callable[..., None], **inputs: Any) -> None:
    """Calls `check` with drawn inputs: strategies, by its arguments."""
    settings = hypothesis.settings(
      max_examples=self.examples,
      deadline=None,
      database=None,
      print_blob=True,
      suppress_health_check=[*hypothesis.HealthCheck],
    )
    seeded = hypothesis.seed(self.seed)
    seeded(settings(hypothesis.given(**inputs)(check)))()

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
