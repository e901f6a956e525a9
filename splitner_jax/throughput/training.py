"""Training as a side: blocks of steps, of our tasks and of a plain tagger."""

import dataclasses
import itertools
import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence

import numpy as np

from splitner_jax.data.sentences import Sentence
from splitner_jax.experiment.task_specs import TaskSpec
from splitner_jax.inputs.packing import Layout
from splitner_jax.runtime import devices
from splitner_jax.runtime.types import Tree
from splitner_jax.tasks import TokenTask
from splitner_jax.throughput import flops, weights
from splitner_jax.throughput.compiled import Compiled
from splitner_jax.throughput.sides import Side
from splitner_jax.training.setup import prepare

TURN_SECONDS = 0.5
"""That a turn takes, about."""
_MOST_STEPS = 50


class Training:
  """Steps of a task, with random weights.

  Attributes:
    compiled: its programs.
    host_seconds: of making each batch; training makes it while the step before
      is computed.
  """

  def __init__(self, part: TaskSpec, sentences: Sequence[Sentence]):
    """Compiles nothing yet.

    Raises:
      UserError: there is nothing to learn from.
    """
    self.part = part
    self.compiled = Compiled()
    self.host_seconds: list[float] = []
    self._setup = setup = prepare(part.task, part.settings, sentences)
    self._state: Tree = weights.state(setup)
    self._steps = {
      layout: self.compiled.wrap(
        layout, devices.compile_step(setup.make_step(layout))
      )
      for layout in setup.layouts()
    }
    self._coming = devices.prefetch(self._batches())

  def _batches(self) -> Iterator[tuple[Layout, Tree]]:
    for epoch in itertools.count():
      batches = self._setup.batches(epoch % max(self._setup.epochs, 1))
      while True:
        start = time.perf_counter()
        found = next(batches, None)
        if found is None:
          break
        arrays = devices.put_batch(found[0].arrays)
        self.host_seconds.append(time.perf_counter() - start)
        yield found[0].layout, arrays

  def step(self) -> None:
    """One step, with the next batch."""
    layout, arrays = next(self._coming)
    self._state, measured = self._steps[layout](self._state, arrays)
    float(measured["loss"])

  def _warm_up(self) -> None:
    """Compiles all programs that an epoch needs, and runs each."""
    for _ in range(int(self._setup.plan.batches) + 1):
      self.step()
      if len(self.compiled.programs) == len(self._steps):
        break
    self.step()

  def side(self) -> Side:
    """The side; compiles what it needs."""
    self._warm_up()
    setup = self._setup
    examples = setup.batcher.examples
    block = block_of(self.step)
    tokens = float(examples.lengths.sum())
    return Side(
      block.act,
      setup.plan.batches / block.steps,
      tokens,
      tokens / (1 - setup.plan.padding),
      # The backward pass needs each product twice.
      3 * flops.forward_flops(self.part.task, examples),
      self.compiled,
      block.steps,
    )

  def close(self) -> None:
    """Ends the thread that makes batches."""
    if isinstance(self._coming, Generator):
      self._coming.close()


@dataclasses.dataclass(frozen=True)
class _Block:
  step: Callable[[], object]
  steps: int

  def act(self) -> None:
    for _ in range(self.steps):
      self.step()


def block_of(step: Callable[[], object]) -> _Block:
  """As many steps as a turn has time for."""
  start = time.perf_counter()
  step()
  seconds = time.perf_counter() - start
  steps = int(TURN_SECONDS / max(seconds, 1e-6))
  return _Block(step, min(max(steps, 1), _MOST_STEPS))


def plain_tagger(
  part: TaskSpec, task: TokenTask, sentences: Sequence[Sentence]
) -> Side:
  """A token classifier of transformers on PyTorch, trained as is usual there.

  Same sizes, random batches padded to their longest sentence, AdamW, clipping,
  dropout; on a GPU, if PyTorch sees one, and there in mixed precision where
  ours computes in bfloat16.

  Args:
    part: whose settings it gets.
    task: whose examples it reads, without question and features.
    sentences: to train on.

  Raises:
    ImportError: there is no PyTorch.
  """
  import torch
  import transformers

  settings, tokenizer = part.settings, task.tokenizer
  torch.set_num_threads(len(os.sched_getaffinity(0)))
  labels = 1 + 2 * len({s.label for x in sentences for s in x.spans})
  config = transformers.AutoConfig.from_pretrained(
    part.backbone.folder, local_files_only=True, num_labels=labels
  )
  model = transformers.AutoModelForTokenClassification.from_config(config)
  device = "cuda" if torch.cuda.is_available() else "cpu"
  mixed = torch.autocast(
    device, torch.bfloat16, enabled=task.model.encoder.dtype == "bfloat16"
  )
  model.to(device).train()
  adam = torch.optim.AdamW(model.parameters(), settings.learning_rate)
  plain = dataclasses.replace(task, questions=((),), features=())
  examples, _ = plain.encode(sentences)
  inputs = [
    torch.tensor(examples[i].ids[: settings.max_length])
    for i in range(len(examples))
  ]
  size = min(settings.batch_size, len(inputs))
  rng = np.random.default_rng(0)
  read = {"real": 0, "all": 0}

  def step() -> None:
    rows = rng.choice(len(inputs), size, replace=False)
    ids = torch.nn.utils.rnn.pad_sequence(
      [inputs[r] for r in rows], True, tokenizer.pad_id
    )
    ids = ids.long().to(device)
    mask = (ids != tokenizer.pad_id).long()
    read["real"] += int(mask.sum())
    read["all"] += mask.numel()
    gold = torch.where(mask > 0, ids % labels, -100)
    adam.zero_grad()
    with mixed:
      loss = model(ids, attention_mask=mask, labels=gold).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
    adam.step()
    loss.item()

  step()
  block = block_of(step)
  tokens = float(sum(map(len, inputs)))
  return Side(
    block.act,
    len(inputs) / size / block.steps,
    tokens,
    tokens * read["all"] / read["real"],
    3 * flops.forward_flops(task, examples),
    steps=block.steps,
  )
