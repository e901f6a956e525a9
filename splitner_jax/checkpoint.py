"""Orbax checkpoints of one task: the latest state and the best parameters."""

import json
import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp

from splitner_jax import parallel
from splitner_jax.errors import UserError

Tree = Any


def _targets(tree: Tree) -> Tree:
  """Shapes with the sharding to restore to, whatever devices saved them."""
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(
      x.shape, x.dtype, sharding=parallel.replicated()
    ),
    tree,
  )


def _manager(folder: pathlib.Path) -> ocp.CheckpointManager:
  return ocp.CheckpointManager(
    folder,
    options=ocp.CheckpointManagerOptions(
      max_to_keep=1, create=True, cleanup_tmp_directories=True
    ),
  )


class Checkpoints:
  """The checkpoints in FOLDER/latest and FOLDER/best.

  Each checkpoint appears whole or not at all. Best is saved before the latest
  that knows of it, so a kill between the two only repeats an evaluation.
  """

  def __init__(self, folder: pathlib.Path):
    folder = folder.absolute()
    try:
      self._latest = _manager(folder / "latest")
      self._best = _manager(folder / "best")
    except OSError as e:
      raise UserError(
        f"{folder}: cannot keep checkpoints there ({e.strerror or e}); choose "
        "a writable --workdir"
      ) from e

  def save_latest(
    self, step: int, state: Tree, progress: dict, *, evaluated: bool
  ) -> None:
    """Saves in the background.

    Args:
      step: how many steps the state has made.
      state: arrays.
      progress: any JSON.
      evaluated: whether the evaluation after this step is in `progress`; the
        same state may be saved before and after it.
    """
    self._latest.save(
      2 * step + evaluated,
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(state),
        progress=ocp.args.JsonSave(progress),
      ),
    )

  def save_best(self, step: int, params: Tree) -> None:
    """Saves the parameters as the best so far, and waits for the disk."""
    if self._best.latest_step() != step:
      self._best.save(
        step, args=ocp.args.Composite(params=ocp.args.StandardSave(params))
      )
    self._best.wait_until_finished()

  def progress(self) -> dict | None:
    """The latest checkpoint's progress, None if there is no checkpoint."""
    step = self._latest.latest_step()
    if step is None:
      return None
    restored = self._latest.restore(
      step, args=ocp.args.Composite(progress=ocp.args.JsonRestore())
    )
    return json.loads(json.dumps(restored["progress"]))

  def latest(self, like: Tree) -> Tree:
    """The latest state; `like` has its structure, shapes and dtypes."""
    return self._latest.restore(
      self._latest.latest_step(),
      args=ocp.args.Composite(state=ocp.args.StandardRestore(_targets(like))),
    )["state"]

  def best(self, like: Tree) -> Tree:
    """The best parameters; `like` has their structure, shapes and dtypes."""
    return self._best.restore(
      self._best.latest_step(),
      args=ocp.args.Composite(params=ocp.args.StandardRestore(_targets(like))),
    )["params"]

  def wait(self) -> None:
    """Waits for what is still being written."""
    self._latest.wait_until_finished()

  def close(self) -> None:
    """Waits, and ends the background threads."""
    self._latest.close()
    self._best.close()
