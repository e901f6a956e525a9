"""Progress bars: lively on a terminal, rare lines in a log."""

import logging
import sys

import tqdm
from absl import logging as absl_logging

from splitner_jax.runtime import processes


def bar(*, short: bool = False, **options: object) -> tqdm.tqdm:
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
    disable=options.pop("disable", False) or not processes.is_first(),
    file=sys.stderr,
    **options,
  )


class _LogHandler(logging.Handler):
  """Writes to stderr without breaking a progress bar."""

  def emit(self, record: logging.LogRecord) -> None:
    tqdm.tqdm.write(self.format(record), file=sys.stderr)


def start_log() -> None:
  """Shows what this package has to say; of others only warnings."""
  handler = _LogHandler()
  handler.setFormatter(
    logging.Formatter("[%(asctime)s] %(message)s", "%H:%M:%S")
  )
  own = logging.getLogger("splitner_jax")
  own.addHandler(handler)
  own.setLevel(logging.INFO)
  own.propagate = False
  absl_logging.set_verbosity(absl_logging.WARNING)
