"""Progress bars: lively on a terminal, rare lines in a log."""

import sys
from typing import Any

import tqdm


def bar(*, short: bool = False, **options: Any) -> tqdm.tqdm:
  """A bar on standard error.

  Args:
    short: of work that is often over at once: shown only once it is not, and
      gone when it is.
    **options: of tqdm.
  """
  seconds = 0.5 if sys.stderr.isatty() else 30
  return tqdm.tqdm(
    mininterval=seconds,
    delay=max(seconds, 1) if short else 0,
    leave=not short,
    file=sys.stderr,
    **options,
  )
