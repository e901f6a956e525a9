"""Lines of a table: a parameter of ours, and its tensors in checkpoints."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

Arrays = Sequence[np.ndarray]


@dataclasses.dataclass(frozen=True)
class Layout:
  """How a parameter of ours is laid out over tensors of a checkpoint."""

  load: Callable[[Arrays], np.ndarray]
  save: Callable[[np.ndarray], Arrays]


SAME = Layout(lambda t: t[0], lambda p: (p,))
TRANSPOSED = Layout(lambda t: t[0].T, lambda p: (p.T,))


@dataclasses.dataclass(frozen=True)
class WeightMapping:
  """A line of the table: a parameter of ours, and its tensors elsewhere."""

  ours: str
  foreign: tuple[str, ...]
  layout: Layout


def linear(ours: str, foreign: str) -> list[WeightMapping]:
  """Kernel and bias of a linear layer."""
  return [
    WeightMapping(f"{ours}/kernel", (f"{foreign}.weight",), TRANSPOSED),
    WeightMapping(f"{ours}/bias", (f"{foreign}.bias",), SAME),
  ]


def norm(ours: str, foreign: str) -> list[WeightMapping]:
  """Scale and bias of a normalisation."""
  return [
    WeightMapping(f"{ours}/scale", (f"{foreign}.weight",), SAME),
    WeightMapping(f"{ours}/bias", (f"{foreign}.bias",), SAME),
  ]


def embedding(ours: str, foreign: str) -> list[WeightMapping]:
  """The table of an embedding."""
  return [WeightMapping(ours, (f"{foreign}.weight",), SAME)]
