"""Folders in buckets, for machines that share no disk and may be taken away.

What is written as one file goes into a folder on the disk as ever, and a
`Mirror` sends it to the bucket. Checkpoints are written into the bucket.
"""

import contextlib
import logging
import os
import pathlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

from splitner_jax.runtime import extras, files, processes
from splitner_jax.runtime.errors import UserError

if TYPE_CHECKING:
  from etils import epath

Place: TypeAlias = "pathlib.Path | epath.Path"
"""On a disk, or in a bucket."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
# No other characters: some are patterns or parts of an address, and not all
# libraries on the way to the bucket agree about these.
_NAME = re.compile(r"gs://[a-z0-9][a-z0-9._-]*(/[A-Za-z0-9_.=+@,-]+)+/?")


def check(workdir: str) -> None:
  """Raises UserError if a workdir is neither a folder nor one of a bucket."""
  scheme = _SCHEME.match(workdir)
  if scheme and scheme[1] != "gs":
    raise UserError(
      f"--workdir {workdir}: {scheme[1]}:// is not known; give a folder, or "
      "gs://BUCKET/FOLDER"
    )
  parts = workdir.split("/")
  if scheme and (not _NAME.fullmatch(workdir) or {".", ".."} & set(parts)):
    raise UserError(
      f"--workdir {workdir}: is not gs://BUCKET/FOLDER with names of letters, "
      "digits and _.=+@,- only"
    )


class Mirror:
  """What a folder has in a bucket; without a bucket, the folder itself."""

  def __init__(
    self,
    folder: pathlib.Path | None = None,
    bucket: "epath.Path | None" = None,
  ):
    """Of a folder on the disk, and of one in a bucket."""
    self._folder, self._bucket = folder, bucket
    self._sent: dict[pathlib.Path, tuple[int, int]] = {}

  def place(self, path: pathlib.Path) -> Place:
    """Where a path of the folder is kept."""
    if self._bucket is None:
      return path
    assert self._folder
    return self._bucket / path.relative_to(self._folder).as_posix()

  def read(self, path: pathlib.Path) -> bytes | None:
    """A file of the folder where it is kept; None: it is not there.

    Raises:
      UserError: the bucket cannot be used.
      OSError: the disk cannot.
    """
    try:
      with self._told():
        return self.place(path).read_bytes()
    except FileNotFoundError:
      return None

  def has(self, path: pathlib.Path) -> bool:
    """Whether a file of the folder is kept.

    Raises:
      UserError: the bucket cannot be used.
    """
    if self._bucket is None:
      return path.exists()
    # Not `exists`, which is False of what may not be seen too.
    return self.read(path) is not None

  def has_any(self, folder: pathlib.Path, pattern: str) -> bool:
    """Whether anything is kept whose path in a folder fits.

    Raises:
      UserError: the bucket cannot be used.
    """
    try:
      with self._told():
        return any(True for _ in self.place(folder).glob(pattern))
    except FileNotFoundError:
      return False

  def send(self) -> None:
    """Sends what is new in the folder; of several processes, the first.

    Raises:
      UserError: the bucket cannot be used.
    """
    if self._bucket is None or not processes.is_first():
      return
    assert self._folder
    from etils import epath

    new = {}
    for path in self._folder.rglob("*"):
      parts = path.relative_to(self._folder).parts
      # The others are locks, and what is not whole yet.
      if path.is_file() and not any(part.startswith(".") for part in parts):
        facts = path.stat()
        version = facts.st_mtime_ns, facts.st_size
        if self._sent.get(path) != version:
          new[path] = version
    try:
      with self._told():
        for path in sorted(new, key=_turn):
          epath.Path(path).copy(self.place(path), overwrite=True)
          self._sent[path] = new[path]
    except FileNotFoundError:
      raise self._refused("there is no such bucket") from None

  @contextlib.contextmanager
  def _told(self) -> Iterator[None]:
    """Turns whatever a bucket answers into one line."""
    try:
      yield
    except FileNotFoundError:
      raise
    except Exception as error:  # Of four libraries.
      if self._bucket is None:
        raise
      raise self._refused(reason_of(error)) from error

  def _refused(self, reason: str) -> UserError:
    return UserError(
      f"--workdir {self._bucket}: cannot be used ({reason}); see that this "
      "machine may read and write there, and run the same command again"
    )


DISK = Mirror()
"""Of what is on the disk only."""


def _turn(path: pathlib.Path) -> tuple[bool, bool, pathlib.Path]:
  """What says that others are there comes after them."""
  return path.name == "report.json", path.name == "config.json", path


def reason_of(error: Exception) -> str:
  """What a library said of a bucket, short and in one line."""
  return " ".join(str(error).split())[:300] or type(error).__name__


@contextlib.contextmanager
def opened(workdir: str) -> Iterator[tuple[pathlib.Path, Mirror]]:
  """The folder on the disk for what a run writes, and its mirror.

  For a bucket it is a temporary folder, which goes with the block.

  Raises:
    UserError: it can be neither; or what buckets need is not installed.
  """
  check(workdir)
  if not _SCHEME.match(workdir):
    yield pathlib.Path(os.path.expanduser(workdir)), DISK
    return
  for module in ("gcsfs", "google.cloud.storage"):
    extras.needed(module, "gcs", f"--workdir {workdir}")
  import fsspec
  from etils import epath

  # It may be installed, but is slow to import and takes the devices.
  os.environ.setdefault("EPATH_USE_TF", "0")
  # What other processes and other libraries write is to be seen.
  fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False
  # It has tracebacks for what it raises, and tells what it does without.
  logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
  with files.scratch() as folder:
    yield folder, Mirror(folder, epath.Path(workdir))
