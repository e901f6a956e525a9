"""A classifier that starts from what it sees in the names of the types."""

import dataclasses

import numpy as np

from splitner_jax.data.sentences import ScoredSpan, Sentence
from splitner_jax.inference.forward import Forward, Programs
from splitner_jax.inputs import questions
from splitner_jax.runtime import devices
from splitner_jax.runtime.types import Tree
from splitner_jax.tasks.mentions import MentionTask

_SCALE = 0.5


def fill(params: Tree, task: MentionTask) -> Tree:
  """Makes each column of the last layer the state of a type's name.

  A name is asked about as if it were a mention and all of a sentence. What all
  names have in common is taken away.

  Args:
    params: filled from the backbone.
    task: whose last layer it is.
  """
  names = [
    tuple(questions.type_name(label, {}).replace(",", " ").split())
    for label in task.labels
  ]
  kernel = np.array(params["classifier"]["kernel"])
  size = len(kernel)
  # Its logits are the states.
  reader = dataclasses.replace(
    task,
    model=task.model.clone(num_labels=size),
    labels=tuple(f"state {i}" for i in range(size)),
    none_class=False,
  )
  identity = {
    "kernel": np.eye(size, dtype=np.float32),
    "bias": np.zeros(size, np.float32),
  }
  states = reader.logits(
    Forward(
      Programs(reader, 8), devices.replicate(params | {"classifier": identity})
    ),
    [Sentence(words) for words in names],
    [[ScoredSpan(0, len(words), "", 1.0)] for words in names],
  )
  states = states - states.mean(axis=0)
  states /= np.linalg.norm(states, axis=1, keepdims=True) + 1e-9
  kernel[:, : len(names)] = _SCALE * states.T
  return params | {"classifier": {**params["classifier"], "kernel": kernel}}
