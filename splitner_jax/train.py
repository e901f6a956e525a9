"""Trains one task: data, model, state, restore, step, loop, evaluate, save."""

import dataclasses
import functools
import logging
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
import optax
import tensorboardX
from jax import numpy as jnp
from ml_collections import ConfigDict

from splitner_jax import losses, optimizer, parallel
from splitner_jax.checkpoint import Checkpoints
from splitner_jax.data.batches import (
  Batcher,
  BatchPlan,
  Shape,
  fit_buckets,
)
from splitner_jax.data.examples import example_lengths
from splitner_jax.data.sentences import Sentence
from splitner_jax.errors import UserError
from splitner_jax.forward import Forward
from splitner_jax.progress import bar as progress_bar
from splitner_jax.runtime import compile_clock
from splitner_jax.tasks import Task
from splitner_jax.train_step import (
  BACKBONE,
  Step,
  TrainState,
  init_params,
  make_step,
  split,
)

log = logging.getLogger(__name__)

SAVE_SECONDS = 300.0
"""A checkpoint is written at least this often."""
LOG_STEPS = 10
"""TensorBoard gets the loss every so many steps."""


@dataclasses.dataclass(frozen=True)
class Setup:
  """What is fixed before the first step.

  Attributes:
    plan: which examples make up each batch.
    shapes: shapes of the batches.
    batcher: makes the arrays.
    loss: the task's, of logits, labels and weights.
    transform: the optimizer.
    frozen: parts of the parameters that do not learn.
    total_steps: steps of all epochs.
    lost: gold mentions that no example holds, for their sentence is too long.
  """

  task: Task
  plan: BatchPlan
  shapes: list[Shape]
  batcher: Batcher
  loss: losses.Loss
  transform: optax.GradientTransformation
  frozen: tuple[str, ...]
  total_steps: int
  seed: int
  lost: int

  def batch(self, step: int) -> dict[str, np.ndarray]:
    """The arrays of a global step."""
    length, rows = self.plan.batch(step)
    _, batch = self.batcher.assemble(rows, length, self.shapes)
    del batch["row_mask"]
    return batch

  def fresh_state(self, fill: Callable[[Any], Any] = lambda p: p) -> TrainState:
    """The state before the first step, on one device.

    Args:
      fill: puts pretrained weights into fresh parameters.
    """
    params = fill(init_params(self.task, self.seed, self.batch(0)))
    trained, _ = split(params, self.frozen)
    return TrainState(
      jnp.zeros((), jnp.int32),
      jnp.asarray(self.seed, jnp.uint32),
      params,
      self.transform.init(trained),
    )

  def make_step(self) -> Step:
    """One training step, to be compiled by `parallel.compile_step`."""
    return make_step(self.task.model, self.loss, self.transform, self.frozen)

  def facts(self) -> dict[str, Any]:
    """What the report says of it."""
    return {
      "examples": len(self.plan.lengths),
      "gold_lost_to_length": self.lost,
      "padding": round(self.plan.padding(), 4),
      "shapes": [list(shape) for shape in self.shapes],
    }


