"""A classifier whose last layer starts from the names of the types."""

import dataclasses

import numpy as np

from splitner_jax.data.sentences import Sentence, Span
from splitner_jax.inference.forward import Forward, Programs
from splitner_jax.inputs import questions
from splitner_jax.runtime import devices
from splitner_jax.runtime.types import Json, Tree
from splitner_jax.tasks.mentions import MentionTask

_LENGTH = 0.5
"""Of each column: about that of a random one of 768 rows."""
_NAMES = 8  # That are read at a time.


def fill(params: Json, task: MentionTask) -> Tree:
  """Makes the column of each type point to the state of its name.

  A name is asked about as a mention that is its whole sentence; its state is
  what the last layer reads then. What all names have in common is taken away.

  Args:
    params: of the task, the backbone's weights in them.
    task: whose last layer it is.
  """
  names = [
    tuple(questions.type_name(label, {}).replace(",", " ").split())
    for label in task.labels
  ]
  head = params["classifier"]
  kernel = np.array(head["kernel"])
  size = len(kernel)
  # With this last layer, the logits are the states.
  reader = dataclasses.replace(
    task,
    model=task.model.clone(num_labels=size),
    labels=tuple(map(str, range(size))),
    none_class=False,
  )
  identity = {"kernel": np.eye(size, dtype="f4"), "bias": np.zeros(size, "f4")}
  states = reader.logits(
    Forward(
      Programs(reader, _NAMES),
      devices.replicate(params | {"classifier": identity}),
    ),
    [Sentence(words) for words in names],
    [[Span(0, len(words), "")] for words in names],
  )
  states = states - states.mean(axis=0)
  lengths = np.linalg.norm(states, axis=1, keepdims=True)
  # Of a single type nothing is left.
  kernel[:, : len(names)] = _LENGTH * (states / np.maximum(lengths, 1e-9)).T
  return params | {"classifier": {**head, "kernel": kernel}}
