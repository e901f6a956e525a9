"""Training that begins with the parameters of an earlier model."""

import dataclasses
import logging
from collections.abc import Sequence

import numpy as np
from flax import traverse_util

from splitner_jax.inference import model_folder
from splitner_jax.inference.ner_model import NerModel
from splitner_jax.runtime import devices
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.types import Json, Tree
from splitner_jax.tasks import AnyTask

log = logging.getLogger(__name__)

# The last layer: a column for each label.
_HEAD = ("classifier",)
# A row for each part of speech; the first is of all others.
_POS = ("pos", "embedding")


def load(folder: str, kind: str) -> NerModel:
  """The model of `config.start_from`.

  Raises:
    UserError: it cannot be loaded, or is another kind of system.
  """
  model = model_folder.load(folder)
  if model.kind.name != kind:
    raise UserError(
      f"config.start_from: {folder} is {model.kind.title}; train it with "
      f"--config.system={model.kind.name}"
    )
  return model


def fill(params: Tree, task: AnyTask, model: NerModel) -> Tree:
  """Puts the parameters of a model's task into those of another one.

  Args:
    params: of the task, as it would start without the model.
    task: of the same name as the model's.
    model: whose parameters are taken: all of the encoder, and all else that has
      the same shape. Of the last layer the labels that both tasks have, and of
      the parts of speech those; what is new begins as it would without the
      model.

  Raises:
    UserError: the encoders differ.
  """
  before = model.tasks[task.name]
  if _sizes(task) != _sizes(before):
    raise UserError(
      "config.start_from: the model's encoder is another one than that of "
      f"config.backbone, by its sizes: {_difference(task, before)}; train with "
      "the backbone that it began with"
    )
  found = traverse_util.flatten_dict(devices.to_host(model.params[task.name]))
  filled, new = {}, set()
  for path, value in traverse_util.flatten_dict(params).items():
    value = np.array(value)
    other = found.get(path)
    if other is None:
      new.add("/".join(path))
    elif path[:1] == _HEAD and other.shape[:-1] == value.shape[:-1]:
      _take(value, other, task.logit_names, before.logit_names)
    elif path == _POS and other.shape[1] == value.shape[1]:
      _take(value.T, other.T, *map(_parts_of_speech, (task, before)))
    elif other.shape == value.shape:
      value = other
    else:
      new.add("/".join(path))
    filled[path] = value
  added = sorted(set(task.logit_names) - set(before.logit_names))
  log.info(
    "%s: starts from the model's parameters; new labels: %s; new parameters: "
    "%s",
    task.name,
    ", ".join(added) or "none",
    ", ".join(sorted(new)) or "none",
  )
  return traverse_util.unflatten_dict(filled)


def _take(
  value: np.ndarray,
  other: np.ndarray,
  names: Sequence[str],
  other_names: Sequence[str],
) -> None:
  """Writes into `value`, [..., C], the columns that `other` has by name."""
  for i, name in enumerate(names):
    if name in other_names:
      value[..., i] = other[..., other_names.index(name)]


def _parts_of_speech(task: AnyTask) -> Sequence[str]:
  return ("", *task.describe()["pos_tags"])


def _sizes(task: AnyTask) -> Json:
  """What decides the shapes and the meaning of an encoder's parameters."""
  sizes = dataclasses.asdict(task.model.encoder)
  for name in (
    "dtype",
    "rematerialise",
    "hidden_dropout",
    "attention_dropout",
  ):
    sizes.pop(name)
  return sizes


def _difference(task: AnyTask, before: AnyTask) -> str:
  mine, theirs = _sizes(task), _sizes(before)
  return ", ".join(
    f"{name} {theirs.get(name)} there, {mine.get(name)} here"
    for name in sorted(mine.keys() | theirs.keys())
    if mine.get(name) != theirs.get(name)
  )
