"""Examples in, logits out: the compiled forward passes of a model."""

import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures

import numpy as np

from splitner_jax.inputs.batches import Arrays, Batch, Batcher
from splitner_jax.inputs.examples import Examples
from splitner_jax.inputs.layouts import USUAL_LENGTH, inference_shapes
from splitner_jax.inputs.packing import (
  Layout,
  Packer,
  Placement,
  Shape,
  SmallShape,
  num_tokens,
)
from splitner_jax.inputs.text_tables import TableRows, Texts
from splitner_jax.models import feature_tables
from splitner_jax.models.transformer import EncoderConfig
from splitner_jax.runtime import devices, sizes
from splitner_jax.runtime.progress import bar
from splitner_jax.runtime.types import Tree
from splitner_jax.tasks import Task

TABLE_ROWS = {"char": 65_536, "pattern": 4_096}
"""Texts that a feature's table keeps: a few megabytes, and 32 MB."""
_FILLED = {"char": (128, 16), "pattern": (32, 16)}
"""Short and long texts that are computed at a time."""
# Rows of 64 and of 128 tokens take the same time for each token.
_CPU_ROW_LENGTH = 128


class Programs:
  """The compiled forward passes of a task's model, for any parameters.

  Four at most, for few examples, some, many, and long ones; and one for each
  feature that is read from a table, which fills it. Each is compiled when it is
  needed first, but the one for some, which has to be asked for with all others.

  Attributes:
    task: whose model it is.
    shapes: of the batches.
    is_warm: whether all of them are compiled.
  """

  def __init__(self, task: Task, batch_size: int = 32):
    """Compiles nothing yet.

    Args:
      task: whose model is to be run.
      batch_size: inputs of usual length that a batch holds, at most.

    Raises:
      UserError: such a batch cannot fit into the memory.
    """
    self.task = task
    encoder: EncoderConfig | None = getattr(task.model, "encoder", None)
    if encoder is not None:
      # What a layer has at the same time, at least.
      number = 4 if encoder.dtype == "float32" else 2
      width = 2 * encoder.hidden_size + encoder.intermediate_size
      sizes.check_fits(
        batch_size * USUAL_LENGTH * width * number,
        f"batch_size of inference: {batch_size}",
        "lower it (in training config.inference_batch_size)",
      )
    self.shapes = inference_shapes(
      batch_size,
      task.tokenizer.max_length,
      task.targets_per_token,
      devices.row_length() or _CPU_ROW_LENGTH,
      devices.device_count(),
    )
    self.table_features = tuple(n for n in task.features if n in TABLE_ROWS)
    self._forward: dict[Layout, Callable] = {}
    self._fill: dict[str, Callable] = {}
    self._lock = threading.Lock()
    self.is_warm = False

  def small(self) -> list[SmallShape]:
    """The shapes for what is left at the end, and what they cost."""
    if devices.row_length():  # It is the number of batches that counts.
      return [SmallShape(self.shapes.few, 1.0)]
    some, few = self.shapes.costs_on_cpu()
    # One program more pays for those who ask often.
    return [some, few] if self.is_warm else [few]

  def forward(self, layout: Layout) -> Callable:
    """(params, tables, arrays of a batch) to logits, [devices, M, C].

    Args:
      layout: the rows of one device.
    """
    with self._lock:
      if layout not in self._forward:
        model = self.task.model
        has_tables = bool(self.table_features)

        def run(params: Tree, tables: Tree, batch: Tree) -> Tree:
          more = {"tables": tables} if has_tables else {}
          return model.apply({"params": params}, batch, layout, **more)

        self._forward[layout] = devices.compile_forward(run)
      return self._forward[layout]

  def fill(self, name: str) -> Callable:
    """(params, table, texts) to the table; see `feature_tables.fill`."""
    with self._lock:
      if name not in self._fill:
        self._fill[name] = devices.compile_update(
          functools.partial(feature_tables.fill, self.task.model, name)
        )
      return self._fill[name]

  def table_rows(self, name: str) -> TableRows:
    """Which text is where in a feature's table: none yet."""
    capacity = max(TABLE_ROWS[name], *map(_tokens, self.shapes))
    return TableRows(
      name, capacity, _FILLED[name], self.task.tokenizer.reference
    )

  def batcher(self, examples: Examples) -> Batcher:
    """Makes batches of these examples."""
    task = self.task
    return Batcher(
      examples,
      task.features,
      None,
      task.tokenizer.pad_id,
      devices.device_count(),
    )

  def nothing(self, shape: Shape) -> tuple[Layout, Arrays]:
    """A batch of almost nothing: the layout, and what `forward` reads of it."""
    batcher = self.batcher(self.task.probe())
    zero: np.ndarray = np.zeros(1, np.int64)
    batch = batcher.assemble(Placement(shape, zero, zero, zero))
    return batch.layout, _read(batch, batch.texts)


