"""Orbax checkpoints of one task: the latest state and the best parameters."""

import asyncio
import contextlib
import copy
import errno
import logging
import pathlib
import shutil
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator

import jax
import numpy as np
import orbax.checkpoint as ocp

from splitner_jax.runtime import buckets, devices, processes
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.types import Json, Tree
from splitner_jax.training.progress import fresh_progress

# Each device writes its part of an array where a part is as large as this.
# Cutting smaller ones costs more than it saves: a call for each part, while
# training waits.
_LEAST_PART_BYTES = 2**20


def _arrays() -> ocp.PyTreeCheckpointHandler:
  """What writes and reads the arrays."""
  handler = ocp.type_handlers.ArrayHandler(
    min_slice_bytes_for_replica_parallel=_LEAST_PART_BYTES
  )
  return ocp.PyTreeCheckpointHandler(
    type_handler_registry=ocp.type_handlers.create_type_handler_registry(
      (jax.Array, handler)
    )
  )


def _restored_as(tree: Tree) -> ocp.args.PyTreeRestore:
  """Shapes with the sharding to restore to, whatever devices saved them."""
  targets = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(
      x.shape, x.dtype, sharding=devices.replicated()
    ),
    tree,
  )
  return ocp.args.PyTreeRestore(
    targets, ocp.checkpoint_utils.construct_restore_args(targets)
  )


def _manager(folder: buckets.Place, name: str) -> ocp.CheckpointManager:
  """Of a folder's checkpoints, whose arrays have this name."""
  return ocp.CheckpointManager(
    folder,
    item_handlers={
      name: _arrays(),
      "progress": ocp.JsonCheckpointHandler(),
      "checksums": ocp.JsonCheckpointHandler(),
    },
    options=ocp.CheckpointManagerOptions(
      max_to_keep=1, create=True, cleanup_tmp_directories=True
    ),
  )


def _bytes(tree: Tree) -> int:
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


@contextlib.contextmanager
def _no_warnings() -> Iterator[None]:
  """Orbax is silent: it would say of each save that it waited for the last."""
  chatty = logging.getLogger("absl")
  level = chatty.level
  chatty.setLevel(max(level, logging.ERROR))
  try:
    yield
  finally:
    chatty.setLevel(level)


@contextlib.contextmanager
def _disk_errors(folder: buckets.Place) -> Iterator[None]:
  """Errors of the disk become one line; Orbax has many types of them."""
  try:
    yield
  except Exception as e:
    full = "No space left" in str(e) or getattr(e, "errno", 0) == errno.ENOSPC
    on_disk = isinstance(folder, pathlib.Path)
    # JAX's own are of devices.
    other = on_disk or isinstance(e, jax.errors.JaxRuntimeError)
    known = full or isinstance(e, OSError)
    if processes.is_loss(e) or (other and not known):
      raise
    reason = str(e).split("\n")[0] if on_disk else buckets.reason_of(e)
    reason = "the disk is full" if full else reason
    raise UserError(
      f"{folder}: the checkpoint could not be written ({reason}); mend that "
      "and run the same command again"
    ) from e


class _LateReads:
  """A `sys.unraisablehook` that is silent about reads after a failed one."""

  def __init__(self, other: Callable[["sys.UnraisableHookArgs"], object]):
    self._other = other

  def __call__(self, unraisable: "sys.UnraisableHookArgs") -> None:
    # None of the coroutines in this process is ours.
    is_late = asyncio.iscoroutine(unraisable.object) or (
      str(unraisable.exc_value) == "Event loop is closed"
    )
    if not is_late:
      self._other(unraisable)


def _hear_no_more() -> None:
  """Makes Python silent about what an error of Orbax leaves behind.

  Its other reads and writes tell of themselves later: finished ones to a loop
  that is closed, the others when the garbage is collected.
  """
  if not isinstance(sys.unraisablehook, _LateReads):
    sys.unraisablehook = _LateReads(sys.unraisablehook)
  logging.getLogger("asyncio").setLevel(logging.CRITICAL)
  warnings.filterwarnings("ignore", ".* was never awaited", RuntimeWarning)


@contextlib.contextmanager
def _damage(folder: buckets.Place) -> Iterator[None]:
  """Whatever goes wrong with what is there becomes one line."""
  chatty = logging.getLogger("absl")
  level, hook = chatty.level, sys.unraisablehook
  try:
    chatty.setLevel(logging.CRITICAL)
    if not isinstance(hook, _LateReads):
      sys.unraisablehook = _LateReads(hook)
    yield
    sys.unraisablehook = hook
  except Exception as e:  # Orbax and what it stands on have many types.
    _hear_no_more()
    if processes.is_loss(e):
      raise
    reason = " ".join(f"{e}".split())[:120] or type(e).__name__
    if not isinstance(folder, pathlib.Path):
      raise UserError(
        f"{folder}: the checkpoints there cannot be used ({reason}); run the "
        "same command again; if it says the same, delete that folder, and this "
        "task is trained anew"
      ) from e
    raise UserError(
      f"{folder}: the checkpoints there are damaged ({reason}); delete that "
      "folder and run the same command again, which trains this task anew"
    ) from e
  finally:
    chatty.setLevel(level)


