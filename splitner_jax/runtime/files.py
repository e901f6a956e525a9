"""Text files: read as lines, written whole or not at all."""

import contextlib
import errno
import mmap
import os
import pathlib
import re
import shutil
import stat
import tempfile
import zlib
from collections.abc import Iterable, Iterator

from splitner_jax.runtime.errors import UserError

INNER_RETURN = (
  "a carriage return within the line; give the file line ends of LF or CRLF"
)
"""What is said of a line with line ends of old Macs in it."""

_DESCRIPTOR = re.compile(r"/dev/fd/(\d+)|/proc/(\d+)(?:/task/\d+)?/fd/(\d+)")
_MOST_LINKS = 40  # Linux follows no more.

_unfinished: set[pathlib.Path] = set()
_scratch: set[pathlib.Path] = set()


def decode(data: bytes, path: str | os.PathLike[str], first: int = 1) -> str:
  """The text of UTF-8 lines, without the mark at the beginning of a file.

  Args:
    data: a file, or the part of it that begins with line `first`.
    path: of the file, for messages.
    first: a number from 1.

  Raises:
    UserError: it is not UTF-8, or holds a NUL.
  """
  try:
    text = data.decode("utf-8-sig" if first == 1 else "utf-8")
    at, fault = data.find(0), "holds a NUL; is it UTF-16?"
  except UnicodeDecodeError as error:
    at, fault = error.start, "not UTF-8;"
    if first == 1 and data[:2] in (b"\xff\xfe", b"\xfe\xff"):
      fault = "not UTF-8, but UTF-16 by its first bytes;"
  if at < 0:
    return text
  line = first + data.count(b"\n", 0, at)
  raise UserError(f"{path}:{line}: {fault} convert the file to UTF-8")


def read_lines(path: str | os.PathLike[str]) -> list[str]:
  """The lines of a UTF-8 file without their ends (LF or CRLF) and its mark.

  Raises:
    UserError: the file cannot be read, is not UTF-8 or holds a NUL.
  """
  try:
    with open(path, "rb") as file:
      refuse_device(file.fileno(), path)
      data = file.read()
  except FileNotFoundError:
    raise UserError(f"{path}: no such file; check the path") from None
  except IsADirectoryError:
    raise UserError(f"{path}: a folder; give a file in it") from None
  except OSError as error:
    raise UserError(
      f"{path}: cannot be read ({error.strerror}); check it"
    ) from None
  text = decode(data, path)
  lines = [line.removesuffix("\r") for line in text.split("\n")]
  if text.count("\r") > text.count("\r\n"):
    odd = next((n for n, line in enumerate(lines, 1) if "\r" in line), None)
    if odd:
      raise UserError(f"{path}:{odd}: {INNER_RETURN}")
  return lines


def refuse_device(number: int, path: str | os.PathLike[str]) -> None:
  """Raises UserError if an open file is a device, which need not end.

  But for a terminal, on which somebody types.
  """
  found = os.fstat(number)
  if not stat.S_ISCHR(found.st_mode) and not stat.S_ISBLK(found.st_mode):
    return
  # The null device ends at once.
  if found.st_rdev != os.stat(os.devnull).st_rdev and not os.isatty(number):
    raise UserError(f"{path}: a device; give a file")


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


def is_utf_8(path: str | os.PathLike[str]) -> bool:
  """Whether a path has a name that libraries in other languages can take."""
  try:
    os.path.abspath(path).encode()
  except UnicodeEncodeError:
    return False
  return True


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


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[None]:
  """Turns the errors of a disk into one line that names the path.

  Raises:
    UserError: the disk refused what the block writes.
  """
  try:
    yield
  except Exception as error:
    # Libraries in Rust have types of their own, and this in the message.
    told = re.search(r"([^:]*) \(os error \d+\)", str(error))
    reason = told and told[1].strip()
    if isinstance(error, OSError):
      reason = error.strerror or " ".join(str(error).split())
    if not reason:
      raise
    raise UserError(
      f"{path}: cannot be written ({reason}); check the folder"
    ) from error