class _Table:
  """A feature's table: which text is where, and the values on the devices."""

  def __init__(self, programs: Programs, name: str):
    self.rows = programs.table_rows(name)
    self.values = devices.replicate(
      feature_tables.empty(programs.task.model, name, self.rows.capacity)
    )
    self._fill = programs.fill(name)

  def fill(self, params: Tree, texts: Texts) -> None:
    """Computes new rows."""
    self.values = self._fill(params, self.values, texts)


def _tokens(shape: Shape) -> int:
  return num_tokens(shape.layout)


class Forward:
  """A task's model with its parameters, for any number of examples.

  Attributes:
    programs: what runs it.
    params: replicated.
    padding: share of the token positions of the last call that was padding.
  """

  def __init__(
    self, programs: Programs, params: Tree, *, progress: bool = False
  ):
    """Computes nothing yet.

    Args:
      programs: of the model.
      params: its parameters, replicated.
      progress: whether long work has a bar.
    """
    self.programs = programs
    self.params = params
    self.padding = 0.0
    self._progress = progress
    self._tables: dict[str, _Table] = {}
    self._lock = threading.Lock()

  def __call__(
    self, examples: Examples, batch_size: int | None = None
  ) -> np.ndarray:
    """Logits of all targets, float32[M, C], in order.

    Calls from several threads take turns.

    Args:
      examples: any number of them.
      batch_size: the most examples of a batch; None: as many as fit.
    """
    with self._lock:
      try:
        return self._run(examples, batch_size)
      except BaseException:
        # Rows may have been given away that were not filled.
        self._tables = {}
        raise

  def warm_up(self) -> None:
    """Compiles all programs, several at a time, and runs each once."""
    programs = self.programs

    def run(shape: Shape) -> None:
      layout, arrays = programs.nothing(shape)
      tables = {n: _Table(programs, n).values for n in programs.table_features}
      logits = programs.forward(layout)(
        self.params, tables, devices.put_batch(arrays)
      )
      devices.to_host(logits)

    def fill(name: str) -> None:
      table = _Table(programs, name)
      table.fill(self.params, table.rows.nothing())

    jobs = [functools.partial(fill, name) for name in programs.table_features]
    jobs += [functools.partial(run, shape) for shape in set(programs.shapes)]
    with futures.ThreadPoolExecutor() as threads:
      for done in [threads.submit(job) for job in jobs]:
        done.result()
    programs.is_warm = True

  def _run(self, examples: Examples, batch_size: int | None) -> np.ndarray:
    programs = self.programs
    shapes = programs.shapes
    results: np.ndarray = np.zeros((0, 0), np.float32)
    num_devices = devices.device_count()
    batcher = programs.batcher(examples)
    packer = Packer(
      examples.lengths,
      examples.target_counts,
      (shapes.many, shapes.long),
      small=programs.small(),
      most=batch_size,
    )
    tables = self._tables or {
      name: _Table(programs, name) for name in programs.table_features
    }
    self._tables = tables
    used = total = 0

    def batches() -> Iterator[tuple[int, Batch, Tree, list[tuple[str, Texts]]]]:
      nonlocal used, total
      for placement in packer.batches(range(len(examples))):
        batch = batcher.assemble(placement)
        used += int(examples.lengths[placement.examples].sum())
        total += num_devices * num_tokens(batch.layout)
        rows, fills = {}, []
        for name, table in tables.items():
          texts = batch.texts[name]
          found, new = table.rows.find(texts.reshape(-1), examples.distinct)
          rows[name] = found.reshape(texts.shape)
          fills += [(name, each) for each in new]
        arrays = devices.put_batch(_read(batch, rows))
        yield len(placement.examples), batch, arrays, fills

    def collect(batch: Batch, logits_DxMxC: Tree) -> None:
      nonlocal results
      logits = devices.to_host(logits_DxMxC)
      logits = logits.reshape(-1, logits.shape[-1])
      if not results.size:
        results = np.zeros((len(examples.targets), logits.shape[-1]), "f4")
      results[batch.targets] = logits[batch.places]

    # One batch is always under way while the one before is collected.
    pending = None
    with bar(
      total=len(examples),
      desc=f"{programs.task.name} reads",
      unit="input",
      short=True,
      disable=not self._progress,
    ) as shown:
      for count, batch, arrays, fills in devices.prefetch(batches()):
        for name, texts in fills:
          tables[name].fill(self.params, texts)
        values = {name: table.values for name, table in tables.items()}
        run = programs.forward(batch.layout)
        logits = run(self.params, values, arrays)
        if pending is not None:
          collect(*pending)
        pending = batch, logits
        shown.update(count)
      if pending is not None:
        collect(*pending)
    self.padding = 1 - used / total if total else 0.0
    return results


def _read(batch: Batch, rows: Mapping[str, np.ndarray]) -> Arrays:
  """What a model reads of a batch, with the rows of its texts."""
  arrays = {
    name: array
    for name, array in batch.arrays.items()
    if name not in ("labels", "weights")
  }
  return arrays | {f"{name}_index": index for name, index in rows.items()}
