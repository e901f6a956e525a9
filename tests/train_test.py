"""The training loop, on a model that compiles in no time."""

import collections
import dataclasses
import functools
import json
import pathlib
import signal
import types
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax
import numpy as np
import pytest
from flax import linen as nn
from jax import numpy as jnp

from configs import common
from splitner_jax import losses, parallel, train
from splitner_jax.checkpoint import Checkpoints
from splitner_jax.inputs.batches import Batcher
from splitner_jax.inputs.tokenizer import Example, LazyExamples
from splitner_jax.errors import UserError
from splitner_jax.settings import task_settings
from tests import runs

_VOCAB = 50


class _Model(nn.Module):
  """Has all inputs, dropout and outputs of a tagger, and hardly a weight."""

  @nn.compact
  def __call__(self, batch, deterministic: bool = True) -> jax.Array:
    x = nn.Embed(_VOCAB, 4, name="encoder")(batch["input_ids"])
    if "char_index" in batch:
      rows = [batch[f"char_{which}"].sum(1) for which in ("short", "long")]
      x += jnp.concatenate(rows)[batch["char_index"]][..., None] / 1000
    x = nn.Dropout(0.1)(x, deterministic)
    return nn.Dense(2)(x) * batch["mask"][..., None]


@dataclasses.dataclass
class _Task:
  """As much of a task as `train` asks for; its dev scores are given."""

  f1: Sequence[float] = ()
  features: tuple[str, ...] = ()
  lengths: Sequence[int] = (4,) * 16
  loss: losses.Loss = losses.cross_entropy
  name: str = "detector"
  model: nn.Module = dataclasses.field(default_factory=_Model)
  tokenizer: ClassVar = types.SimpleNamespace(
    pad_id=0, reference=False, max_length=512
  )
  evaluated: list[Any] = dataclasses.field(default_factory=list)

  def training_examples(self, sentences) -> tuple[list[Example], int]:
    rng = np.random.default_rng(0)
    return [self._example(n, rng) for n in self.lengths], 0

  def _example(self, n: int, rng: np.random.Generator) -> Example:
    ids = rng.integers(1, _VOCAB, n).astype(np.int32)
    # All of them in the long table of texts.
    texts = [f"{i:012d}" for i in ids]
    zeros, ones = np.zeros(n, np.int32), np.ones(n, np.float32)
    return Example(ids, zeros, texts, 0, 0, zeros, ids % 2, ones)

  def evaluate(self, run: Callable, sentences) -> dict[str, Any]:
    # `train` binds the parameters to the forward pass.
    self.evaluated.append(parallel.to_host(run.args[0]))
    f1 = self.f1[len(self.evaluated) - 1]
    return {"precision": f1, "recall": f1, "f1": f1, "per_type": {}}


def _settings(name: str = "detector", **fields):
  config = common.get_config()
  config.update({"batch_size": 8, "learning_rate": 0.01, **fields})
  return task_settings(config, name)


def _train(task: _Task, folder: pathlib.Path, fill=lambda params: params, **f):
  return train.train(task, _settings(**f), ([], []), fill, folder)


def _assert_equal(a, b) -> None:
  jax.tree.map(np.testing.assert_array_equal, parallel.to_host(a), b)


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
  """A run of ten epochs whose dev F1 is best after the second."""
  folder = tmp_path_factory.mktemp("scored")
  task = _Task([10.0, 30.0, 20.0, 30.0, 99.0])
  params, progress = _train(task, folder, epochs=10, patience=2)
  return task, folder, params, progress


def test_patience_ends_training(scored):
  task, _, _, progress = scored
  assert len(task.evaluated) == len(progress["evaluations"]) == 4
  assert progress["step"] == 4 * 2
  assert progress["finished"]
  assert len(progress["epoch_seconds"]) == 4


def test_the_best_parameters_are_returned_not_the_last(scored):
  task, _, params, progress = scored
  assert progress["best_epoch"] == 2
  assert progress["best_f1"] == 30.0
  _assert_equal(params, task.evaluated[1])
  with pytest.raises(AssertionError):
    _assert_equal(params, task.evaluated[3])


def test_a_finished_run_is_not_trained_again(scored, monkeypatch):
  task, folder, params, progress = scored
  monkeypatch.setattr(parallel, "compile_step", None)
  again, same = _train(
    dataclasses.replace(task, f1=()), folder, epochs=10, patience=2
  )
  _assert_equal(again, parallel.to_host(params))
  assert same == progress


def test_no_epochs_evaluate_the_start(tmp_path):
  task, filled = _Task([5.0]), []

  def fill(params):
    filled.append(jax.tree.map(lambda x: np.asarray(x) + 1, params))
    return filled[-1]

  params, progress = _train(task, tmp_path, fill, epochs=0)
  _assert_equal(params, filled[-1])
  assert (progress["step"], progress["best_epoch"]) == (0, 0)
  assert progress["best_f1"] == 5.0
  assert progress["finished"]


def test_a_task_may_have_its_own_learning_rate(tmp_path):
  own = {"learning_rate": 0.5}
  settings = _settings(learning_rate=1e-3, epochs=1, detector=own)
  started = []

  def fill(params):
    started.append(parallel.to_host(params))
    return params

  task = _Task([1.0], lengths=(4,) * 8)
  params, _ = train.train(task, settings, ([], []), fill, tmp_path)
  # Adam's first step is the learning rate, whatever the gradient.
  moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), started[-1], params)
  assert max(jax.tree.leaves(moved)) == pytest.approx(0.5, rel=1e-3)

  common_rate = _settings("classifier", learning_rate=1e-3, detector=own)
  assert common_rate.learning_rate == 1e-3


