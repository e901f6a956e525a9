"""How the process asks for memory."""

import ctypes
import sys


def keep_freed() -> None:
  """Lets the process keep the memory that it frees, for a training on CPU.

  A step asks the C library for hundreds of megabytes and gives them back. By
  default they go back to the kernel, which has to clear each page again for
  the next step: with MiniLM a quarter of the step, half of the optimizer's
  part. To be called before JAX is imported: threads that are there already
  have their own memory. Of no effect without glibc.
  """
  if not sys.platform.startswith("linux"):
    return
  mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
  if mallopt is None:
    return
  # Numbers of malloc.h; the largest int stands for never.
  trim_threshold, mmap_max, arena_max = -1, -4, -8
  mallopt(arena_max, 1)
  mallopt(mmap_max, 0)
  mallopt(trim_threshold, 2**31 - 1)
