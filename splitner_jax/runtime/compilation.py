"""The process around a run: log, compilation cache, compile-time clock."""

import jax

from splitner_jax.runtime.cache import cache_dir


def use_compilation_cache() -> None:
  """Keeps compiled programs in the cache folder, for the next process."""
  folder = cache_dir() / "xla"
  jax.config.update("jax_compilation_cache_dir", str(folder))
  # Most programs of inference compile in less than a second, each start anew.
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


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