def prepare(
  task: Task, settings: ConfigDict, sentences: Sequence[Sentence]
) -> Setup:
  """Examples, batches and optimizer of a task; see `train`."""
  devices = parallel.device_count()
  if settings.batch_size % devices:
    raise UserError(
      f"config.batch_size: {settings.batch_size} rows cannot be shared by "
      f"{devices} devices; use a multiple of {devices}"
    )
  examples, lost = task.training_examples(sentences)
  if not examples:
    raise UserError(
      f"{task.name}: the training sentences hold no mention to learn from"
    )
  lengths = example_lengths(examples)
  # The model may have no positions for what rounding adds.
  buckets = np.minimum(
    fit_buckets(lengths, settings.batch_size), task.tokenizer.max_length
  ).tolist()
  plan = BatchPlan(lengths, settings.batch_size, settings.seed, tuple(buckets))
  batcher = Batcher(
    examples,
    task.features,
    task.tokenizer.pad_id,
    devices,
    task.tokenizer.reference,
  )
  shapes = batcher.fit_shapes(plan)
  total_steps = settings.epochs * plan.steps_per_epoch
  transform = optimizer.make(
    optimizer.linear_decay(settings.learning_rate, max(total_steps, 1)),
    weight_decay=settings.weight_decay,
    clip_norm=settings.clip_norm,
  )
  log.info(
    "%s: %d examples, %d steps an epoch, %.1f%% padding, %d gold mentions "
    "lost to length; shapes (length, texts): %s",
    task.name,
    len(examples),
    plan.steps_per_epoch,
    100 * plan.padding(),
    lost,
    "; ".join(_describe(shape) for shape in shapes),
  )
  return Setup(
    task,
    plan,
    shapes,
    batcher,
    losses.bound(task.loss, ((e.labels, e.weights) for e in examples)),
    transform,
    (BACKBONE,) if settings.freeze_backbone else (),
    total_steps,
    settings.seed,
    lost,
  )


def fresh_progress() -> dict[str, Any]:
  """What a checkpoint knows beside the state; all of it JSON."""
  return {
    "step": 0,
    "best_f1": -1.0,
    "best_epoch": 0,
    "stale": 0,
    "finished": False,
    "evaluations": [],
    "epoch_seconds": [],
    "seconds": 0.0,
    "compile_seconds": 0.0,
  }


class _Stopwatch:
  """Training seconds of the current epoch, kept over restarts."""

  def __init__(self, progress: dict[str, Any]):
    self._progress = progress
    self._start, self._compiled = time.monotonic(), compile_clock.seconds

  def lap(self) -> None:
    """Books the time since the last lap, compile time apart."""
    now, compiled = time.monotonic(), compile_clock.seconds
    compiling = compiled - self._compiled
    self._progress["compile_seconds"] += compiling
    self._progress["seconds"] += now - self._start - compiling
    self._start, self._compiled = now, compiled

  def skip(self) -> None:
    """Leaves the time since the last lap out."""
    self._start, self._compiled = time.monotonic(), compile_clock.seconds


