"""One training step: the state, how it starts, how a batch changes it."""

import zlib
from collections.abc import Callable, Collection

import flax.struct
import jax
import optax
from flax import linen as nn
from jax import numpy as jnp

from splitner_jax.inputs.batches import Batch
from splitner_jax.inputs.packing import Layout
from splitner_jax.runtime import devices
from splitner_jax.runtime.types import Json, Tree
from splitner_jax.tasks import Task
from splitner_jax.training import agreement, losses
from splitner_jax.training.losses import Loss

BACKBONE = "encoder"
"""The backbone's place among a model's parameters."""


class TrainState(flax.struct.PyTreeNode):
  """All that a step changes, and the seed of its random numbers."""

  step: jax.Array
  seed: jax.Array
  params: Tree
  opt_state: Tree


Step = Callable[[TrainState, Tree], tuple[TrainState, dict[str, jax.Array]]]


def init_params(
  task: Task,
  seed: int,
  batch: Batch,
  fill: Callable[[Tree], Tree] | None = None,
) -> Tree:
  """Fresh parameters, from one device's part of any batch.

  Args:
    task: whose they are.
    seed: of their values, together with the task's name.
    batch: for the shapes.
    fill: puts pretrained weights into them, those of the whole backbone among
      them; None: all stay fresh.
  """
  # Tasks with one seed must not start alike.
  key = jax.random.fold_in(jax.random.key(seed), zlib.crc32(task.name.encode()))
  arrays = {name: value[0] for name, value in batch.arrays.items()}

  def init(key: jax.Array, arrays: Tree) -> Tree:
    params = task.model.init(key, arrays, batch.layout)["params"]
    if fill is None:
      return params
    # Random numbers for what is replaced would take seconds to compile.
    zeros = jax.tree.map(jnp.zeros_like, params[BACKBONE])
    return {**params, BACKBONE: zeros}

  params = jax.jit(init)(key, arrays)
  return params if fill is None else fill(params)


def split(params: Json, frozen: Collection[str]) -> tuple[Json, Json]:
  """Parameters that learn, and those of the parts that do not."""
  return (
    {name: part for name, part in params.items() if name not in frozen},
    {name: part for name, part in params.items() if name in frozen},
  )


def make_step(
  model: nn.Module,
  layout: Layout,
  loss: Loss,
  transform: optax.GradientTransformation,
  frozen: Collection[str] = (),
) -> Step:
  """One training step, to be compiled by `devices.compile_step`.

  Args:
    model: what is trained.
    layout: the rows of one device.
    loss: of logits, labels and weights (see `losses.bind`).
    transform: the optimizer, whose updates are for a learning rate of 1; it
      only sees what learns (see `split`). The batch brings `learning_rate`.
    frozen: top-level parts of the parameters that keep their values. The
      loss is not differentiated by them, which spares the backward pass.
  """

  adds_up = losses.adds_up(loss)

  def seen(rows):
    """The rows that the loss has to see on each device."""
    return rows if adds_up else devices.global_rows(rows)

  def step(state: TrainState, batch):
    key = devices.device_key(state.seed, state.step)
    labels, weights = seen(batch["labels"]), seen(batch["weights"])
    trained, kept = split(state.params, frozen)

    def loss_of(trained):
      logits = model.apply(
        {"params": trained | kept}, batch, layout, False, rngs={"dropout": key}
      )
      return loss(seen(logits), labels, weights)

    value, grads = jax.value_and_grad(loss_of)(trained)
    if adds_up:
      value = devices.sum_over_devices(value)
    grads = devices.sum_over_devices(grads)
    updates, opt_state = transform.update(grads, state.opt_state, trained)
    updates = optax.tree.scale(batch["learning_rate"], updates)
    metrics = {"loss": value, "grad_norm": optax.tree.norm(grads)}
    if agreement.NAME in batch:
      wishes = batch[agreement.NAME]
      metrics[agreement.NAME] = devices.sum_over_devices(wishes)
    new_state = state.replace(
      step=state.step + 1,
      params=optax.apply_updates(trained, updates) | kept,
      opt_state=opt_state,
    )
    return new_state, metrics

  return step
