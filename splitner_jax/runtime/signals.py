"""Ctrl-C, and SIGTERM, by which schedulers ask a process to give way."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from splitner_jax.runtime import files

_deferring = threading.Event()
_asked = threading.Event()
# The signal that asked, and what to say then.
_number: int = signal.SIGTERM
_lines: dict[int, bytes] = {}


def exit_at_once(resumable: bool = False) -> None:
  """From now on both end the process: at once, or where `deferred` says.

  No exception: one that is raised while a module is imported, JAX compiles or
  garbage is collected may be lost, and the process goes on. What is on the
  disk is whole at any moment; unfinished files go. Where ctrl-C is ignored, as
  in the background of a shell, it stays so.

  Args:
    resumable: whether to say that the same command goes on.
  """
  for number, by in ((signal.SIGINT, ""), (signal.SIGTERM, " by SIGTERM")):
    line = f"\nstopped{by}; the same command goes on from here\n"
    _lines[number] = line.encode() if resumable else b""
    if signal.getsignal(number) != signal.SIG_IGN:
      signal.signal(number, _handle)


def _handle(number: int, frame: FrameType | None) -> None:
  global _number
  del frame
  _number = number
  # Who asks twice does not want to wait.
  if _deferring.is_set() and not _asked.is_set():
    _asked.set()
  else:
    leave()


def leave() -> None:
  """Ends the process, telling that it goes on with the same command."""
  # Not print: the signal may have come in the middle of one.
  with contextlib.suppress(OSError):
    os.write(2, _lines.get(_number, b""))
  files.remove_unfinished()
  os._exit(128 + _number)


@contextlib.contextmanager
def deferred() -> Iterator[threading.Event]:
  """Inside, a signal only sets the event, until the block saves and leaves.

  Where the block ends without that, the process leaves with its end. A second
  signal does not wait.
  """
  _deferring.set()
  try:
    yield _asked
  finally:
    _deferring.clear()
  if _asked.is_set():
    leave()
