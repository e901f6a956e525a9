"""Standard input, output and error of a program, whatever they lead to."""

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterable, Iterator

from splitner_jax.runtime.errors import UserError

_OUTPUT = "standard output"


class _Stream(io.TextIOWrapper):
  """Text to one of the two outputs, in letters that it has.

  Nobody needs what a reader that has gone would have read; what an error
  stream cannot take is no reason to lose a training. On the output a full disk
  is an error.
  """

  def __init__(self, number: int, encoding: str, is_error: bool):
    raw = io.BufferedWriter(io.FileIO(number, "w", closefd=False))
    super().__init__(
      raw,
      encoding,
      # Of a terminal without these letters, or a name that is not UTF-8.
      errors="backslashreplace",
      line_buffering=is_error or os.isatty(number),
    )
    self._is_error = is_error

  def write(self, text: str) -> int:
    with self._guarded():
      return super().write(text)
    return len(text)

  def flush(self) -> None:
    with self._guarded():
      super().flush()

  @contextlib.contextmanager
  def _guarded(self) -> Iterator[None]:
    try:
      yield
    except OSError as error:
      gone = isinstance(error, BrokenPipeError)
      _to_nowhere(self.fileno())
      if not gone and not self._is_error:
        raise _cannot_write(error) from None


def prepare() -> None:
  """Makes the three streams safe; the first thing a program does.

  A descriptor that is closed would be given to the next file that is opened,
  and what is printed would go there. So it is taken, by nothing that can be
  read from or written to.
  """
  for number in range(3):
    try:
      os.fstat(number)
    except OSError:
      mode = os.O_RDONLY if number else os.O_WRONLY
      os.open(os.devnull, mode)  # It gets the lowest number that is free.
  if sys.stdin is None:
    raw = io.FileIO(0, closefd=False)
    sys.stdin = io.TextIOWrapper(io.BufferedReader(raw), "utf-8")
  # Not what stands in their place, such as a test's.
  if sys.stdout is sys.__stdout__:
    encoding = sys.stdout.encoding if sys.stdout else "utf-8"
    sys.stdout = _Stream(1, encoding, is_error=False)
  if sys.stderr is sys.__stderr__:
    encoding = sys.stderr.encoding if sys.stderr else "utf-8"
    sys.stderr = _Stream(2, encoding, is_error=True)


def write_output(parts: Iterable[str | bytes]) -> bool:
  """Writes to standard output, text in UTF-8 wherever it leads.

  Returns:
    Whether all was read; not if the reader has gone, as `head` does.

  Raises:
    UserError: it cannot be written.
  """
  try:
    for part in parts:
      if isinstance(part, str):
        part = part.encode("utf-8", "backslashreplace")
      _write(part)
    _write(b"")
  except BrokenPipeError:
    _to_nowhere(sys.stdout.fileno())
    return False
  return True


def _write(data: bytes) -> None:
  try:
    if data:
      sys.stdout.buffer.write(data)
    else:
      sys.stdout.buffer.flush()
  except BrokenPipeError:
    raise
  except OSError as error:
    _to_nowhere(sys.stdout.fileno())
    raise _cannot_write(error) from None


def _to_nowhere(number: int) -> None:
  """Lets a descriptor lead to nothing, so that Python's last flush is quiet."""
  nowhere = os.open(os.devnull, os.O_WRONLY)
  os.dup2(nowhere, number)
  os.close(nowhere)


def _cannot_write(error: OSError) -> UserError:
  reason = "it is closed" if error.errno == errno.EBADF else error.strerror
  return UserError(
    f"{_OUTPUT}: cannot be written ({reason}); send it to a file with room"
  )
