"""Ctrl-C, and SIGTERM, by which schedulers ask a process to give way."""

import contextlib
import functools
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from types import FrameType

from splitner_jax.runtime import files

_deferring = threading.Event()
_asked = threading.Event()
# The signal that asked, and what to say then.
_number: int = signal.SIGTERM
_lines: dict[int, bytes] = {}
# Between the line and the end of the process.
_linger = 0.0
# That the main thread may take to come to a signal: compiling and waiting for
# a device, it does not. Most schedulers kill after 30 seconds.
_PATIENCE, _PATIENCE_DEFERRED = 2.0, 15.0
_came = threading.Event()


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
  _watch()


def leave_as(seconds: float, tell: bool) -> None:
  """How the process leaves.

  Args:
    seconds: that it stays after its line.
    tell: whether it has that line.
  """
  global _linger
  _linger = seconds
  if not tell:
    _lines.clear()


@functools.cache
def _watch() -> None:
  """Starts a thread for signals that the main thread does not come to."""
  reader, writer = socket.socketpair()
  writer.setblocking(False)
  signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)

  # Or a signal to a child of a fork would be one to this process.
  os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))

  def watch() -> None:
    global _number
    with reader, writer:  # Both live as long as the thread.
      while data := reader.recv(1):
        if data[0] not in (signal.SIGINT, signal.SIGTERM):
          continue
        deferring = _deferring.is_set()
        if not _came.wait(_PATIENCE_DEFERRED if deferring else _PATIENCE):
          _number = data[0]
          leave()
        _came.clear()

  threading.Thread(target=watch, daemon=True).start()


def _handle(number: int, frame: FrameType | None) -> None:
  global _number
  del frame
  _number = number
  _came.set()
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
  time.sleep(_linger)
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
