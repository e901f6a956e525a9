"""Time of SplitNER beside a plain tagger on PyTorch, in one run:

splitner benchmark --config=configs/wnut17.py
splitner benchmark --config=configs/wnut17.py --model=FOLDER

The first trains: a step of each task and of the tagger. The second tags the
test sentences as text, tokenisation and decoding inside the clock: the model,
and transformers' token-classification pipeline on the same backbone.

The plain tagger is a transformers token classifier on PyTorch: same backbone,
random batches padded to their longest sentence, AdamW, clipping, dropout. It
needs `pip install torch` and is left out otherwise. The sides take turns, a
block of steps each, so that a busy machine is busy for all of them; an epoch is
the mean step times the steps of an epoch. Figures are for comparison with each
other, not with another machine's.
"""

import dataclasses
import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from absl import flags
from ml_collections import config_flags

from splitner_jax.commands import cli
from splitner_jax.data.sentences import Sentence
from splitner_jax.inputs.batches import Batch
from splitner_jax.runtime import memory
from splitner_jax.runtime.errors import UserError

if TYPE_CHECKING:
  from splitner_jax.experiment.task_specs import Experiment, TaskSpec
  from splitner_jax.tasks import TokenTask

Step = Callable[[], object]


def _ours(
  part: "TaskSpec", sentences: Sequence[Sentence], host: list[float]
) -> tuple[Step, float]:
  """One training step at a time, and the steps of an epoch.

  `host` gets the seconds that the making of each batch takes. Here it is a part
  of the step; training makes the next batches meanwhile.
  """
  from splitner_jax.runtime import devices
  from splitner_jax.training import loop

  task = part.task
  setup = loop.prepare(task, part.settings, sentences)
  state = devices.replicate(setup.init_state(part.fill))
  train_steps = {
    layout: devices.compile_step(setup.make_step(layout))
    for layout in setup.layouts()
  }

  def batches() -> Iterator[Batch]:
    for epoch in itertools.count():
      for batch, _ in setup.batches(epoch % max(setup.epochs, 1)):
        yield batch

  coming = batches()

  def step() -> None:
    nonlocal state
    start = time.perf_counter()
    batch = next(coming)
    arrays = devices.put_batch(batch.arrays)
    host.append(time.perf_counter() - start)
    state, measured = train_steps[batch.layout](state, arrays)
    float(measured["loss"])

  return step, setup.plan.batches


