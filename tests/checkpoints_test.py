"""Checkpoints: what is kept, and what a full disk says."""

import collections
import errno
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from splitner_jax.runtime import devices
from splitner_jax.runtime.errors import UserError
from splitner_jax.training.checkpoints import Checkpoints, _disk_errors
from splitner_jax.training.progress import fresh_progress

_STATE = {"params": jnp.arange(1000.0), "step": jnp.zeros((), jnp.int32)}
_PARAMS = {"w": jnp.arange(1000.0)}


@pytest.fixture
def open_checkpoints(tmp_path):
  opened = []

  def open_() -> Checkpoints:
    opened.append(
      Checkpoints(
        tmp_path / "kept",
        jax.eval_shape(lambda: _STATE),
        jax.eval_shape(lambda: _PARAMS),
      )
    )
    return opened[-1]

  yield open_
  for checkpoints in opened:
    checkpoints.close()


def test_latest_and_best_are_kept(open_checkpoints):
  first = open_checkpoints()
  assert first.progress() is None
  progress = fresh_progress()
  for step in (1, 2):
    progress["step"] = step
    state = jax.tree.map(lambda x, s=step: x + s, _STATE)
    first.save_latest(step, devices.replicate(state), progress, evaluated=False)
    # What the caller does next must not reach the file.
    progress["evaluations"].append("later")
  first.save_best(devices.replicate(_PARAMS))
  first.wait()

  second = open_checkpoints()
  known = fresh_progress() | {"step": 2, "evaluations": ["later"]}
  assert second.progress() == known
  np.testing.assert_array_equal(second.latest()["params"], _PARAMS["w"] + 2)
  np.testing.assert_array_equal(second.best()["w"], _PARAMS["w"])
  # A run that was killed before its latest knew of a best one saves it again.
  second.save_best(devices.replicate({"w": _PARAMS["w"] + 1}))
  np.testing.assert_array_equal(second.best()["w"], _PARAMS["w"] + 1)


def test_one_is_written_at_a_time(open_checkpoints, monkeypatch):
  """Several processes meet at barriers that have the same names for both."""
  writing, whole = [], ocp.CheckpointManager.save

  def watched(self, *args, **kwargs):
    writing.append([m for m in managers if m.is_saving_in_progress()])
    return whole(self, *args, **kwargs)

  checkpoints = open_checkpoints()
  managers = [checkpoints._latest, checkpoints._best]
  monkeypatch.setattr(ocp.CheckpointManager, "save", watched)
  state = devices.replicate(_STATE | {"params": jnp.zeros(10_000_000)})
  for step in (1, 2):
    checkpoints.save_latest(step, state, fresh_progress(), evaluated=False)
    assert managers[0].is_saving_in_progress()
    checkpoints.save_best(devices.replicate(_PARAMS))
  assert writing == [[]] * 4


def test_too_little_space_is_said_before_the_start(
  open_checkpoints, monkeypatch
):
  usage = collections.namedtuple("usage", "total used free")
  monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 9_999))
  with pytest.raises(UserError, match=r"kept: the checkpoints need 0.0 MB, bu"):
    open_checkpoints()


@pytest.mark.parametrize(
  "error",
  [
    OSError(errno.ENOSPC, "No space left on device"),
    ValueError("No space left on device: x"),
  ],
)
def test_a_disk_that_fills_up_is_one_line(tmp_path, error):
  with (
    pytest.raises(UserError, match="the disk is full"),
    _disk_errors(tmp_path),
  ):
    raise error


def test_other_errors_stay_what_they_are(tmp_path):
  with pytest.raises(ZeroDivisionError), _disk_errors(tmp_path):
    raise ZeroDivisionError


@pytest.mark.parametrize(
  ("which", "pattern"),
  [
    ("best", "best"),
    ("best", "best/*/params/d/*"),
    ("best", "best/*/params/manifest.ocdbt"),
    ("best", "best/*/checksums"),
    ("latest", "latest/*/checksums"),
    ("latest", "latest/*/state/d/*"),
    ("progress", "latest/*/progress/metadata"),
  ],
)
@pytest.mark.parametrize("damage", ["delete", "flip", "cut"])
def test_damaged_checkpoints(
  which: str, pattern: str, damage: str, open_checkpoints, tmp_path
):
  first = open_checkpoints()
  state = devices.replicate(_STATE)
  first.save_best(devices.replicate(_PARAMS))
  first.save_latest(1, state, fresh_progress(), evaluated=True)
  first.wait()
  for path in sorted((tmp_path / "kept").glob(pattern)):
    if path.is_dir():
      shutil.rmtree(path)
      continue
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    cut = data[: len(data) // 2]
    path.unlink()
    if damage != "delete":
      path.write_bytes(data if damage == "flip" else cut)
  with pytest.raises(UserError, match="the checkpoints there are damaged"):
    getattr(open_checkpoints(), which)()


def test_small_arrays_are_not_cut(open_checkpoints, monkeypatch):
  """Which takes a call for each device and array, while training waits."""
  cuts = []
  monkeypatch.setattr(
    jax.lax, "slice_in_dim", lambda *args, **_: cuts.append(args)
  )
  checkpoints = open_checkpoints()
  state = devices.replicate(_STATE)
  assert len(jax.tree.leaves(state)[0].addressable_shards) == 4
  checkpoints.save_latest(1, state, fresh_progress(), evaluated=False)
  checkpoints.wait()
  assert not cuts
