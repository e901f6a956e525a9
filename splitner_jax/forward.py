"""Examples in, logits out: the compiled forward pass of one model."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from splitner_jax import parallel
from splitner_jax.data.batches import Batcher, Shape, inference_batches
from splitner_jax.data.examples import Example
from splitner_jax.progress import bar
from splitner_jax.tasks import Task


class Forward:
  """Runs a task's model over any number of examples.

  Attributes:
    task: whose model it is.
    batch_size: rows of a batch, over all devices; rounded up to their number.
    progress: whether long work has a bar.
  """

  def __init__(
    self, task: Task, batch_size: int = 32, *, progress: bool = False
  ):
    self.task = task
    self.progress = progress
    devices = parallel.device_count()
    self.batch_size = -(-batch_size // devices) * devices
    model = task.model
    self._run = parallel.compile_forward(
      lambda params, batch: model.apply({"params": params}, batch)
    )

  def __call__(
    self, params: Any, examples: Sequence[Example]
  ) -> list[np.ndarray]:
    """Logits of each example, in order.

    Args:
      params: replicated parameters.
      examples: any number of them.

    Returns:
      Of token tasks float32[n, C] for n tokens, else float32[C].
    """
    results: list[np.ndarray] = [np.zeros(0)] * len(examples)
    devices = parallel.device_count()
    tokenizer = self.task.tokenizer
    batcher = Batcher(
      examples,
      self.task.features,
      tokenizer.pad_id,
      devices,
      tokenizer.reference,
    )

    def batches():
      plan = inference_batches([len(e) for e in examples], self.batch_size)
      for rounded, rows in plan:
        # The model may have no positions for what rounding adds.
        length = min(rounded, tokenizer.max_length)
        _, batch = batcher.assemble(rows, length, self._shapes(length))
        del batch["labels"], batch["weights"], batch["row_mask"]
        yield rows, parallel.put_batch(batch)

    def collect(rows: np.ndarray, logits_DxB) -> None:
      logits = parallel.to_host(logits_DxB)
      logits = logits.reshape(-1, *logits.shape[2:])
      for i, row in enumerate(rows):
        if row >= 0:
          n = len(examples[row])
          results[row] = logits[i, :n] if logits.ndim == 3 else logits[i]

    # One batch is always under way while the one before is collected.
    pending = None
    with bar(
      total=len(examples),
      desc=f"{self.task.name} reads",
      unit="input",
      short=True,
      disable=not self.progress,
    ) as shown:
      for rows, batch in parallel.prefetch(batches()):
        logits = self._run(params, batch)
        if pending is not None:
          collect(*pending)
        pending = rows, logits
        shown.update(int((rows >= 0).sum()))
      if pending is not None:
        collect(*pending)
    return results

  def _shapes(self, length: int) -> list[Shape]:
    tokens = self.batch_size // parallel.device_count() * length
    # Sub-tokens repeat, and few are long: the first that has room is taken,
    # and the last has room for anything.
    rooms = (
      (64 + tokens // 2, 16 + tokens // 16),
      (64 + tokens, 16 + tokens // 4),
      (16, tokens),
    )
    return [Shape.with_room(length, self.task.features, room) for room in rooms]
