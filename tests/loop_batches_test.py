"""Which batches training reads, and what else is fixed before it."""

import collections

import numpy as np
import pytest

from splitner_jax.inputs.packing import num_tokens, split_layout
from splitner_jax.runtime import devices
from splitner_jax.training import loop, losses
from splitner_jax.training.checkpoints import Checkpoints
from splitner_jax.training.step import make_step
from tests import parallel_tasks, random_examples, tiny_training
from tests.tiny_training import Task, settings


def test_the_loss_knows_all_labels():
  examples = random_examples.make((4,) * 16)
  counts = np.bincount(examples.labels, examples.weights)
  weighted = settings(detector={"loss": "weighted_cross_entropy"})
  setup = loop.prepare(Task(), weighted, [])
  given = setup.loss.keywords
  np.testing.assert_allclose(
    given["class_weights"] * counts,
    np.full(4, given["class_weights"] @ counts / 4),
  )
  # Of each of the two batches, on average.
  assert given["total"] == pytest.approx(given["class_weights"] @ counts / 2)
  own = loop.prepare(Task(), settings(loss_average="batch"), [])
  assert own.loss is losses.cross_entropy


def test_rows_that_devices_cannot_share(caplog):
  """Of five rows of 16, which four devices read as eight."""
  fields = {"row_length": 16, "batch_size": 5}
  task = Task(lengths=(16,) * 10)
  with caplog.at_level("INFO", "splitner_jax"):
    setup = loop.prepare(task, settings(**fields), [])
  assert setup.facts()["shapes"][0].startswith("5 x 16 tokens")
  assert setup.layouts() == [((2, 16),)]
  assert "empty rows make up for 4 devices: 60% more tokens" in caplog.text


def _arrays(batches) -> list[dict[str, np.ndarray]]:
  return [batch.arrays for batch, _ in batches]


def test_learning_rate_falls_with_what_was_read():
  task = Task(lengths=[3, 5, 2] * 8)
  setup = loop.prepare(task, settings(epochs=3, learning_rate=0.5), [])
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
  task = Task(lengths=[3, 5, 2] * 8)
  setup = loop.prepare(task, settings(epochs=3), [])
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
    self.options, self.counts, self.text = options, [], ""

  def update(self, count: int):
    self.counts.append(count)

  def set_postfix_str(self, text: str, refresh: bool):
    self.text = text

  def close(self):
    pass


@pytest.mark.parametrize(
  ("rows", "known"),
  [
    pytest.param(0, True, id="same machine"),
    pytest.param(256, True, id="another one"),
    pytest.param(0, False, id="older checkpoint"),
  ],
)
def test_a_run_goes_on_in_the_middle_of_an_epoch(
  rows, known, tmp_path, monkeypatch
):
  """With the batches that it would have read, one step for each."""
  fields = {"epochs": 2, "batch_size": 4, "checkpoint_every": 2}
  task = Task([1.0, 2.0], lengths=[3, 5, 2, 8] * 6)
  setup = loop.prepare(task, settings(**fields), [])
  epochs = [_arrays(setup.batches(epoch)) for epoch in range(2)]
  assert min(map(len, epochs)) > 4
  bars, seen = [], []

  def compile_step(step):
    def learn_nothing(state, arrays):
      seen.append(devices.to_host(arrays))
      return state, {"loss": 1.5, "grad_norm": 1.0}

    return learn_nothing

  def bar(**options):
    bars.append(_Bar(**options))
    return bars[-1]

  save = Checkpoints.save_latest

  def save_and_fall(self, step: int, state, progress, **kwargs):
    if not known:
      progress = {n: x for n, x in progress.items() if n != "row_length"}
    save(self, step, state, progress, **kwargs)
    if step > len(epochs[0]):
      raise KeyboardInterrupt

  monkeypatch.setattr(devices, "compile_step", compile_step)
  monkeypatch.setattr(loop, "progress_bar", bar)
  with monkeypatch.context() as patch:
    patch.setattr(Checkpoints, "save_latest", save_and_fall)
    with pytest.raises(KeyboardInterrupt):
      tiny_training.run(task, tmp_path, **fields)
  # A few batches of the second epoch are read.
  cut = len(seen)
  assert 0 < cut - len(epochs[0]) < len(epochs[1]) - 1
  monkeypatch.setattr(devices, "row_length", lambda: rows)
  _, progress = tiny_training.run(task, tmp_path, **fields)
  np.testing.assert_equal(seen, [*epochs[0], *epochs[1]])
  assert len(task.evaluated) == 2
  assert progress["step"] == len(seen)
  # The bars count examples.
  first, second = bars
  assert first.options["total"] == second.options["total"] == 48
  assert first.options["initial"] == 0
  assert second.options["initial"] == sum(first.counts) > 24
  assert [len(bar.counts) for bar in bars] == [cut, len(seen) - cut]
  assert sum(first.counts + second.counts) == 48
  assert second.text.startswith("loss 1.5000")


def test_each_shape_is_traced_once(tmp_path, monkeypatch):
  """And replicas stay equal."""
  traces: collections.Counter = collections.Counter()
  compile_step = devices.compile_step

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
      parallel_tasks.check_replicas((state, measured))
      return state, measured

    return checked_step

  monkeypatch.setattr("splitner_jax.training.setup.make_step", traced)
  monkeypatch.setattr(devices, "compile_step", checked)
  task = Task([1.0, 2.0], ("char",), lengths=[8] * 40 + [128])
  _, progress = tiny_training.run(task, tmp_path, epochs=2)
  setup = loop.prepare(task, settings(epochs=2), [])
  # One for usual examples, and one for the longest.
  assert len(progress["shapes"]) == 2
  assert traces == dict.fromkeys(setup.layouts(), 1)
  assert [num_tokens(layout) for layout in traces] == [
    num_tokens(split_layout(shape.layout, 4)) for shape in setup.plan.shapes
  ]