def test_a_frozen_backbone_keeps_its_weights(tmp_path):
  fields = {"freeze_backbone": True, "weight_decay": 0.1, "epochs": 2}
  started = []

  def fill(params):
    started.append(parallel.to_host(params))
    return params

  task = _Task([1.0, 2.0])
  params, _ = _train(task, tmp_path, fill, **fields)
  _assert_equal(params["encoder"], started[-1]["encoder"])
  for before, after in zip(
    jax.tree.leaves(started[-1]["Dense_0"]),
    jax.tree.leaves(params["Dense_0"]),
    strict=True,
  ):
    assert np.abs(before - after).max() > 1e-3

  # The optimizer holds nothing of it, and such a state can be restored.
  setup = train.prepare(task, _settings(**fields), [])
  state = jax.eval_shape(setup.fresh_state)
  assert "Dense_0" in str(state.opt_state)
  assert "encoder" not in str(state.opt_state)
  checkpoints = Checkpoints(tmp_path / "checkpoints", state, state.params)
  latest = checkpoints.latest()
  checkpoints.close()
  assert jax.tree.structure(latest) == jax.tree.structure(state)
  _assert_equal(latest.params, parallel.to_host(params))


@pytest.mark.parametrize("name", ["cross_entropy", "weighted_cross_entropy"])
def test_lazy_examples(name, tmp_path):
  """None is made before it is needed; class weights need each one once."""
  made: list[int] = []

  class Lazy(_Task):
    def training_examples(self, sentences):
      examples, lost = super().training_examples(sentences)

      def make(i: int) -> Example:
        made.append(i)
        return examples[i]

      return LazyExamples(np.array(self.lengths), make), lost

  task = Lazy([1.0], lengths=[3, 5] * 8, loss=losses.LOSSES[name])
  setup = train.prepare(task, _settings(epochs=1), [])
  if name == "weighted_cross_entropy":
    assert made == list(range(16))
    examples, _ = _Task.training_examples(task, [])
    ones = np.mean(np.concatenate([e.labels for e in examples]))
    assert 0.1 < ones < 0.9
    np.testing.assert_allclose(
      setup.loss.keywords["class_weights"], [2 * ones, 2 - 2 * ones], rtol=1e-6
    )
  else:
    assert made == []
    assert setup.loss is task.loss
  _, progress = _train(task, tmp_path, epochs=1)
  assert progress["examples"] == 16
  assert progress["step"] == 2


def test_no_examples(tmp_path):
  with pytest.raises(UserError, match="hold no mention to learn from"):
    _train(_Task(lengths=()), tmp_path)


def _no_gradient(logits, labels, weights):
  """Finite itself: sqrt(0)."""
  return jnp.sqrt(jnp.sum(0 * logits))


@pytest.mark.parametrize(
  ("loss", "learning_rate", "saved"),
  [(losses.cross_entropy, 1e30, True), (_no_gradient, 0.01, False)],
)
def test_what_is_not_finite_stops_training(
  loss, learning_rate, saved, tmp_path
):
  task = _Task([0.0] * 4, loss=loss)
  fields = {"learning_rate": learning_rate, "checkpoint_every": 1, "epochs": 4}
  with pytest.raises(UserError, match=r"lower config\.detector\.learning_rate"):
    _train(task, tmp_path, **fields)

  setup = train.prepare(task, _settings(**fields), [])
  state = jax.eval_shape(setup.fresh_state)
  checkpoints = Checkpoints(tmp_path / "checkpoints", state, state.params)
  assert bool(checkpoints.progress()) == saved
  if saved:
    for leaf in jax.tree.leaves(checkpoints.latest()):
      assert np.isfinite(leaf).all()
  checkpoints.close()


@pytest.mark.parametrize("sample", [300, 0])
def test_each_shape_is_traced_once(sample, tmp_path, monkeypatch):
  """And replicas stay equal. Without a sample, shapes are too small."""
  traces: collections.Counter = collections.Counter()
  make_step, compile_step = train.make_step, parallel.compile_step

  def traced(*args):
    step = make_step(*args)

    def counted(state, batch):
      traces[(batch["input_ids"].shape[-1], *_rows(batch))] += 1
      return step(state, batch)

    return counted

  def checked(step):
    run = compile_step(step)

    def checked_step(state, batch):
      state, measured = run(state, batch)
      parallel.check_replicas((state, measured))
      return state, measured

    return checked_step

  def _rows(batch):
    return [batch[f"char_{which}"].shape[-2] for which in ("short", "long")]

  monkeypatch.setattr(train, "make_step", traced)
  monkeypatch.setattr(parallel, "compile_step", checked)
  monkeypatch.setattr(
    Batcher,
    "fit_shapes",
    functools.partialmethod(Batcher.fit_shapes, sample=sample),
  )
  task = _Task([1.0, 2.0], ("char",), lengths=[4] * 12 + [20] * 12)
  _, progress = _train(task, tmp_path, epochs=2)

  *usual, overfull = [(length, *char) for length, char, _ in progress["shapes"]]
  assert traces.total() == len(traces)
  assert traces.keys() == {usual[0], overfull if not sample else usual[1]}


def test_killed_at_any_point_the_same_command_goes_on(session_cache, tmp_path):
  folder = session_cache / "tiny"
  undisturbed, _ = runs.finished(folder)
  workdir = tmp_path / "killed"
  for kill, said in (
    ("in an epoch", "detector: 40 examples"),
    ("in an evaluation", "detector: goes on at step 2"),
    ("between the tasks", "detector: goes on at step"),
    ("nowhere", "detector: already trained"),
  ):
    process = runs.run(workdir, folder, kill)
    killed = kill != "nowhere"
    assert process.returncode == (-signal.SIGKILL if killed else 0)
    assert said in process.stderr
    assert (workdir / "report.json").exists() != killed

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