def _plain_tagger(
  part: "TaskSpec", task: "TokenTask", sentences: Sequence[Sentence]
) -> tuple[Step, float]:
  """The same for the tagger on PyTorch."""
  import torch
  import transformers

  settings, tokenizer = part.settings, task.tokenizer
  torch.set_num_threads(len(os.sched_getaffinity(0)))
  labels = 1 + 2 * len({s.label for x in sentences for s in x.spans})
  model = transformers.AutoModelForTokenClassification.from_pretrained(
    part.backbone.folder, num_labels=labels, local_files_only=True
  )
  model.train()
  adam = torch.optim.AdamW(model.parameters(), settings.learning_rate)
  plain = dataclasses.replace(task, questions=((),), features=())
  examples, _ = plain.encode(sentences)
  inputs = [
    torch.tensor(examples[i].ids[: settings.max_length])
    for i in range(len(examples))
  ]
  rng = np.random.default_rng(0)

  def step() -> None:
    rows = rng.choice(len(inputs), settings.batch_size, replace=False)
    ids = torch.nn.utils.rnn.pad_sequence(
      [inputs[r] for r in rows], True, tokenizer.pad_id
    ).long()
    mask = (ids != tokenizer.pad_id).long()
    gold = torch.where(mask > 0, ids % labels, -100)
    adam.zero_grad()
    loss = model(ids, attention_mask=mask, labels=gold).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
    adam.step()
    loss.item()

  return step, -(-len(inputs) // settings.batch_size)


def _measure(sides: dict[str, Step], turns: int, block: int) -> dict:
  """Mean seconds of a step of each side, which take turns of so many steps."""
  seconds: dict[str, list[float]] = {name: [] for name in sides}
  for turn in range(-1, turns):
    for name, step in sides.items():
      for _ in range(block):
        start = time.perf_counter()
        step()
        if turn >= 0:  # The first turn warms up.
          seconds[name].append(time.perf_counter() - start)
  return {name: float(np.mean(times)) for name, times in seconds.items()}


def _train(run: "Experiment") -> None:
  sides: dict[str, tuple[Step, float]] = {}
  host: dict[str, list[float]] = {}
  for part in run.parts.values():
    name = part.task.name
    host[name] = []
    sides[name] = _ours(part, run.corpus.train, host[name])
  try:
    task = run.kind.detection({n: part.task for n, part in run.parts.items()})
    sides["plain tagger (torch)"] = _plain_tagger(
      run.parts[run.kind.detection_task], task, run.corpus.train
    )
  except ImportError:
    print("torch is not installed: no plain tagger")
  seconds = _measure(
    {name: step for name, (step, _) in sides.items()},
    flags.FLAGS.steps // flags.FLAGS.block,
    flags.FLAGS.block,
  )
  epochs = {name: seconds[name] * steps for name, (_, steps) in sides.items()}
  base = list(epochs.values())[-1]
  for name, epoch in epochs.items():
    print(
      f"{name:22} {1000 * seconds[name]:7.1f} ms a step, "
      f"{epoch:7.1f} s an epoch of {sides[name][1]:.0f} steps, "
      f"{epoch / base:5.2f} of the last line's"
    )
  for name, each in host.items():
    share = float(np.mean(each)) / seconds[name]
    print(f"{name:22} batches: {100 * share:.1f} % of a step")


def _tag(run: "Experiment", model: str) -> None:
  from splitner_jax import SplitNER

  texts = [s.text for s in run.corpus.test]
  part = next(iter(run.parts.values()))
  batch = part.settings.inference_batch_size
  ner = SplitNER.from_pretrained(model, batch_size=batch)
  sides: dict[str, Step] = {"SplitNER": lambda: ner.predict(texts)}
  try:
    import torch
    import transformers

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    pipeline = transformers.pipeline(
      "token-classification",
      model=transformers.AutoModelForTokenClassification.from_pretrained(
        part.backbone.folder, local_files_only=True
      ),
      tokenizer=part.task.tokenizer.fast,
      aggregation_strategy="simple",
      batch_size=batch,
    )
    sides["pipeline (torch)"] = lambda: pipeline(texts)
  except ImportError:
    print("torch is not installed: no pipeline")
  seconds = _measure(sides, flags.FLAGS.steps, 1)
  base = len(texts) / list(seconds.values())[-1]
  for name, each in seconds.items():
    rate = len(texts) / each
    print(
      f"{name:18} {rate:7.1f} sentences a second, "
      f"{rate / base:5.2f} of the last line's"
    )


def define_flags() -> None:
  config_flags.DEFINE_config_file("config", None, "as for training")
  flags.DEFINE_string("model", None, "tag with this trained model")
  flags.DEFINE_integer(
    "steps", 80, "measured steps of each side, or rounds of tagging"
  )
  flags.DEFINE_integer("block", 10, "steps between two turns")


def check_flags() -> None:
  cli.check_config(flags.FLAGS.config)


def main(argv: list[str]) -> None:
  del argv
  memory.disable_malloc_trim()
  from splitner_jax.experiment.task_specs import prepare
  from splitner_jax.runtime.progress import start_log

  start_log()
  try:
    run = prepare(flags.FLAGS.config)
    if flags.FLAGS.model:
      _tag(run, flags.FLAGS.model)
    else:
      _train(run)
  except UserError as e:
    cli.fail(str(e))
