"""The training loop, on a model that compiles in no time."""

import collections
import dataclasses
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
from splitner_jax.errors import UserError
from splitner_jax.inputs.examples import Examples
from splitner_jax.inputs.packing import num_tokens, split_layout
from splitner_jax.settings import task_settings
from tests import random_examples, runs


class _Model(nn.Module):
  """Has all inputs, dropout and outputs of a tagger, and hardly a weight."""

  @nn.compact
  def __call__(self, batch, layout, deterministic: bool = True) -> jax.Array:
    assert len(batch["input_ids"]) == num_tokens(layout)
    x = nn.Embed(50, 4, name="encoder")(batch["input_ids"])[batch["targets"]]
    if "char_index" in batch:
      rows = [batch[f"char_{which}"].sum(1) for which in ("short", "long")]
      x += jnp.concatenate(rows)[batch["char_index"]][..., None] / 1000
    return nn.Dense(4)(nn.Dropout(0.1)(x, deterministic))


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
  targets_per_token: ClassVar = 1.0
  reads: bool = False
  evaluated: list[Any] = dataclasses.field(default_factory=list)

  def training_examples(self, sentences) -> tuple[Examples, int]:
    return random_examples.make(self.lengths), 3

  def evaluate(self, run: Callable, sentences) -> dict[str, Any]:
    # `train` binds the parameters to the forward pass.
    self.evaluated.append(parallel.to_host(run.args[0]))
    if self.reads:
      examples, _ = self.training_examples(sentences)
      assert len(run(examples)) == len(examples.targets)
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
  task = _Task([10.0, 30.0, 20.0, 30.0, 99.0], reads=True)
  params, progress = _train(task, folder, epochs=10, patience=2)
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


def test_the_loss_knows_all_labels():
  examples = random_examples.make((4,) * 16)
  counts = np.bincount(examples.labels, examples.weights)
  loss = losses.weighted_cross_entropy
  setup = train.prepare(_Task(loss=loss), _settings(), [])
  given = setup.loss.keywords
  np.testing.assert_allclose(
    given["class_weights"] * counts,
    np.full(4, given["class_weights"] @ counts / 4),
  )
  # Of each of the two batches, on average.
  assert given["total"] == pytest.approx(given["class_weights"] @ counts / 2)
  own = train.prepare(_Task(), _settings(loss_average="batch"), [])
  assert own.loss is losses.cross_entropy


def test_rows_that_devices_cannot_share(caplog):
  """Of five rows of 16, which four devices read as eight."""
  fields = {"row_length": 16, "batch_size": 5}
  task = _Task(lengths=(16,) * 10)
  with caplog.at_level("INFO", "splitner_jax"):
    setup = train.prepare(task, _settings(**fields), [])
  assert setup.facts()["shapes"][0].startswith("5 x 16 tokens")
  assert setup.layouts() == [((2, 16),)]
  assert "empty rows make up for 4 devices: 60% more tokens" in caplog.text


def _arrays(batches) -> list[dict[str, np.ndarray]]:
  return [batch.arrays for batch, _ in batches]


def test_learning_rate_falls_with_what_was_read():
  task = _Task(lengths=[3, 5, 2] * 8)
  setup = train.prepare(task, _settings(epochs=3, learning_rate=0.5), [])
  before = 0
  for epoch in range(3):
    read = 0
    for batch, now in setup.batches(epoch):
      rates = batch.arrays["learning_rate"]
      assert (rates.shape, rates.dtype) == ((4,), np.float32)
      np.testing.assert_allclose(rates, 0.5 * (1 - before / (3 * 24)))
      before += now - read
      assert now > read
      read = now
    assert read == 24
  assert before == 3 * 24


