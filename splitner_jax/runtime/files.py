"""Text files: read as lines, written whole or not at all."""

import mmap
import os
import pathlib
import zlib
from collections.abc import Iterable

from splitner_jax.runtime.errors import UserError

INNER_RETURN = (
  "a carriage return within the line; give the file line ends of LF or CRLF"
)
"""What is said of a line with line ends of old Macs in it."""


def read_lines(path: str | os.PathLike[str]) -> list[str]:
  """The lines of a UTF-8 file without their ends (LF or CRLF) and its mark.

  Raises:
    UserError: the file cannot be read or is not UTF-8.
  """
  try:
    data = pathlib.Path(path).read_bytes()
  except FileNotFoundError:
    raise UserError(f"{path}: no such file; check the path") from None
  except IsADirectoryError:
    raise UserError(f"{path}: a folder; give a file in it") from None
  except OSError as error:
    raise UserError(
      f"{path}: cannot be read ({error.strerror}); check it"
    ) from None
  try:
    text = data.decode("utf-8-sig")
  except UnicodeDecodeError as error:
    line = data.count(b"\n", 0, error.start) + 1
    raise UserError(f"{path}:{line}: not UTF-8; convert the file") from None
  lines = [line.removesuffix("\r") for line in text.split("\n")]
  if text.count("\r") > text.count("\r\n"):
    odd = next((n for n, line in enumerate(lines, 1) if "\r" in line), None)
    if odd:
      raise UserError(f"{path}:{odd}: {INNER_RETURN}")
  return lines


def checksum(path: str | os.PathLike[str], start: int = 0) -> int:
  """CRC-32 of a file, which damage does not keep; it is no seal.

  Args:
    path: of the file.
    start: the checksum of what comes before it.

  Raises:
    OSError: it cannot be read.
  """
  with open(path, "rb") as file:
    if not os.fstat(file.fileno()).st_size:
      return start  # Nothing can be mapped.
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
      return zlib.crc32(data, start)


def make_folder(path: pathlib.Path) -> str:
  """Makes a folder, if it is not there, and returns its path.

  Raises:
    UserError: it cannot be made.
  """
  try:
    path.mkdir(parents=True, exist_ok=True)
    return str(path)
  except OSError as error:
    raise UserError(
      f"{path}: no folder can be made there ({error.strerror}); delete what "
      "is there or choose another place"
    ) from None


def temporary_path(path: pathlib.Path) -> pathlib.Path:
  """Where `atomic_write` writes before it renames; of a link its target."""
  path = path.resolve() if path.is_symlink() else path
  return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def atomic_write(path: str | os.PathLike[str], parts: Iterable[str]) -> None:
  """Writes under a temporary name and renames: a file is whole or not there.

  A symbolic link stays, and what it names is written; into what is no file,
  such as a device or a FIFO, the parts go as they come.

  Raises:
    UserError: the file cannot be written.
  """
  path = pathlib.Path(path)
  temporary = temporary_path(path)
  try:
    if path.exists() and not path.is_file() and not path.is_dir():
      with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(parts)
      return
    try:
      with temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(parts)
      temporary.replace(path.resolve() if path.is_symlink() else path)
    finally:
      temporary.unlink(missing_ok=True)
  except OSError as error:
    raise UserError(
      f"{path}: cannot be written ({error.strerror}); check the folder"
    ) from None
