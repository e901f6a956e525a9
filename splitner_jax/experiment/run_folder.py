"""The folder of a run: of one config, one corpus, and one process at a time."""

import contextlib
import json
import pathlib
from collections.abc import Iterator

import filelock
from ml_collections import ConfigDict

from splitner_jax.experiment.settings import as_json, flat
from splitner_jax.runtime import buckets, processes
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.files import atomic_write, is_utf_8
from splitner_jax.runtime.json_text import parse
from splitner_jax.runtime.types import Json

# What may differ between two runs of the same command in one workdir.
_FREE_FIELDS = ("checkpoint_every",)


@contextlib.contextmanager
def locked(
  config: ConfigDict,
  workdir: pathlib.Path,
  content_hash: str,
  sources: Json | None = None,
  mirror: buckets.Mirror = buckets.DISK,
) -> Iterator[None]:
  """Keeps a workdir to one run: of one config, on one corpus, at a time.

  WORKDIR/config.json has the config, the corpus's `content_hash`, and the
  `sources`. A start that failed before its first checkpoint binds nobody. In a
  bucket nothing keeps two runs of the same config apart.

  Args:
    config: of the run; of several processes the first looks after it.
    workdir: its folder.
    content_hash: see `Corpus`.
    sources: see `Experiment`; None: nothing is known of them.
    mirror: of the workdir.

  Raises:
    UserError: it holds another run, another process is at work there, or it
      cannot be written.
  """
  if not is_utf_8(workdir):
    # Before training, not with its first checkpoint.
    raise UserError(
      f"--workdir {workdir}: its name is not UTF-8; choose another"
    )
  lock = filelock.FileLock(workdir / ".lock", timeout=0)
  claim = as_json(config) | {"content_hash": content_hash}
  claim |= {"sources": sources} if sources else {}

  def begin() -> None:
    _acquire(lock, workdir)
    try:
      _claim(claim, workdir, mirror)
      mirror.send()
    except BaseException:
      lock.release()
      raise

  processes.by_first(begin)
  try:
    [is_elsewhere] = processes.any_of([not _is_seen(workdir, mirror)])
    if is_elsewhere:
      raise UserError(
        f"--workdir {mirror.place(workdir)}: not all processes see what the "
        "first one wrote there; give a folder that all hosts share"
      )
    yield
  finally:
    lock.release()


def _is_seen(workdir: pathlib.Path, mirror: buckets.Mirror) -> bool:
  try:
    return mirror.has(workdir / "config.json")
  except UserError:
    return False


def _acquire(lock: filelock.BaseFileLock, workdir: pathlib.Path) -> None:
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    lock.acquire()
  except filelock.Timeout as e:
    raise UserError(
      f"--workdir {workdir}: another process is at work there; wait for it, or "
      "choose another --workdir"
    ) from e
  except OSError as e:
    raise _cannot_write(workdir, e) from e


def _claim(mine: Json, workdir: pathlib.Path, mirror: buckets.Mirror) -> None:
  """Writes WORKDIR/config.json, or checks that it is of the same run."""
  path, place = workdir / "config.json", mirror.place(workdir)
  begun = any(
    mirror.has_any(workdir, f"{depth}/checkpoints/{which}/[0-9]*")
    for depth in ("*", "seed-*/*")
    for which in ("latest", "best")
  )
  try:
    data = mirror.read(path)
  except OSError as e:
    raise _cannot_write(workdir, e) from e
  if data is None and begun:
    raise UserError(
      f"--workdir {place}: has checkpoints but no config.json, which says "
      "what they are of; choose another --workdir, or delete it"
    )
  try:
    theirs = mine if data is None else parse(data)
    there, here = flat(theirs), flat(mine)
  except (AttributeError, ValueError) as e:
    # What was trained there may be of any config.
    what = "the whole folder" if begun else "it"
    raise UserError(
      f"{mirror.place(path)}: is not a config ({e}); delete {what}, or choose "
      "another --workdir"
    ) from e
  # Other keys: the config.json of some other program.
  if begun or theirs.keys() != mine.keys():
    for key in sorted(there.keys() | here.keys()):
      if key in _FREE_FIELDS or there.get(key) == here.get(key):
        continue
      if key.startswith("sources.") and key not in there:
        continue  # Older folders do not say.
      if key == "seeds" and there.get(key) and here.get(key):
        continue  # Each seed has a folder, and some are done.
      raise UserError(
        f"--workdir {place}: holds another run ({key} is "
        f"{there.get(key)!r} there, {here.get(key)!r} here); choose another "
        "--workdir, or delete it"
      )
  atomic_write(path, [json.dumps(mine, indent=2), "\n"])


def _cannot_write(workdir: pathlib.Path, error: OSError) -> UserError:
  return UserError(
    f"--workdir {workdir}: cannot be written ({error.strerror}); choose another"
  )