def test_batches_of_the_rest_of_an_epoch():
  task = _Task(lengths=[3, 5, 2] * 8)
  setup = train.prepare(task, _settings(epochs=3), [])
  whole = list(setup.batches(1))
  assert len(whole) > 2
  for first in range(1, len(whole) + 1):
    rest = setup.batches(1, first, whole[first - 1][1])
    np.testing.assert_equal(_arrays(rest), _arrays(whole[first:]))
  # Each epoch has its own.
  with pytest.raises(AssertionError):
    np.testing.assert_equal(_arrays(setup.batches(0)), _arrays(whole))


class _Bar:
  """Stands in for a progress bar; keeps what it is told."""

  def __init__(self, **options):
    self.options, self.counts = options, []

  def update(self, count: int):
    self.counts.append(count)

  def set_postfix_str(self, text: str, refresh: bool):
    self.text = text

  def close(self):
    pass


def test_a_run_goes_on_in_the_middle_of_an_epoch(tmp_path, monkeypatch):
  bars, seen = [], []
  put_batch = parallel.put_batch

  def put(arrays):
    seen.append(arrays)
    return put_batch(arrays)

  def bar(**options):
    bars.append(_Bar(**options))
    return bars[-1]

  monkeypatch.setattr(parallel, "put_batch", put)
  monkeypatch.setattr(train, "progress_bar", bar)
  fields = {"epochs": 2, "batch_size": 4, "checkpoint_every": 2}

  def task():
    return _Task([1.0, 2.0], lengths=[3, 5, 2, 8] * 6)

  params, progress = _train(task(), tmp_path / "whole", **fields)
  whole = seen.copy()
  per_epoch = len(whole) // 2
  assert per_epoch > 4
  assert progress["step"] == len(whole)
  assert bars[0].options["total"] == sum(bars[0].counts) == 2 * 24
  assert len(bars[0].counts) == len(whole)
  assert bars[0].text.startswith("loss ")

  # After two batches of the second epoch.
  save = Checkpoints.save_latest

  def save_and_fall(self, step: int, *args, **kwargs):
    save(self, step, *args, **kwargs)
    if step > per_epoch:
      raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(Checkpoints, "save_latest", save_and_fall)
    with pytest.raises(KeyboardInterrupt):
      _train(task(), tmp_path / "cut", **fields)
  saved = sum(bars[1].counts)
  assert 24 < saved < 48
  seen.clear()
  again, same = _train(task(), tmp_path / "cut", **fields)
  np.testing.assert_equal(seen, whole[len(bars[1].counts) :])
  assert len(seen) % per_epoch
  assert bars[2].options["initial"] == saved
  assert saved + sum(bars[2].counts) == 48
  _assert_equal(again, parallel.to_host(params))
  for name in ("step", "epoch", "best_epoch", "evaluations", "padding"):
    assert same[name] == progress[name]


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


def test_each_shape_is_traced_once(tmp_path, monkeypatch):
  """And replicas stay equal."""
  traces: collections.Counter = collections.Counter()
  make_step, compile_step = train.make_step, parallel.compile_step

  def traced(model, layout, *args):
    step = make_step(model, layout, *args)

    def counted(state, batch):
      traces[layout] += 1
      return step(state, batch)

    return counted

  def checked(step):
    run = compile_step(step)

    def checked_step(state, batch):
      state, measured = run(state, batch)
      parallel.check_replicas((state, measured))
      return state, measured

    return checked_step

  monkeypatch.setattr(train, "make_step", traced)
  monkeypatch.setattr(parallel, "compile_step", checked)
  task = _Task([1.0, 2.0], ("char",), lengths=[8] * 40 + [128])
  _, progress = _train(task, tmp_path, epochs=2)
  setup = train.prepare(task, _settings(epochs=2), [])
  # One for usual examples, and one for the longest.
  assert len(progress["shapes"]) == 2
  assert traces == dict.fromkeys(setup.layouts(), 1)
  assert [num_tokens(layout) for layout in traces] == [
    num_tokens(split_layout(shape.layout, 4)) for shape in setup.plan.shapes
  ]


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
