"""How much of long work is done can be seen."""

import contextlib
import pathlib

import pytest

from splitner_jax import forward
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
