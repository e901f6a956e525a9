"""The training loop, on a model that compiles in no time."""

import dataclasses
import json
import signal
from typing import Any

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from splitner_jax.data.sentences import Sentence
from splitner_jax.inference.forward import Programs
from splitner_jax.runtime import devices
from splitner_jax.runtime.errors import UserError
from splitner_jax.training import loop, losses
from splitner_jax.training.checkpoints import Checkpoints
from splitner_jax.training.progress import Stopwatch
from tests import runs, tiny_training
from tests.tiny_training import Task


def _assert_equal(a, b) -> None:
  jax.tree.map(np.testing.assert_array_equal, devices.to_host(a), b)


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
  """A run of ten epochs whose dev F1 is best after the second."""
  folder = tmp_path_factory.mktemp("scored")
  task = Task([10.0, 30.0, 20.0, 30.0, 99.0], reads=True)
  params, progress = tiny_training.run(task, folder, epochs=10, patience=2)
  return task, folder, params, progress


def test_patience_ends_training(scored):
  task, _, _, progress = scored
  assert len(task.evaluated) == len(progress["evaluations"]) == 4
  assert progress["step"] == 4 * 2
  assert progress["finished"]
  assert len(progress["epoch_seconds"]) == 4
  # Nothing of the fifth is read.
  where = {name: progress[name] for name in ("epoch", "batch", "read")}
  assert where == {"epoch": 4, "batch": 0, "read": 0}


def test_what_a_run_tells_of_its_batches(scored):
  _, _, _, progress = scored
  assert progress["examples"] == 16
  assert progress["batches"] == 2
  assert progress["gold_lost_to_length"] == 3
  # Four rows of eight tokens for eight examples of four.
  assert progress["shapes"] == ["4 x 8 tokens, 32 targets"]
  assert progress["padding"] == 0
  # The sixteen are read in one batch, of a row of 128 for each device.
  assert progress["inference_padding"] == 1 - 16 * 4 / (4 * 128)


def test_the_best_parameters_are_returned_not_the_last(scored):
  task, _, params, progress = scored
  assert progress["best_epoch"] == 2
  assert progress["best_f1"] == 30.0
  _assert_equal(params, task.evaluated[1])
  with pytest.raises(AssertionError):
    _assert_equal(params, task.evaluated[3])


def test_a_finished_run_is_not_trained_again(scored, monkeypatch):
  task, folder, params, progress = scored
  monkeypatch.setattr(devices, "compile_step", None)
  again, same = tiny_training.run(
    dataclasses.replace(task, f1=()), folder, epochs=10, patience=2
  )
  _assert_equal(again, devices.to_host(params))
  assert same == progress


def test_no_epochs_evaluate_the_start(tmp_path):
  task, filled = Task([5.0]), []

  def fill(params):
    filled.append(jax.tree.map(lambda x: np.asarray(x) + 1, params))
    return filled[-1]

  params, progress = tiny_training.run(task, tmp_path, fill, epochs=0)
  _assert_equal(params, filled[-1])
  assert (progress["step"], progress["best_epoch"]) == (0, 0)
  assert progress["best_f1"] == 5.0
  assert progress["finished"]


def test_time_ends_training(tmp_path, monkeypatch):
  """In its second epoch, after the third of its four batches."""
  laps = iter([0.1] * 6 + [5.0] * 9)
  monkeypatch.setattr(Stopwatch, "minutes", lambda self: next(laps))
  prefetch, readers = devices.prefetch, []

  def watched(*args):
    readers.append(prefetch(*args))
    return readers[-1]

  class EvaluatedAlone(Task):
    def evaluate(self, *args):
      # The thread that reads ahead is over, also where it was not at the end.
      assert readers[-1].gi_frame is None
      return super().evaluate(*args)

  monkeypatch.setattr(devices, "prefetch", watched)
  task = EvaluatedAlone([1.0, 2.0], lengths=(4,) * 32)
  params, progress = tiny_training.run(
    task, tmp_path, epochs=9, max_minutes=5.0
  )
  assert progress["finished"]
  assert (progress["step"], progress["epoch"]) == (7, 2)
  assert len(progress["evaluations"]) == 2
  _assert_equal(params, task.evaluated[1])
  again, same = tiny_training.run(task, tmp_path, epochs=9, max_minutes=5.0)
  _assert_equal(again, devices.to_host(params))
  assert same["step"] == 7


def test_a_task_may_have_its_own_learning_rate(tmp_path):
  own = {"learning_rate": 0.5}
  settings = tiny_training.settings(learning_rate=1e-3, epochs=1, detector=own)
  started = []

  def fill(params):
    started.append(devices.to_host(params))
    return params

  task = Task([1.0], lengths=(4,) * 8)
  params, _ = loop.train(Programs(task), settings, ([], []), fill, tmp_path)
  # Adam's first step is the learning rate, whatever the gradient.
  moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), started[-1], params)
  assert max(jax.tree.leaves(moved)) == pytest.approx(0.5, rel=1e-3)

  common_rate = tiny_training.settings(
    "classifier", learning_rate=1e-3, detector=own
  )
  assert common_rate.learning_rate == 1e-3


