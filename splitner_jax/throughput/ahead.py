"""Programs compiled for a TPU slice that is not there, and what they cost.

Everything is of one chip, for all chips run the same program.
"""

import dataclasses
import logging
import re
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict

from splitner_jax.experiment.task_specs import Experiment, TaskSpec
from splitner_jax.inference.forward import Programs
from splitner_jax.inputs.packing import Shape, num_tokens
from splitner_jax.models import feature_tables
from splitner_jax.models.shapes import parameter_shapes
from splitner_jax.runtime import devices
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.topologies import Slice
from splitner_jax.runtime.types import Json, Tree
from splitner_jax.throughput import hlo
from splitner_jax.training.setup import prepare

log = logging.getLogger(__name__)

_FURTHER = 4
"""So many times the batch is compiled too, to see how memory grows."""
_TRIES = 4
_SMALLER = 0.9


class TooLargeError(Exception):
  """A program that does not fit into a chip's memory.

  Attributes:
    reason: the compiler's, a line.
  """

  def __init__(self, reason: str):
    super().__init__(reason)
    self.reason = reason


class Roofline(NamedTuple):
  """The least time of a program, in seconds: its largest part.

  Attributes:
    compute: operations / operations a second.
    memory: bytes through HBM / bytes a second.
    links: bytes of the all-reduce, sent and received, / bytes a second.
  """

  compute: float
  memory: float
  links: float

  @property
  def seconds(self) -> float:
    return max(self)

  @property
  def limit(self) -> str:
    return self._fields[self.index(self.seconds)]


@dataclasses.dataclass(frozen=True)
class Program:
  """A compiled program.

  Attributes:
    name: such as `detector training`.
    reads: what a batch holds over all chips, for people.
    tokens: of a batch over all chips, padding included; 0: it reads none.
    seconds: that compiling took here.
    flops: operations, by the compiler.
    hbm_bytes: see `hlo.hbm_bytes`.
    accessed_bytes: by the compiler, see `hlo`.
    arguments: bytes of state and batch.
    temporaries: bytes beside them.
    code: bytes of the program itself.
    collectives: with all other chips.
  """

  name: str
  reads: str
  tokens: int
  seconds: float
  flops: float
  hbm_bytes: int
  accessed_bytes: float
  arguments: int
  temporaries: int
  code: int
  collectives: tuple[hlo.Collective, ...]

  @property
  def needed(self) -> int:
    """Bytes of HBM that it holds at once."""
    return self.arguments + self.temporaries + self.code

  def roofline(self, slice_: Slice) -> Roofline:
    """The least that it takes on a chip of the slice."""
    chip, count = slice_.chip, len(slice_.devices)
    reduced = sum(c.bytes for c in self.collectives if c.kind == "all-reduce")
    gathered = sum(c.bytes for c in self.collectives if c.kind == "all-gather")
    around = (count - 1) / count
    return Roofline(
      self.flops / chip.flops_per_s,
      self.hbm_bytes / chip.memory_bytes_per_s,
      around * (2 * reduced + gathered) / chip.link_bytes_per_s,
    )

  def as_json(self, slice_: Slice) -> Json:
    """All of it, with the roofline."""
    roofline = self.roofline(slice_)
    return dataclasses.asdict(self) | {
      "collectives": [c._asdict() for c in self.collectives],
      "needed": self.needed,
      "roofline": roofline._asdict()
      | {
        "seconds": roofline.seconds,
        "limit": roofline.limit,
        "tokens_per_s": self.tokens / roofline.seconds,
      },
    }


def compile_program(
  name: str, lowered: jax.stages.Lowered, reads: str, tokens: int = 0
) -> Program:
  """Compiles a program.

  Args:
    name, reads, tokens: see `Program`.
    lowered: of jit or pmap.

  Raises:
    TooLargeError: it does not fit into memory.
    UserError: JAX cannot read what the compiler made.
  """
  log.info("compiling %s: %s", name, reads)
  start = time.perf_counter()
  try:
    compiled: Any = lowered.compile()
  except jax.errors.JaxRuntimeError as e:
    if "RESOURCE_EXHAUSTED" not in str(e):
      raise
    used = re.search(r"Used \S+ of \S+ hbm", str(e))
    first = str(e).split("\n")[0]
    raise TooLargeError(used[0] if used else first) from e
  seconds = time.perf_counter() - start
  cost, memory = compiled.cost_analysis(), compiled.memory_analysis()
  try:
    text = compiled.as_text()
  except jax.errors.JaxRuntimeError as e:
    version = jax.__version__
    raise UserError(
      f"libtpu compiles what JAX {version} cannot read; install the one that "
      f"is made for it with pip install 'jax[tpu]=={version}'"
    ) from e
  return Program(
    name,
    reads,
    tokens,
    seconds,
    cost["flops"],
    hlo.hbm_bytes(text),
    cost["bytes accessed"],
    memory.argument_size_in_bytes
    + memory.output_size_in_bytes
    - memory.alias_size_in_bytes,
    memory.temp_size_in_bytes,
    memory.generated_code_size_in_bytes,
    tuple(hlo.collectives(text)),
  )


