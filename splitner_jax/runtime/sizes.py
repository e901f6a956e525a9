"""What takes more memory than there is: refused before, or told afterwards."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

from splitner_jax.runtime.errors import UserError

_CGROUP = pathlib.Path("/sys/fs/cgroup/memory.max")
_GIGABYTE = 1e9


def memory_bytes() -> int:
  """The memory of all devices of this process, or of the machine."""
  import jax  # Not before it is asked for: commands import this for `told`.

  stats = [device.memory_stats() or {} for device in jax.local_devices()]
  limits = [int(s["bytes_limit"]) for s in stats if s.get("bytes_limit")]
  if limits:
    return sum(limits)
  found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
  with contextlib.suppress(OSError, ValueError):  # "max", or there is none.
    found = min(found, int(_CGROUP.read_text()))
  return found


def check_fits(needed: float, what: str, way_out: str) -> None:
  """Refuses what cannot fit.

  Args:
    needed: bytes, the least that it can take: a good setting must pass.
    what: and its value, such as "config.batch_size: 1000".
    way_out: what to do.

  Raises:
    UserError: it is more than there is.
  """
  there = memory_bytes()
  if needed > there:
    raise UserError(
      f"{what} would take at least {needed / _GIGABYTE:,.0f} GB of memory, and "
      f"there are {there / _GIGABYTE:,.0f}; {way_out}"
    )


@contextlib.contextmanager
def told(way_out: str) -> Iterator[None]:
  """Turns the end of the memory into one line.

  Args:
    way_out: what to lower.

  Raises:
    UserError: the block asked for more memory than there is, of the machine or
      of a device.
  """
  try:
    yield
  except (MemoryError, RuntimeError) as error:
    said = out_of_memory(error)
    if said is None:
      raise
    raise UserError(f"{said}; {way_out}") from error


def out_of_memory(error: BaseException) -> str | None:
  """One line about the end of the memory, None if it is another error."""
  if isinstance(error, MemoryError):
    return " ".join(f"out of memory ({_short(error)})".split())
  # JaxRuntimeError is one.
  if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" in str(error):
    return " ".join(f"out of memory on the device ({_short(error)})".split())
  return None


def _short(error: Exception) -> str:
  first = str(error).split("\n")[0].removeprefix("RESOURCE_EXHAUSTED: ")
  return first[:120].rstrip(".") or "the machine gives no more"