def _checksum(tree: Tree) -> int:
  """CRC-32 of all arrays in their order, with names, dtypes and shapes."""
  checksum = 0
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    if not isinstance(leaf, jax.Array | np.ndarray):
      checksum = zlib.crc32(repr((path, leaf)).encode(), checksum)
      continue
    array = np.asarray(jax.device_get(leaf))
    name = f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}"
    checksum = zlib.crc32(name.encode(), checksum)
    checksum = zlib.crc32(np.ascontiguousarray(array).data, checksum)
  return checksum


def _restore(
  manager: ocp.CheckpointManager, name: str, arguments: ocp.args.CheckpointArgs
) -> Tree:
  """An item of the newest checkpoint, if it is what was saved.

  Raises:
    ValueError: its checksum is another, or there is no checkpoint.
  """
  step = manager.latest_step()
  if step is None:
    raise ValueError(f"there is none in {manager.directory.name}")
  items = {name: arguments, "checksums": ocp.args.JsonRestore()}
  restored = manager.restore(step, args=ocp.args.Composite(**items))
  found = restored[name]
  if restored["checksums"][name] != _checksum(found):
    raise ValueError(f"{name} of {manager.directory.name} is not as saved")
  return found


class Checkpoints:
  """The checkpoints in FOLDER/latest and FOLDER/best.

  Each checkpoint appears whole or not at all. Best is saved before the latest
  that knows of it, so a kill between the two only repeats an evaluation.
  """

  def __init__(self, folder: buckets.Place, state: Tree, params: Tree):
    """Opens or makes the folder.

    Args:
      folder: for the checkpoints of one task.
      state: what `save_latest` will get: structure, shapes and dtypes.
      params: what `save_best` will get.

    Raises:
      UserError: it cannot be written, or has too little space.
    """
    self._state, self._params = state, params
    if isinstance(folder, pathlib.Path):
      folder = folder.absolute()
      self._make(folder)
    else:
      # Its threads would log with tracebacks what is raised in time.
      logging.getLogger("absl").setLevel(logging.CRITICAL)
      _hear_no_more()
    self._folder = folder
    with _damage(folder):
      self._latest = _manager(folder / "latest", "state")
      self._best = _manager(folder / "best", "params")

  def _make(self, folder: pathlib.Path) -> None:
    """Makes the folder on a disk, before Orbax starts.

    Its threads do not fail quietly.
    """
    # A new checkpoint is whole before the old one goes.
    needed = 2 * (_bytes(self._state) + _bytes(self._params))
    try:
      resumes = (folder / "latest").exists()
      folder.mkdir(parents=True, exist_ok=True)
      free = shutil.disk_usage(folder).free
    except OSError as e:
      raise UserError(
        f"{folder}: cannot keep checkpoints there ({e.strerror}); choose a "
        "writable --workdir"
      ) from e
    if free < needed and not resumes:
      raise UserError(
        f"{folder}: the checkpoints need {needed / 1e6:.1f} MB, but the disk "
        f"has {free / 1e6:.1f} MB left; make room or choose another --workdir"
      )

  def save_latest(
    self, step: int, state: Tree, progress: Json, *, evaluated: bool
  ) -> None:
    """Saves in the background.

    Args:
      step: how many steps the state has made.
      state: arrays.
      progress: as `fresh_progress` has it.
      evaluated: whether the evaluation after this step is in `progress`; the
        same state may be saved before and after it.
    """
    with _disk_errors(self._folder), _no_warnings():
      self._latest.wait_until_finished()
      self._latest.save(
        2 * step + evaluated,
        args=ocp.args.Composite(
          state=ocp.args.PyTreeSave(state),
          # A copy: the caller goes on while it is written.
          progress=ocp.args.JsonSave(copy.deepcopy(progress)),
          checksums=ocp.args.JsonSave(
            {"state": _checksum(state), "progress": _checksum(progress)}
          ),
        ),
      )

  def save_best(self, params: Tree) -> None:
    """Saves the parameters as the best so far, and waits for the disk."""
    # Numbered anew each time: a run that was killed before its latest
    # checkpoint knew of this one comes here again.
    number = (self._best.latest_step() or 0) + 1
    with _disk_errors(self._folder):
      # One at a time: Orbax names the barriers of both alike, at which the
      # threads of several processes meet.
      self._latest.wait_until_finished()
      self._best.save(
        number,
        args=ocp.args.Composite(
          params=ocp.args.PyTreeSave(params),
          checksums=ocp.args.JsonSave({"params": _checksum(params)}),
        ),
      )
      self._best.wait_until_finished()

  def progress(self) -> Json | None:
    """The latest checkpoint's progress, None if there is no checkpoint."""
    with _damage(self._folder):
      if self._latest.latest_step() is None:
        return None
      found = _restore(self._latest, "progress", ocp.args.JsonRestore())
      odd = fresh_progress().keys() - found.keys()
      if odd:
        raise ValueError(f"{min(odd)} is missing in progress")
      return found

  def latest(self) -> Tree:
    """The latest state, replicated."""
    with _damage(self._folder):
      return _restore(self._latest, "state", _restored_as(self._state))

  def best(self) -> Tree:
    """The best parameters, replicated."""
    with _damage(self._folder):
      return _restore(self._best, "params", _restored_as(self._params))

  def wait(self) -> None:
    """Waits for what is still being written."""
    with _disk_errors(self._folder):
      self._latest.wait_until_finished()

  def close(self) -> None:
    """Waits, and ends the background threads."""
    self._latest.close()
    self._best.close()