def atomic_write(
  path: str | os.PathLike[str], parts: Iterable[str | bytes]
) -> None:
  """Writes under a temporary name and renames: a file is whole or not there.

  A file that is replaced hands on its mode. A symbolic link stays, and what it
  names is written; into what is no file, such as a device, a FIFO or a
  descriptor that is open (/dev/stdout), the parts go as they come.

  Raises:
    UserError: the file cannot be written.
  """
  # The letters that UTF-8 has not are of names of files that are not UTF-8.
  data = (
    x.encode("utf-8", "backslashreplace") if isinstance(x, str) else x
    for x in parts
  )
  with writing(path):
    target = _target(path)
    temporary = _temporary(target)
    if isinstance(target, int) or temporary is None:
      # By its path a descriptor of ours would be opened anew, at the beginning.
      ours = isinstance(target, int)
      place = os.dup(target) if isinstance(target, int) else target
      with open(place, "wb" if ours else "ab") as file:
        file.writelines(data)
      return
    _unfinished.add(temporary)
    try:
      with temporary.open("wb") as file:
        if target.is_file():
          temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        file.writelines(data)
      temporary.replace(target)
    finally:
      temporary.unlink(missing_ok=True)
      _unfinished.discard(temporary)


@contextlib.contextmanager
def scratch() -> Iterator[pathlib.Path]:
  """A temporary folder, for the block.

  Raises:
    UserError: it cannot be made.
  """
  with writing(tempfile.gettempdir()):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="splitner_"))
  _scratch.add(folder)
  try:
    yield folder
  finally:
    shutil.rmtree(folder, ignore_errors=True)
    _scratch.discard(folder)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
  """A folder for the block to fill, which then gets its name.

  It is whole or not there, as a file of `atomic_write`.

  Args:
    path: where nothing is, or an empty folder.

  Raises:
    UserError: the folder cannot be written.
  """
  folder = pathlib.Path(os.path.abspath(os.path.expanduser(path)))
  unfinished = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
  _scratch.add(unfinished)
  try:
    with writing(folder):
      unfinished.mkdir(parents=True)
      yield unfinished
      os.replace(unfinished, folder)
  finally:
    shutil.rmtree(unfinished, ignore_errors=True)
    _scratch.discard(unfinished)


def remove_unfinished() -> None:
  """Removes what nobody needs of a process that ends now.

  It is what `atomic_write` and `atomic_folder` are writing, and the folders of
  `scratch`.
  """
  for path in [*_unfinished]:
    with contextlib.suppress(OSError):
      path.unlink(missing_ok=True)
  for folder in [*_scratch]:
    shutil.rmtree(folder, ignore_errors=True)


def _target(path: str | os.PathLike[str]) -> pathlib.Path | int:
  """What a path names in the end, or the descriptor of ours that it names.

  Raises:
    OSError: symbolic links lead in a circle.
  """
  place = os.path.abspath(os.path.expanduser(path))
  for _ in range(_MOST_LINKS):
    # Not the path as a whole: of a descriptor it would give the file behind.
    folder, name = os.path.split(place)
    folder = os.path.realpath(folder)
    place = os.path.join(folder, name)
    if match := _DESCRIPTOR.fullmatch(place):
      ours, process, theirs = match.groups()
      if process in (None, str(os.getpid())):
        return int(ours or theirs)
      return pathlib.Path(place)
    if not os.path.islink(place):
      return pathlib.Path(place)
    place = os.path.join(folder, os.readlink(place))
  raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _temporary(target: pathlib.Path | int) -> pathlib.Path | None:
  """A name beside a file, to be renamed to it; None of what is no file."""
  if isinstance(target, int) or _DESCRIPTOR.fullmatch(str(target)):
    return None
  if target.exists() and not target.is_file() and not target.is_dir():
    return None
  return target.with_name(f".{target.name}.{os.getpid()}.tmp")
