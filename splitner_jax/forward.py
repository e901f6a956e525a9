"""Examples in, logits out: the compiled forward pass of one model."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from splitner_jax import parallel, runtime
from splitner_jax.inputs.batches import Batch, Batcher
from splitner_jax.inputs.examples import Examples
from splitner_jax.inputs.layouts import inference_shapes
from splitner_jax.inputs.packing import Layout, Packer, num_tokens
from splitner_jax.inputs.text_tables import TextKeys
from splitner_jax.progress import bar
from splitner_jax.tasks import Task


class Forward:
  """Runs a task's model over any number of examples, in three programs at most.

  Attributes:
    task: whose model it is.
    padding: share of the token positions of the last call that was padding.
  """

  def __init__(
    self, task: Task, batch_size: int = 32, *, progress: bool = False
  ):
    """Compiles nothing yet.

    Args:
      task: whose model is to be run.
      batch_size: sentences of usual length that a batch holds.
      progress: whether long work has a bar.
    """
    self.task = task
    self.padding = 0.0
    self._progress = progress
    self._small, self._shapes = inference_shapes(
      batch_size,
      task.tokenizer.max_length,
      task.features,
      task.targets_per_token,
      runtime.row_length() or _CPU_ROW_LENGTH,
      parallel.device_count(),
    )
    self._runs: dict[Layout, Any] = {}

  def __call__(self, params: Any, examples: Examples) -> np.ndarray:
    """Logits of all targets, float32[M, C], in order.

    Args:
      params: replicated parameters.
      examples: any number of them.
    """
    task = self.task
    results: np.ndarray = np.zeros((0, 0), np.float32)
    devices = parallel.device_count()
    text_keys = TextKeys(examples, task.features, task.tokenizer.reference)
    batcher = Batcher(
      examples, task.features, text_keys, task.tokenizer.pad_id, devices
    )
    lengths = examples.lengths
    packer = Packer(
      lengths,
      examples.target_counts,
      self._shapes,
      text_keys,
      small=self._small,
    )
    used = total = 0

    def batches() -> Iterator[tuple[int, Batch, Any]]:
      nonlocal used, total
      for placement in packer.batches(range(len(examples))):
        batch = batcher.assemble(placement)
        used += int(lengths[placement.examples].sum())
        total += devices * num_tokens(batch.layout)
        arrays = batch.arrays
        del arrays["labels"], arrays["weights"]
        yield len(placement.examples), batch, parallel.put_batch(arrays)

    def collect(batch: Batch, logits_DxMxC: Any) -> None:
      nonlocal results
      logits = parallel.to_host(logits_DxMxC)
      logits = logits.reshape(-1, logits.shape[-1])
      if not results.size:
        results = np.zeros((len(examples.targets), logits.shape[-1]), "f4")
      results[batch.targets] = logits[batch.places]

    # One batch is always under way while the one before is collected.
    pending = None
    with bar(
      total=len(examples),
      desc=f"{task.name} reads",
      unit="input",
      short=True,
      disable=not self._progress,
    ) as shown:
      for count, batch, arrays in parallel.prefetch(batches()):
        logits = self._run(batch.layout)(params, arrays)
        if pending is not None:
          collect(*pending)
        pending = batch, logits
        shown.update(count)
      if pending is not None:
        collect(*pending)
    self.padding = 1 - used / total if total else 0.0
    return results

  def _run(self, layout: Layout) -> Any:
    if layout not in self._runs:
      model = self.task.model
      self._runs[layout] = parallel.compile_forward(
        lambda params, batch: model.apply({"params": params}, batch, layout)
      )
    return self._runs[layout]


# Rows of 64 and of 128 tokens take the same time for each token.
_CPU_ROW_LENGTH = 128