def train(
  task: Task,
  settings: ConfigDict,
  splits: tuple[Sequence[Sentence], Sequence[Sentence]],
  fill: Callable[[Any], Any],
  folder: pathlib.Path,
) -> tuple[Any, dict[str, Any]]:
  """Trains a task, or goes on where an earlier run of it was cut off.

  Args:
    task: what to train.
    settings: the task's part of the config, common fields filled in.
    splits: train and dev sentences.
    fill: puts pretrained weights into fresh parameters.
    folder: for checkpoints and TensorBoard.

  Returns:
    The parameters of the best dev F1, replicated, and the final progress (see
    `fresh_progress`) with `gold_lost_to_length`, `padding` and `shapes`.

  Raises:
    UserError: no examples, a batch that the devices cannot share, a loss that
      is not finite.
  """
  # Data.
  train_sentences, dev_sentences = splits
  setup = prepare(task, settings, train_sentences)
  plan, total_steps, facts = setup.plan, setup.total_steps, setup.facts()

  # State. Where parameters come from, the first that applies:
  # 1. a finished run: its best checkpoint; 2. a run that was cut off: its
  # latest checkpoint; 3. the backbone, with new heads.
  abstract = jax.eval_shape(setup.fresh_state)
  checkpoints = Checkpoints(folder / "checkpoints", abstract, abstract.params)
  progress = checkpoints.progress()
  if progress and progress["finished"]:
    log.info("%s: already trained", task.name)
    params = checkpoints.best()
    checkpoints.close()
    return params, progress | facts
  if progress:
    state = checkpoints.latest()
    log.info("%s: goes on at step %d", task.name, progress["step"])
  else:
    progress = fresh_progress()
    state = parallel.replicate(setup.fresh_state(fill))

  # Step.
  train_step = parallel.compile_step(setup.make_step())
  forward = Forward(task, settings.inference_batch_size, progress=True)
  writer = tensorboardX.SummaryWriter(
    str(folder / "tensorboard"), purge_step=progress["step"] or None
  )
  watch = _Stopwatch(progress)
  saved_at = time.monotonic()

  def batches(first: int, end: int) -> Iterator[Any]:
    for step in range(first, end):
      yield parallel.put_batch(setup.batch(step))

  def check(step: int, measured) -> None:
    """Looks at a step's metrics, once the next one is under way."""
    loss, norm = float(measured["loss"]), float(measured["grad_norm"])
    # A gradient may overflow before the loss does.
    if not np.isfinite(loss + norm):
      raise UserError(
        f"{task.name}: loss {loss}, gradient norm {norm} at step {step}; lower "
        f"config.{task.name}.learning_rate (now {settings.learning_rate:g})"
      )
    bar.set_postfix_str(
      f"loss {loss:.4f}, dev F1 {max(progress['best_f1'], 0):.2f}",
      refresh=False,
    )
    if step % LOG_STEPS == 0:
      writer.add_scalar("loss", loss, step)
      writer.add_scalar("gradient_norm", norm, step)

  def evaluate(epoch: int) -> None:
    scores = task.evaluate(
      functools.partial(forward, state.params), dev_sentences
    )
    if scores["f1"] > progress["best_f1"]:
      checkpoints.save_best(progress["step"], state.params)
      progress.update(best_f1=scores["f1"], best_epoch=epoch, stale=0)
    else:
      progress["stale"] += 1
    progress["evaluations"].append(scores)
    for name in ("precision", "recall", "f1"):
      writer.add_scalar(f"dev/{name}", scores[name], progress["step"])
    log.info(
      "%s: epoch %d of %d: dev F1 %.2f (precision %.2f, recall %.2f), best "
      "%.2f; by type: %s",
      task.name,
      epoch,
      settings.epochs,
      scores["f1"],
      scores["precision"],
      scores["recall"],
      progress["best_f1"],
      _per_type(scores),
    )

  # Loop.
  bar = progress_bar(
    total=total_steps, initial=progress["step"], desc=task.name, unit="step"
  )
  try:
    while not progress["finished"]:
      first = progress["step"]
      # Without epochs only the start is evaluated, as epoch 0.
      epoch = min(first // plan.steps_per_epoch + 1, settings.epochs)
      end = min(epoch * plan.steps_per_epoch, total_steps)
      pending = None
      for step, batch in enumerate(
        parallel.prefetch(batches(first, end)), first + 1
      ):
        state, measured = train_step(state, batch)
        if pending:
          check(*pending)
        pending = step, measured
        progress["step"] = step
        bar.update()
        late = time.monotonic() - saved_at > SAVE_SECONDS
        if step < end and (late or step % settings.checkpoint_every == 0):
          check(*pending)
          watch.lap()
          checkpoints.save_latest(step, state, progress, evaluated=False)
          saved_at = time.monotonic()
          watch.skip()
      if pending:
        check(*pending)
        watch.lap()
        progress["epoch_seconds"].append(round(progress["seconds"], 3))
        progress["seconds"] = 0.0
      evaluate(epoch)
      progress["finished"] = (
        progress["step"] >= total_steps
        or progress["stale"] >= settings.patience
      )
      checkpoints.save_latest(progress["step"], state, progress, evaluated=True)
      saved_at = time.monotonic()
      watch.skip()
  finally:
    bar.close()
    writer.close()
    checkpoints.wait()

  params = checkpoints.best()
  checkpoints.close()
  return params, progress | facts


def _describe(shape: Shape) -> str:
  texts = [
    f"{name} {size[0]}+{size[1]}"
    for name, size in (("char", shape.char), ("pattern", shape.pattern))
    if sum(size)
  ]
  return f"{shape.length}" + (f" ({', '.join(texts)})" if texts else "")


def _per_type(scores: dict[str, Any]) -> str:
  return ", ".join(
    f"{label} {row.get('f1', row['recall']):.1f}"
    for label, row in scores["per_type"].items()
  )
