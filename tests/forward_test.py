"""The forward pass: its progress, and room for whatever it reads."""

import contextlib
import pathlib

import numpy as np
import pytest

from splitner_jax import forward, parallel
from splitner_jax.inputs.batches import Batcher
from splitner_jax.inputs.tokenizer import Example
from splitner_jax.data.sentences import Sentence
from tests import tiny_system


@pytest.mark.parametrize("progress", [True, False])
def test_a_bar_counts_the_inputs(
  progress: bool, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
  counts: list[int] = []
  options: dict = {}

  class Bar:
    update = staticmethod(counts.append)

  def bar(**given):
    options.update(given)
    return contextlib.nullcontext(Bar)

  monkeypatch.setattr(forward, "bar", bar)
  system = tiny_system.make(tmp_path)
  task = system.tasks["detector"]
  sentences = [Sentence(("a", "b")[: 1 + i % 2]) for i in range(20)]
  examples, _ = task.training_examples(sentences)
  run = forward.Forward(task, 8, progress=progress)
  assert len(run(system.params["detector"], examples)) == 20
  assert sum(counts) == options["total"] == 20
  assert len(counts) > 2
  assert options["disable"] is not progress


@pytest.mark.parametrize(
  ("share_of_long", "which"), [(0.0, 0), (0.05, 0), (0.2, 1), (1.0, 2)]
)
def test_room_for_distinct_texts(
  share_of_long: float, which: int, tmp_path: pathlib.Path
):
  """Unusual texts cost more, as little more as may be, and always fit."""
  task = tiny_system.make(tmp_path, features="both").tasks["detector"]
  devices = parallel.device_count()
  length, rows = 64, 8 * devices
  # Half of the tokens are distinct.
  texts = [f"{i:03d}" for i in range(length // 2)] * 2
  examples = []
  for row in range(rows):
    mine = [f"{row}{text}" for text in texts]
    for i in range(int(share_of_long * length)):
      mine[i] = f"much longer {row} {i}"
    zeros = np.zeros(length, np.int32)
    where = np.arange(length, dtype=np.int32)
    examples.append(
      Example(zeros, zeros, mine, 0, 0, where, zeros, zeros.astype(np.float32))
    )
  batcher = Batcher(examples, task.features, 0, devices, False)
  shapes = forward.Forward(task, rows)._shapes(length)
  used, batch = batcher.assemble(np.arange(rows), length, shapes)
  assert shapes.index(used) == which
  assert batch["char_long"].shape[1] == used.char[1]
