"""Trains one task: data, model, state, restore, step, loop, evaluate, save."""

import contextlib
import logging
import pathlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
from ml_collections import ConfigDict

from splitner_jax.data.sentences import Sentence
from splitner_jax.inference.forward import Forward, Programs
from splitner_jax.inputs.batches import Batch
from splitner_jax.inputs.packing import Layout
from splitner_jax.runtime import buckets, devices, memory, processes, signals
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.progress import bar as progress_bar
from splitner_jax.runtime.types import Json, Tree
from splitner_jax.tasks.decoding import Decoding
from splitner_jax.training import curves
from splitner_jax.training.agreement import Agreement, Wishes
from splitner_jax.training.checkpoints import Checkpoints
from splitner_jax.training.progress import Stopwatch, fresh_progress
from splitner_jax.training.setup import prepare

log = logging.getLogger(__name__)

SAVE_SECONDS = 300.0
"""A checkpoint is written at least this often."""
EVALUATION_SECONDS = 30.0
"""An evaluation is begun with a checkpoint not older than this."""
LOG_STEPS = 10
"""TensorBoard gets the loss every so many steps."""


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

  # State. Where parameters come from, the first that applies:
  # 1. a finished run: its best checkpoint; 2. a run that was cut off: its
  # latest checkpoint; 3. the backbone, with new heads.
  abstract = jax.eval_shape(setup.init_state)
  kept = mirror.place(folder / "checkpoints")
  checkpoints = Checkpoints(kept, abstract, abstract.params)
  progress = checkpoints.progress()
  rows = (progress or {}).get("row_length", setup.row_length)
  if rows != setup.row_length:
    # It counts the batches that it made on another kind of machine.
    log.info("%s: packs examples as where it began", task.name)
    setup = prepare(task, settings, train_sentences, rows)
  plan, facts = setup.plan, setup.facts()
  if progress and progress["finished"]:
    log.info("%s: already trained", task.name)
    params = checkpoints.best()
    checkpoints.close()
    return params, progress | facts
  if progress:
    state = checkpoints.latest()
    log.info("%s: goes on at step %d", task.name, progress["step"])
  else:
    progress = fresh_progress() | {"row_length": rows}
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
      coming = devices.prefetch(batches() if settings.epochs else ())
      # Closed also after a break: what reads ahead is no part of an evaluation.
      with signals.deferred() as asked, contextlib.closing(coming):
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