def test_a_frozen_backbone_keeps_its_weights(tmp_path):
  fields = {"freeze_backbone": True, "weight_decay": 0.1, "epochs": 2}
  started = []

  def fill(params):
    encoder = jax.tree.map(lambda x: x + 1, params["encoder"])
    started.append(devices.to_host(params | {"encoder": encoder}))
    return started[-1]

  task = Task([1.0, 2.0])
  params, _ = tiny_training.run(task, tmp_path, fill, **fields)
  _assert_equal(params["encoder"], started[-1]["encoder"])
  for before, after in zip(
    jax.tree.leaves(started[-1]["Dense_0"]),
    jax.tree.leaves(params["Dense_0"]),
    strict=True,
  ):
    assert np.abs(before - after).max() > 1e-3

  # The optimizer holds nothing of it, and such a state can be restored.
  setup = loop.prepare(task, tiny_training.settings(**fields), [])
  state = jax.eval_shape(setup.init_state)
  assert "Dense_0" in str(state.opt_state)
  assert "encoder" not in str(state.opt_state)
  checkpoints = Checkpoints(tmp_path / "checkpoints", state, state.params)
  latest = checkpoints.latest()
  checkpoints.close()
  assert jax.tree.structure(latest) == jax.tree.structure(state)
  _assert_equal(latest.params, devices.to_host(params))


def test_no_examples(tmp_path):
  task, given = Task(lengths=()), tiny_training.settings()
  with pytest.raises(UserError, match="detector: there is no sentence, so not"):
    tiny_training.run(task, tmp_path)
  with pytest.raises(UserError, match="is no mention in the training sentence"):
    loop.prepare(task, given, [Sentence(("a",))])


def _no_gradient(logits, labels, weights, total):
  """Finite itself: sqrt(0)."""
  return jnp.sqrt(jnp.sum(0 * logits))


@pytest.mark.parametrize(
  ("loss", "learning_rate", "saved"),
  [(losses.cross_entropy, 1e30, True), (_no_gradient, 0.01, False)],
)
def test_what_is_not_finite_stops_training(
  loss, learning_rate, saved, tmp_path, monkeypatch
):
  monkeypatch.setitem(losses.LOSSES, "cross_entropy", loss)
  task = Task([0.0] * 4)
  fields = {"learning_rate": learning_rate, "checkpoint_every": 1, "epochs": 4}
  with pytest.raises(UserError, match=r"lower config\.detector\.learning_rate"):
    tiny_training.run(task, tmp_path, **fields)

  setup = loop.prepare(task, tiny_training.settings(**fields), [])
  state = jax.eval_shape(setup.init_state)
  checkpoints = Checkpoints(tmp_path / "checkpoints", state, state.params)
  assert bool(checkpoints.progress()) == saved
  if saved:
    for leaf in jax.tree.leaves(checkpoints.latest()):
      assert np.isfinite(leaf).all()
  checkpoints.close()


_KILLS = [
  ("in an epoch", -signal.SIGKILL, "detector: 40 examples"),
  ("SIGTERM in an epoch", 143, "detector: goes on at step 4"),
  ("SIGTERM in an evaluation", 143, "detector: goes on at step"),
  ("in an evaluation", -signal.SIGKILL, "detector: goes on at step"),
  ("between the tasks", -signal.SIGKILL, "detector: goes on at step"),
  ("nowhere", 0, "detector: already trained"),
]


@pytest.mark.parametrize(
  "kills",
  [
    [_KILLS[0], ("nowhere", 0, "detector: goes on at step 4")],
    pytest.param(_KILLS, marks=pytest.mark.slow),
  ],
)
def test_killed_at_any_point_the_same_command_goes_on(
  kills, session_cache, tmp_path
):
  folder = session_cache / "tiny"
  undisturbed, _ = runs.finished(folder)
  workdir = tmp_path / "killed"
  for kill, status, said in kills:
    process = runs.run(workdir, folder, kill)
    assert process.returncode == status, (kill, process.stderr[-2000:])
    assert said in process.stderr
    asked = "stopped by SIGTERM; the same command goes on from here\n"
    assert process.stderr.endswith(asked) == (status == 143)
    assert (workdir / "report.json").exists() == (not status)

  reports = []
  for run in (undisturbed, workdir):
    report = json.loads((run / "report.json").read_text())
    # All but the seconds.
    reports.append([report["training"], *_scores(report)])
  assert reports[0] == reports[1]
  assert reports[0][0]["detector"]["best_dev_f1"] > 0
  for task in ("detector", "classifier"):
    a, b = (
      np.load(run / task / "returned.npz") for run in (undisturbed, workdir)
    )
    assert len(a.files) > 30
    for name in a.files:
      np.testing.assert_array_equal(a[name], b[name])


def _scores(report: dict[str, Any]) -> list[dict[str, Any]]:
  return [
    {name: value for name, value in report[split].items() if name != "seconds"}
    for split in ("dev", "test")
  ]
