"""Random weights, without compiling what a model's own start would need."""

import jax
import numpy as np
from flax import traverse_util

from splitner_jax.models.shapes import parameter_shapes
from splitner_jax.runtime import devices
from splitner_jax.runtime.types import Tree
from splitner_jax.tasks import Task
from splitner_jax.training.setup import Setup


def parameters(task: Task) -> Tree:
  """Parameters of a task's model, replicated: small, and never the same."""
  rng = np.random.default_rng(0)
  flat = {
    name: np.ones(shape, np.float32)
    if name.endswith("/scale")
    else rng.normal(0, 0.02, shape).astype(np.float32)
    for name, shape in parameter_shapes(task.model).items()
  }
  return devices.replicate(traverse_util.unflatten_dict(flat, sep="/"))


def state(setup: Setup) -> Tree:
  """A state before the first step, replicated."""
  shapes = jax.eval_shape(setup.init_state)
  zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
  return devices.replicate(zeros).replace(params=parameters(setup.task))
