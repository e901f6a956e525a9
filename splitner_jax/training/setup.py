"""What is fixed before the first step of a training: batches and optimizer."""

import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import optax
from jax import numpy as jnp
from ml_collections import ConfigDict

from splitner_jax.data.sentences import Sentence
from splitner_jax.inputs.batches import Batch, Batcher
from splitner_jax.inputs.packing import Layout, split_layout
from splitner_jax.inputs.plan import Plan, make_plan
from splitner_jax.inputs.text_tables import TextKeys
from splitner_jax.runtime import devices
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.types import Json, Tree
from splitner_jax.tasks import Task
from splitner_jax.training import losses, optimizer, replacing, sizes
from splitner_jax.training.step import (
  BACKBONE,
  Step,
  TrainState,
  init_params,
  make_step,
  split,
)

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Setup:
  """What is fixed before the first step.

  Attributes:
    plan: which examples make up each batch.
    row_length: with which it was made, see `make_plan`.
    batcher: makes the arrays.
    loss: the task's, of logits, labels and weights.
    transform: the optimizer.
    frozen: parts of the parameters that do not learn.
    learning_rate: at the first step.
    epochs: how many there are.
    lost: gold mentions that no example holds, for their sentence is too long.
  """

  task: Task
  plan: Plan
  row_length: int
  batcher: Batcher
  loss: losses.Loss
  transform: optax.GradientTransformation
  frozen: tuple[str, ...]
  learning_rate: float
  epochs: int
  lost: int

  def batches(
    self, epoch: int, first: int = 0, read: int = 0
  ) -> Iterator[tuple[Batch, int]]:
    """The batches of an epoch, with the learning rate of their step.

    Args:
      epoch: from 0.
      first: how many of the epoch's batches are left out.
      read: examples that these held.

    Yields:
      A batch, and how many examples of the epoch are read with it.
    """
    for placement in self.plan.epoch(epoch, first):
      batch = self.batcher.assemble(placement)
      share = (epoch + read / self.plan.count) / max(self.epochs, 1)
      rate = optimizer.linear_decay(self.learning_rate, share)
      own = len(self.batcher.own)
      batch.arrays["learning_rate"] = np.full(own, rate, np.float32)
      read += len(placement.examples)
      yield batch, read

  def init_state(
    self, fill: Callable[[Tree], Tree] | None = None
  ) -> TrainState:
    """The state before the first step, on one device.

    Args:
      fill: of `init_params`.
    """
    batch, _ = next(self.batches(0))
    params = init_params(self.task, self.plan.seed, batch, fill)
    trained, _ = split(params, self.frozen)
    return TrainState(
      jnp.zeros((), jnp.int32),
      jnp.asarray(self.plan.seed, jnp.uint32),
      params,
      self.transform.init(trained),
    )

  def layouts(self) -> list[Layout]:
    """The rows of one device, for each shape of a batch."""
    num_devices = devices.device_count()
    return [split_layout(s.layout, num_devices) for s in self.plan.shapes]

  def make_step(self, layout: Layout) -> Step:
    """One training step, to be compiled by `devices.compile_step`."""
    return make_step(
      self.task.model, layout, self.loss, self.transform, self.frozen
    )

  def facts(self) -> Json:
    """What the report says of it."""
    return {
      "examples": self.plan.count,
      "batches": round(self.plan.batches),
      "gold_lost_to_length": self.lost,
      "padding": round(self.plan.padding, 4),
      "shapes": [shape.describe() for shape in self.plan.shapes],
    }


def prepare(
  task: Task,
  settings: ConfigDict,
  sentences: Sequence[Sentence],
  row_length: int | None = None,
) -> Setup:
  """Examples, batches and optimizer of a task.

  Args:
    task, settings: see `loop.train`.
    sentences: to train on.
    row_length: of the rows; None: what the settings say, or suits the machine.

  Raises:
    UserError: no examples, or settings that do not fit them.
  """
  if settings.replace_mentions:
    sentences = replacing.with_replaced(
      sentences, settings.replace_mentions, settings.seed
    )
  examples, lost = task.training_examples(sentences)
  if not len(examples):
    what = "mention in the training sentences" if sentences else "sentence"
    raise UserError(
      f"{task.name}: there is no {what}, so nothing to learn from; add some"
    )
  size = settings.batch_size * len(examples) / task.batch_items(examples)
  sizes.check(task, settings, examples.lengths, size)
  text_keys = TextKeys(examples, task.features, task.tokenizer.reference)
  if row_length is None:
    row_length = settings.row_length or devices.row_length()
  plan = make_plan(
    examples,
    text_keys,
    batch_size=size,
    seed=settings.seed,
    row_length=row_length,
  )
  sizes.check_steps(settings, plan.batches)
  num_devices = devices.device_count()
  transform = optimizer.make(
    weight_decay=settings.weight_decay,
    clip_norm=settings.clip_norm,
    accumulate_steps=settings.accumulate_steps,
  )
  log.info(
    "%s: %d examples, about %d batches an epoch, %.1f%% padding, %d gold "
    "mentions lost to length; shapes: %s",
    task.name,
    len(examples),
    plan.batches,
    100 * plan.padding,
    lost,
    "; ".join(shape.describe() for shape in plan.shapes),
  )
  sizes.tell_empty_rows(task.name, plan.shapes, num_devices)
  return Setup(
    task,
    plan,
    row_length,
    Batcher(
      examples,
      task.features,
      text_keys,
      task.tokenizer.pad_id,
      num_devices,
      devices.own_devices(),
    ),
    losses.bind(
      losses.LOSSES[settings.loss],
      examples.labels,
      examples.weights,
      plan.batches,
      settings.loss_average,
    ),
    transform,
    (BACKBONE,) if settings.freeze_backbone else (),
    settings.learning_rate,
    settings.epochs,
    lost,
  )
