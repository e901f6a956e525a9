"""A task's model as one function of arrays, for export to other programs.

The function is pure, its shapes are fixed, and its arrays are those of
`models.heads` without an axis of devices.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from splitner_jax.inference.forward import TABLE_ROWS
from splitner_jax.inference.ner_model import NerModel, Predictor
from splitner_jax.inference.pipeline import SplitNER
from splitner_jax.inputs.batches import Arrays, Batcher
from splitner_jax.inputs.examples import Examples
from splitner_jax.inputs.packing import Group, Packer, Shape, num_tokens
from splitner_jax.inputs.text_tables import TextKeys
from splitner_jax.models import feature_tables
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.types import Json, Tree
from splitner_jax.tasks import AnyTask

# What the model's function does not read.
_FOR_TRAINING = ("labels", "weights")


@dataclasses.dataclass(frozen=True)
class Program:
  """A task's model for batches of one shape.

  Attributes:
    task: whose model it is.
    shape: of the batches.
  """

  task: AnyTask
  shape: Shape

  @classmethod
  def of(cls, task: AnyTask, rows: int, length: int) -> "Program":
    """The program for so many rows of so many tokens.

    Args:
      task: of the model.
      rows: of a batch.
      length: tokens of a row; 0: of the longest example.

    Raises:
      UserError: longer than the model's positions, or no example fits.
    """
    longest = task.tokenizer.max_length
    if rows < 1 or length < 0 or length > longest:
      raise UserError(
        f"--rows, --length: {rows} x {length} is no batch of a model that "
        f"reads up to {longest} tokens; give 1 row or more, none longer"
      )
    length = length or longest
    tokens = rows * length
    targets = max(int(tokens * task.targets_per_token), 1)
    # The long table alone takes all texts of one example.
    capacity = (tokens // 2, max(length, tokens // 8))
    texts = {n: capacity for n in TABLE_ROWS if n in task.features}
    return cls(task, Shape((Group(rows, length),), targets, **texts))

  def call(self, params: Tree, batch: Mapping[str, Tree]) -> Tree:
    """Logits of the targets, float32[M, C]."""
    task = self.task
    tables = {
      name: feature_tables.rows_of(
        task.model,
        name,
        params,
        (batch[f"{name}_short"], batch[f"{name}_long"]),
      )
      for name in TABLE_ROWS
      if name in task.features
    }
    more: Tree = {"tables": tables} if tables else {}
    return task.model.apply(
      {"params": params}, batch, self.shape.layout, **more
    )

  def arrays(self) -> Arrays:
    """A batch of one short example."""
    return next(iter(self.batches(self.task.probe())))[0]

  def batches(
    self, examples: Examples
  ) -> Iterator[tuple[Arrays, np.ndarray, np.ndarray]]:
    """The arrays of batches, and (places, targets) of each.

    Args:
      examples: any number.

    Raises:
      UserError: one is longer than a row.
    """
    longest = int(examples.lengths.max(initial=0))
    if longest > self.shape.layout[0].length:
      raise UserError(
        f"an example of {longest} tokens does not fit rows of "
        f"{self.shape.layout[0].length}; export with a larger --length"
      )
    task = self.task
    keys = TextKeys(examples, task.features, task.tokenizer.reference)
    batcher = Batcher(
      examples, task.features, keys, task.tokenizer.pad_id, devices=1
    )
    packer = Packer(
      examples.lengths, examples.target_counts, (self.shape,), keys
    )
    for placement in packer.batches(range(len(examples))):
      batch = batcher.assemble(placement)
      arrays = {
        name: array[0]
        for name, array in batch.arrays.items()
        if name not in _FOR_TRAINING
      }
      yield arrays, batch.places, batch.targets

  def describe(self) -> Json:
    """What a caller has to know, as JSON."""
    group = self.shape.layout[0]
    arrays = self.arrays()
    return {
      "rows": group.rows,
      "length": group.length,
      "tokens": num_tokens(self.shape.layout),
      "features": list(self.task.features),
      "inputs": {
        name: {"shape": list(x.shape), "dtype": str(x.dtype)}
        for name, x in arrays.items()
      },
    }


class ProgramForward:
  """A forward pass by an exported program, for any number of examples."""

  def __init__(self, program: Program, run: Callable[[Arrays], np.ndarray]):
    """With `run`: arrays of a batch to logits, float32[M, C]."""
    self._program = program
    self._run = run

  def warm_up(self) -> None:
    """Runs the program once: JAX compiles one of StableHLO only then."""
    self._run(self._program.arrays())

  def __call__(
    self, examples: Examples, batch_size: int | None = None
  ) -> np.ndarray:
    """Logits of all targets, float32[M, C], in order."""
    del batch_size
    results: np.ndarray = np.zeros((0, 0), np.float32)
    for arrays, places, targets in self._program.batches(examples):
      logits = self._run(arrays)
      if not results.size:
        shape = len(examples.targets), logits.shape[-1]
        results = np.zeros(shape, np.float32)
      results[targets] = logits[places]
    return results


class _ProgramPredictor(Predictor):
  """A model that exported programs run."""

  def __init__(self, model: NerModel, forwards: Mapping[str, ProgramForward]):
    self.kind, self.tasks = model.kind, model.tasks
    self.decoding = model.decoding
    self.forwards = dict(forwards)  # type: ignore[arg-type]


def tagger(model: NerModel, forwards: Mapping[str, ProgramForward]) -> SplitNER:
  """A model for tagging text that exported programs run."""
  return SplitNER(model, predictor=_ProgramPredictor(model, forwards))
