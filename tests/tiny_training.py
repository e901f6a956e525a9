"""A task whose model compiles in no time, to train on random examples."""

import dataclasses
import pathlib
import types
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax
from flax import linen as nn
from jax import numpy as jnp
from ml_collections import ConfigDict

from configs import common
from splitner_jax.experiment.settings import task_settings
from splitner_jax.inference.forward import Forward, Programs
from splitner_jax.inputs.examples import Examples
from splitner_jax.inputs.packing import num_tokens
from splitner_jax.runtime import devices
from splitner_jax.training import loop
from tests import random_examples


class Model(nn.Module):
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
class Task:
  """As much of a task as `train` asks for; its dev scores are given.

  Attributes:
    f1: of each evaluation.
    lengths: of the examples.
    reads: whether an evaluation runs the model.
    evaluated: the parameters that each evaluation was given.
  """

  f1: Sequence[float] = ()
  features: tuple[str, ...] = ()
  lengths: Sequence[int] = (4,) * 16
  name: str = "detector"
  model: nn.Module = dataclasses.field(default_factory=Model)
  tokenizer: ClassVar = types.SimpleNamespace(
    pad_id=0, reference=False, max_length=512
  )
  targets_per_token: ClassVar = 1.0
  reads: bool = False
  evaluated: list[Any] = dataclasses.field(default_factory=list)

  def batch_items(self, examples: Examples) -> int:
    return len(examples)

  def training_examples(self, sentences) -> tuple[Examples, int]:
    return random_examples.make(self.lengths), 3

  def evaluate(self, run: Forward, sentences, decoding) -> dict[str, Any]:
    del decoding
    # `train` binds the parameters to the forward pass.
    self.evaluated.append(devices.to_host(run.params))
    if self.reads:
      examples, _ = self.training_examples(sentences)
      assert len(run(examples)) == len(examples.targets)
    f1 = self.f1[len(self.evaluated) - 1]
    return {"precision": f1, "recall": f1, "f1": f1, "per_type": {}}


def settings(name: str = "detector", **fields: Any) -> ConfigDict:
  """The task's part of a config."""
  config = common.get_config()
  config.update({"batch_size": 8, "learning_rate": 0.01, **fields})
  return task_settings(config, name)


def run(
  task: Task,
  folder: pathlib.Path,
  fill: Callable[[Any], Any] = lambda params: params,
  **fields: Any,
) -> tuple[Any, dict[str, Any]]:
  """Trains it; see `loop.train`."""
  programs = Programs(task)
  return loop.train(programs, settings(**fields), ([], []), fill, folder)
