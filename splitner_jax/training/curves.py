"""What is seen of a training: curves of TensorBoard, and lines of the log."""

import logging
import pathlib
from typing import TYPE_CHECKING

from splitner_jax.runtime import buckets, processes
from splitner_jax.runtime.files import make_folder
from splitner_jax.runtime.types import Json

# Slow to import, for it looks for clients of storage; needed by training only.
if TYPE_CHECKING:
  from tensorboardX import SummaryWriter

log = logging.getLogger(__name__)


def writer(folder: pathlib.Path, step: int) -> "SummaryWriter":
  """Of curves, from a step on; the first process of several writes them."""
  from tensorboardX import SummaryWriter

  if not processes.is_first():
    return SummaryWriter(write_to_disk=False)
  return SummaryWriter(make_folder(folder), purge_step=step or None)


def send(writer: "SummaryWriter", mirror: buckets.Mirror) -> None:
  """Brings them to where the run is kept, if that is not on the disk."""
  if mirror is not buckets.DISK:
    writer.flush()
    mirror.send()


def tell_evaluation(
  curves: "SummaryWriter",
  name: str,
  scores: Json,
  progress: Json,
  epoch: str,
) -> None:
  """Shows the scores on dev.

  Args:
    curves: to be gone on with.
    name: of the task.
    scores: on dev.
    progress: what is best so far, and the step.
    epoch: such as "2 of 3".
  """
  for measure in ("precision", "recall", "f1"):
    curves.add_scalar(f"dev/{measure}", scores[measure], progress["step"])
  log.info(
    "%s: epoch %s: dev F1 %.2f (precision %.2f, recall %.2f), best %.2f; by "
    "type: %s",
    name,
    epoch,
    scores["f1"],
    scores["precision"],
    scores["recall"],
    progress["best_f1"],
    ", ".join(
      f"{label} {row.get('f1', row['recall']):.1f}"
      for label, row in scores["per_type"].items()
    ),
  )
