"""Trains one task: data, model, state, restore, step, loop, evaluate, save."""

import dataclasses
import logging
import pathlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
import optax
from jax import numpy as jnp
from ml_collections import ConfigDict

from splitner_jax.data.sentences import Sentence
from splitner_jax.inference.forward import Forward, Programs
from splitner_jax.inputs.batches import Batch, Batcher
from splitner_jax.inputs.packing import Layout, split_layout
from splitner_jax.inputs.plan import Plan, make_plan
from splitner_jax.inputs.text_tables import TextKeys
from splitner_jax.runtime import buckets, devices, memory, processes, signals
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.progress import bar as progress_bar
from splitner_jax.runtime.types import Json, Tree
from splitner_jax.tasks import Task
from splitner_jax.tasks.decoding import Decoding
from splitner_jax.training import curves, losses, optimizer, replacing, sizes
from splitner_jax.training.agreement import Agreement, Wishes
from splitner_jax.training.checkpoints import Checkpoints
from splitner_jax.training.progress import Stopwatch, fresh_progress
from splitner_jax.training.step import (
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
EVALUATION_SECONDS = 30.0
"""An evaluation is begun with a checkpoint not older than this."""
LOG_STEPS = 10
"""TensorBoard gets the loss every so many steps."""


@dataclasses.dataclass(frozen=True)
class Setup:
  """What is fixed before the first step.

  Attributes:
    plan: which examples make up each batch.
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
  task: Task, settings: ConfigDict, sentences: Sequence[Sentence]
) -> Setup:
  """Examples, batches and optimizer of a task; see `train` below."""
  if settings.replace_mentions:
    sentences = replacing.with_replaced(
      sentences, settings.replace_mentions, settings.seed
    )
  examples, lost = task.training_examples(sentences)
  if not len(examples):
    raise UserError(
      f"{task.name}: the training sentences hold no mention to learn from"
    )
  size = settings.batch_size * len(examples) / task.batch_items(examples)
  sizes.check(task, settings, examples.lengths, size)
  text_keys = TextKeys(examples, task.features, task.tokenizer.reference)
  plan = make_plan(
    examples,
    text_keys,
    batch_size=size,
    seed=settings.seed,
    row_length=settings.row_length or devices.row_length(),
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


def train(
  programs: Programs,
  settings: ConfigDict,
  splits: tuple[Sequence[Sentence], Sequence[Sentence]],
  fill: Callable[[Tree], Tree],
  folder: pathlib.Path,
  decoding: Decoding | None = None,
  mirror: buckets.Mirror = buckets.DISK,
) -> tuple[Tree, Json]:
  """Trains a task, or goes on where an earlier run of it was cut off.

  Args:
    programs: of the task to train; they evaluate it.
    settings: the task's part of the config, common fields filled in.
    splits: train and dev sentences.
    fill: puts pretrained weights into fresh parameters.
    folder: for checkpoints and TensorBoard.
    decoding: of the evaluations, if not the usual one.
    mirror: of the run's folder.

  Returns:
    The parameters of the best dev F1, replicated, and the final progress (see
    `fresh_progress`) with what `Setup.facts` says.

  Raises:
    UserError: no examples, or a loss that is not finite.
  """
  # Data.
  task = programs.task
  train_sentences, dev_sentences = splits
  setup = prepare(task, settings, train_sentences)
  plan, facts = setup.plan, setup.facts()

  # State. Where parameters come from, the first that applies:
  # 1. a finished run: its best checkpoint; 2. a run that was cut off: its
  # latest checkpoint; 3. the backbone, with new heads.
  abstract = jax.eval_shape(setup.init_state)
  kept = mirror.place(folder / "checkpoints")
  checkpoints = Checkpoints(kept, abstract, abstract.params)
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
    state = devices.replicate(setup.init_state(fill))

  # Step.
  train_steps = {
    layout: devices.compile_step(setup.make_step(layout))
    for layout in setup.layouts()
  }
  memory.trim_malloc()
  writer = curves.writer(folder / "tensorboard", progress["step"])
  watch = Stopwatch(progress)
  saved_at = time.monotonic()
  asked = threading.Event()  # The signal's own, while it is deferred.

  def wishes() -> Wishes:
    return Wishes(
      asked.is_set(),
      0 < settings.max_minutes <= watch.minutes(),
      time.monotonic() - saved_at > SAVE_SECONDS,
    )

  together = Agreement(wishes)
  warm: set[Layout] = set()

  def batches() -> Iterator[tuple[Batch, Tree, int]]:
    where = progress["epoch"], progress["batch"], progress["read"]
    for batch, read in setup.batches(*where):
      together.send(batch.arrays)
      yield batch, devices.put_batch(batch.arrays), read

  def check(step: int, measured) -> None:
    """Looks at a step's metrics, once the next one is under way."""
    together.receive(measured)
    loss, norm = map(
      float, jax.device_get((measured["loss"], measured["grad_norm"]))
    )
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
    forward = Forward(programs, state.params, progress=True)
    scores = task.evaluate(forward, dev_sentences, decoding or Decoding())
    progress["inference_padding"] = round(forward.padding, 4)
    if scores["f1"] > progress["best_f1"]:
      checkpoints.save_best(state.params)
      progress.update(best_f1=scores["f1"], best_epoch=epoch, stale=0)
    else:
      progress["stale"] += 1
    progress["evaluations"].append(scores)
    of_all = f"{epoch} of {settings.epochs}"
    curves.tell_evaluation(writer, task.name, scores, progress, of_all)

  def save() -> None:
    """Keeps the state as it is before an evaluation."""
    nonlocal saved_at
    watch.lap()
    checkpoints.save_latest(progress["step"], state, progress, evaluated=False)
    saved_at = time.monotonic()
    together.saved()
    curves.send(writer, mirror)
    watch.skip()

  # Loop.
  bar = progress_bar(
    total=settings.epochs * plan.count,
    initial=progress["epoch"] * plan.count + progress["read"],
    desc=task.name,
    unit="example",
  )
  try:
    while not progress["finished"]:
      pending, over = None, False
      # Without epochs only the start is evaluated, as epoch 0.
      coming = devices.prefetch(batches()) if settings.epochs else iter(())
      with signals.deferred() as asked:
        for batch, arrays, read in coming:
          state, measured = train_steps[batch.layout](state, arrays)
          if batch.layout not in warm:
            # Once it has run; two steps may be under way from now on.
            jax.block_until_ready(state)
            memory.trim_malloc()
            warm.add(batch.layout)
          if pending:
            check(*pending)
          progress["step"] += 1
          progress["batch"] += 1
          bar.update(read - progress["read"])
          progress["read"] = read
          pending = progress["step"], measured
          stop, over, late = together.wishes()
          often = progress["step"] % settings.checkpoint_every == 0
          if over or stop:
            break
          if read < plan.count and (late or often):
            check(*pending)
            save()
        if pending:
          check(*pending)
        late = time.monotonic() - saved_at > EVALUATION_SECONDS
        stop, late = processes.any_of([asked.is_set(), late])
        if settings.epochs and (late or stop):
          # Not the epoch's end yet: a run that is stopped in its evaluation
          # comes back to that.
          save()
        if stop:
          checkpoints.wait()
          processes.part()
          signals.leave()
      if settings.epochs:
        watch.lap()
        progress["epoch_seconds"].append(round(progress["seconds"], 3))
        progress["seconds"] = 0.0
        progress.update(epoch=progress["epoch"] + 1, batch=0, read=0)
      evaluate(progress["epoch"])
      memory.trim_malloc()
      progress["finished"] = (
        over
        or progress["epoch"] >= settings.epochs
        or progress["stale"] >= settings.patience
      )
      checkpoints.save_latest(progress["step"], state, progress, evaluated=True)
      saved_at = time.monotonic()
      together.saved()
      curves.send(writer, mirror)
      watch.skip()
  finally:
    bar.close()
    writer.close()
    checkpoints.wait()

  state = None  # The next task needs its room.
  memory.trim_malloc()
  params = checkpoints.best()
  checkpoints.close()
  return params, progress | facts