def training(
  part: TaskSpec, experiment: Experiment, batch_size: int | None = None
) -> Program:
  """The training step of a task.

  Args:
    part: the task.
    experiment: whose corpus says how long examples are.
    batch_size: instead of the config's.

  Raises:
    TooLargeError: it does not fit into memory.
    UserError: there is nothing to learn from.
  """
  settings = part.settings
  if batch_size is not None:
    settings = ConfigDict(settings)
    settings.batch_size = batch_size
  setup = prepare(part.task, settings, experiment.corpus.train)
  batch, _ = next(setup.batches(0))
  step: Any = devices.compile_step(setup.make_step(batch.layout))
  state = jax.eval_shape(setup.init_state)
  lowered = step.lower(state, _shapes(batch.arrays))
  shape = setup.plan.shapes[0]
  return _of_shape(f"{part.task.name} training", lowered, shape)


def _of_shape(name: str, lowered: jax.stages.Lowered, shape: Shape) -> Program:
  return compile_program(
    name, lowered, shape.describe(), num_tokens(shape.layout)
  )


def inference(part: TaskSpec) -> Iterator[Program]:
  """The programs that tag text, and those that fill the features' tables.

  Raises:
    TooLargeError: one of them does not fit into memory.
  """
  programs: Programs = part.programs
  task = part.task
  params = traverse_util.unflatten_dict(
    {
      name: jax.ShapeDtypeStruct(shape, np.float32)
      for name, shape in parameter_shapes(task.model).items()
    },
    sep="/",
  )
  rows = {name: programs.table_rows(name) for name in programs.table_features}
  tables: Tree = {
    name: _shapes(feature_tables.empty(task.model, name, each.capacity))
    for name, each in rows.items()
  }
  # Some may be alike.
  kinds: dict[Shape, list[str]] = {}
  for kind, shape in programs.shapes._asdict().items():
    kinds.setdefault(shape, []).append(kind)
  for shape, names in kinds.items():
    layout, arrays = programs.nothing(shape)
    forward: Any = programs.forward(layout)
    lowered = forward.lower(params, tables, _shapes(arrays))
    yield _of_shape(
      f"{task.name} tagging, {' and '.join(names)}", lowered, shape
    )
  for name, each in rows.items():
    texts = each.nothing()
    fill: Any = programs.fill(name)
    lowered = fill.lower(params, tables[name], _shapes(texts))
    reads = f"{len(texts['short'])} + {len(texts['long'])} texts"
    yield compile_program(f"{task.name} table of {name}", lowered, reads)


def largest_batch(
  part: TaskSpec,
  experiment: Experiment,
  slice_: Slice,
  known: Program | None = None,
) -> tuple[int, Program] | None:
  """The largest batch that was compiled and fits, with its program.

  Memory grows with the tokens of a batch in a straight line, about: two batches
  say where it is full, and what fits there is compiled.

  Args:
    part, experiment: as of `training`.
    slice_: that is compiled for.
    known: the config's batch, if that is compiled already.

  Returns:
    None if nothing fits.
  """
  size = part.settings.batch_size
  found: dict[int, Program] = {}
  if known is not None:
    found[size] = known
    size *= _FURTHER
  for _ in range(_TRIES):
    try:
      found[size] = training(part, experiment, size)
      size *= _FURTHER
    except TooLargeError:
      size //= 2 * _FURTHER
    if len(found) == 2 or size < 1:
      break
  if len(found) < 2:
    return max(found.items()) if found else None
  (small, first), (large, second) = sorted(found.items())
  per_example = (second.needed - first.needed) / (large - small)
  room = slice_.chip.memory_bytes - first.needed
  guess = small + int(room / max(per_example, 1))
  for _ in range(_TRIES):
    if guess <= large:
      break
    try:
      found[guess] = training(part, experiment, guess)
      break
    except TooLargeError as e:
      log.info("a batch of %d does not fit: %s", guess, e.reason)
      guess = int(guess * _SMALLER)
  return max(found.items())


def _shapes(tree: Tree) -> Tree:
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)
