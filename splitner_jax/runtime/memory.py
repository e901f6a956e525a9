"""How the process asks for memory."""

import ctypes
import gc
import importlib.util
import os
import sys
from collections.abc import Callable


def disable_malloc_trim() -> None:
  """Lets the process keep the memory that it frees, for a training on CPU.

  A step asks the C library for hundreds of megabytes and gives them back. By
  default they go back to the kernel, which has to clear each page again for
  the next step: with MiniLM a quarter of the step, half of the optimizer's
  part. To be called before JAX is imported: threads that are there already
  have their own memory. Of no effect without glibc, and where JAX has an
  accelerator: there the host's threads only prepare batches, and one arena
  would make them wait for each other.
  """
  mallopt = _of_libc("mallopt")
  if mallopt is None or _may_have_accelerator():
    return
  # Numbers of malloc.h; the largest int stands for never.
  trim_threshold, mmap_max, arena_max = -1, -4, -8
  mallopt(arena_max, 1)
  mallopt(mmap_max, 0)
  mallopt(trim_threshold, 2**31 - 1)


def trim_malloc() -> None:
  """Gives the memory that is free by now back to the system.

  For the moments after which the process needs other blocks than before: what
  setting up and compiling leave behind is in pieces too small for a step, and
  would be kept beside it. Of no effect without glibc.
  """
  trim = _of_libc("malloc_trim")
  if trim is not None:
    gc.collect()
    trim(0)


def peak_bytes() -> int:
  """The most memory that the process has had, where the system says so."""
  import resource

  unit = 1 if sys.platform == "darwin" else 1024
  return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _may_have_accelerator() -> bool:
  """Whether JAX would look for one: known without importing it."""
  if os.environ.get("JAX_PLATFORMS") == "cpu":
    return False
  plugins = ("jax_cuda12_plugin", "jax_cuda13_plugin", "jax_rocm7_plugin")
  return any(
    importlib.util.find_spec(name) is not None for name in (*plugins, "libtpu")
  )


def _of_libc(name: str) -> Callable[..., int] | None:
  if not sys.platform.startswith("linux"):
    return None
  return getattr(ctypes.CDLL(None), name, None)
