"""The process around a run: log, compilation cache, compile-time clock."""

import logging
import sys

import jax
import tqdm
from absl import logging as absl_logging

from splitner_jax.cache import cache_dir
from splitner_jax.errors import UserError


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


def use_compilation_cache() -> None:
  """Keeps compiled programs in the cache folder, for the next process."""
  folder = cache_dir() / "xla"
  jax.config.update("jax_compilation_cache_dir", str(folder))
  # Most programs of inference compile in less than a second, each start anew.
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def compute_dtype(name: str) -> str:
  """The dtype that `config.compute_dtype` means on this machine."""
  if name == "auto":
    return "float32" if jax.default_backend() == "cpu" else "bfloat16"
  if name not in ("float32", "bfloat16"):
    raise UserError(
      f"config.compute_dtype: {name!r} is none of auto, float32, bfloat16"
    )
  return name


def row_length() -> int:
  """Tokens of a row of a batch on this machine; 0: what is fastest on CPU.

  A matrix unit wants few and large products, so that the attention to tokens of
  other examples costs less there than rows of several lengths.
  """
  return 0 if jax.default_backend() == "cpu" else 256


class CompileClock:
  """Counts the seconds that JAX spends on tracing and compiling."""

  def __init__(self):
    self.seconds = 0.0
    jax.monitoring.register_event_duration_secs_listener(self._add)

  def _add(self, event: str, duration_secs: float, **_) -> None:
    if event.startswith("/jax/core/compile/"):
      self.seconds += duration_secs


compile_clock = CompileClock()
"""One for the process: a listener, once registered, stays."""
