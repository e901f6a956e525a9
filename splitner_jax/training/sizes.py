"""Sizes of batches: what cannot fit is refused before a plan is made of it."""

import logging
from collections.abc import Iterable

import numpy as np
from ml_collections import ConfigDict

from splitner_jax.inputs.packing import Shape, num_tokens, split_layout
from splitner_jax.models.transformer import EncoderConfig
from splitner_jax.runtime import sizes
from splitner_jax.runtime.errors import UserError
from splitner_jax.tasks import Task

log = logging.getLogger(__name__)


def check(
  task: Task, settings: ConfigDict, lengths: np.ndarray, batch_size: float
) -> None:
  """Compares what the batches of a training take with the memory.

  Counted is the least that a step keeps for its backward pass: of each token
  and layer its input, queries, keys, values and the feed-forward part.

  Args:
    task: what is trained; nothing is known of a model without an `encoder`.
    settings: the task's part of the config, common fields filled in.
    lengths: int[N] tokens of the examples.
    batch_size: examples that a batch holds.

  Raises:
    UserError: they cannot fit.
  """
  encoder: EncoderConfig | None = getattr(task.model, "encoder", None)
  if encoder is None:
    return
  number = 4 if encoder.dtype == "float32" else 2
  width = encoder.hidden_size
  if not settings.rematerialise:
    width = 4 * encoder.hidden_size + encoder.intermediate_size
  of_token = encoder.num_layers * width * number
  sizes.check_fits(
    batch_size * float(lengths.mean()) * of_token,
    f"config.batch_size: {settings.batch_size} in the {task.name}",
    "lower it",
  )
  # A row is never shorter than this, and each token of it sees the others.
  row = settings.row_length
  sizes.check_fits(
    row * (of_token + row * encoder.num_heads * number),
    f"config.row_length: {row} in the {task.name}",
    "lower it",
  )


def check_steps(settings: ConfigDict, batches: float) -> None:
  """Raises UserError if gradients are collected for a step that never comes."""
  total = settings.epochs * batches
  if settings.epochs and settings.accumulate_steps > max(1, total):
    raise UserError(
      f"config.accumulate_steps: {settings.accumulate_steps} is more than the "
      f"{round(total)} batches of the training; lower it"
    )


def tell_empty_rows(task: str, shapes: Iterable[Shape], devices: int) -> None:
  """Says what it costs that rows are no multiple of the devices."""
  for shape in shapes:
    tokens = num_tokens(shape.layout)
    more = devices * num_tokens(split_layout(shape.layout, devices)) - tokens
    if more:
      log.info(
        "%s: empty rows make up for %d devices: %.0f%% more tokens in a batch; "
        "another config.batch_size or config.row_length may need fewer",
        task,
        devices,
        100 * more / tokens,
      )
