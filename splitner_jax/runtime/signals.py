"""SIGTERM, by which schedulers ask a process to give way."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

STATUS = 128 + signal.SIGTERM
"""The exit status by which launch scripts know that the run may go on."""

_deferring = threading.Event()
_asked = threading.Event()


def exit_on_sigterm() -> None:
  """From now on SIGTERM ends the process: at once, or where `deferred` says.

  No exception: one that is raised while JAX compiles or is imported may be
  lost. What is on the disk is whole at any moment.
  """

  def handle(number: int, frame: FrameType | None) -> None:
    del number, frame
    if _deferring.is_set():
      _asked.set()
    else:
      leave()

  signal.signal(signal.SIGTERM, handle)


def leave() -> None:
  """Ends the process, telling that it goes on with the same command."""
  line = "\nstopped by SIGTERM; the same command goes on from here\n"
  # Not print: the signal may have come in the middle of one.
  os.write(sys.stderr.fileno(), line.encode())
  os._exit(STATUS)


@contextlib.contextmanager
def deferred() -> Iterator[threading.Event]:
  """Inside, SIGTERM only sets the event, until the block saves and leaves.

  Where the block ends without that, the process leaves with its end.
  """
  _deferring.set()
  try:
    yield _asked
  finally:
    _deferring.clear()
  if _asked.is_set():
    leave()
