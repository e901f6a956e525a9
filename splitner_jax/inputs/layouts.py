"""Which rows batches have: layouts for training, shapes for inference.

What the choices rest on is in results/packing.md.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from splitner_jax.inputs.packing import (
  Group,
  Layout,
  Packer,
  Shape,
  SmallShape,
  num_tokens,
)

CAPACITY_MULTIPLE = 16
_LENGTH_MULTIPLE = 8
_SAMPLE = 2_000  # Examples that are packed to compare layouts.
_MOST_PADDING = 0.045
_SECOND_SHAPE_PAYS = 0.85  # Of the cost with one shape, to be compiled for.
USUAL_LENGTH = 40
_SOME_ROWS = 3
# What a token costs on CPU in a batch of one row and of three; in one of ten
# it costs 1. Measured with MiniLM.
_FEW_COST, _SOME_COST = 1.32, 1.08


def choose_layouts(
  lengths: np.ndarray, batch_size: float, row_length: int
) -> list[Layout]:
  """One layout, or two of which the second takes the long examples.

  Args:
    lengths: int[N] tokens of the examples.
    batch_size: examples that a batch is to hold on average.
    row_length: tokens of a row, more if an example is longer; 0: whatever is
      fastest on CPU.
  """
  if row_length:
    return [_uniform(lengths, batch_size, row_length)]
  return _cheapest(lengths, batch_size)


def _uniform(lengths: np.ndarray, batch_size: float, row_length: int) -> Layout:
  """Rows of one length, that of the longest example if that is more."""
  length = max(row_length, _round_up(int(lengths.max())))
  wanted = batch_size * float(lengths.mean()) / (1 - _MOST_PADDING)
  return (Group(max(1, round(wanted / length)), length),)


def _cheapest(lengths: np.ndarray, batch_size: float) -> list[Layout]:
  """The layouts with which an epoch costs least on CPU.

  One, or two if what few long examples need would slow all batches down.
  """
  rng = np.random.default_rng(0)
  chosen = lengths
  if len(lengths) > _SAMPLE:
    chosen = rng.choice(lengths, _SAMPLE, replace=False)
  longest = _round_up(int(lengths.max()))
  wanted = batch_size * float(lengths.mean()) / 0.97
  middle = _round_up(int(np.median(lengths)))
  bases = sorted(
    {
      min(_round_up(round(middle * factor)), longest)
      for factor in (1, 1.25, 1.5, 1.75, 2, 2.125, 2.25, 2.5, 3)
    }
  )

  def with_long_row(length: int, base: int) -> Layout:
    """One row for the longest, the others of the base's length."""
    if base == length:
      return (Group(max(1, round(wanted / length)), length),)
    rest = max(0, round((wanted - length) / base))
    return (Group(1, length), *([Group(rest, base)] if rest else []))

  best_cost, best = _best(chosen, [[with_long_row(longest, b)] for b in bases])
  # The lengths beyond which an example would be a long one.
  splits = {
    _round_up(int(q)) for q in np.quantile(lengths, (0.98, 0.99, 0.998))
  }
  long_layout = (Group(max(1, round(wanted / longest)), longest),)
  pairs = [
    [with_long_row(split, base), long_layout]
    for split in splits
    for base in bases
    if base <= split < longest
  ]
  if pairs and longest > 2 * min(splits):
    cost, pair = _best(chosen, pairs)
    if cost < _SECOND_SHAPE_PAYS * best_cost:
      return pair
  return best


def _best(
  lengths: np.ndarray, candidates: list[list[Layout]]
) -> tuple[float, list[Layout]]:
  """Of candidates that pad little the cheapest, and its cost per token."""
  found = []
  for layouts in candidates:
    cost, padding = _try(lengths, layouts)
    found.append((padding > _MOST_PADDING, cost, layouts))
  _, cost, layouts = min(found)
  return cost, layouts


def _try(lengths: np.ndarray, layouts: Sequence[Layout]) -> tuple[float, float]:
  """Cost per real token and padding of packed examples of these lengths."""
  shapes = [Shape(layout, 0) for layout in layouts]
  n = len(lengths)
  packer = Packer(lengths, np.zeros(n, int), shapes)
  cost = total = 0.0
  for batch in packer.fill(range(n)):
    layout = batch.shape.layout
    total += num_tokens(layout)
    cost += sum(g.rows * g.length * _cost(g.length) for g in layout)
  used = float(lengths.sum())
  return cost / used, 1 - used / total


def _cost(length: int) -> float:
  """Relative time of a token in a row of this length, on CPU.

  A line through measured steps of MiniLM in rows of 88, 128 and 256.
  """
  return 0.9 + 0.0015 * length


def _round_up(n: int) -> int:
  return -(-n // _LENGTH_MULTIPLE) * _LENGTH_MULTIPLE


class InferenceShapes(NamedTuple):
  """Shapes of batches for any examples.

  Attributes:
    few: one row, for what is left at the end, and for few at once.
    some: three rows, or one where many are not much more.
    many: for the rest.
    long: for what is longer than the rows of `many`.
  """

  few: Shape
  some: Shape
  many: Shape
  long: Shape

  def costs_on_cpu(self) -> list[SmallShape]:
    """What batches of `some` and `few` cost on CPU."""

    def cost(shape: Shape, of_token: float) -> SmallShape:
      ratio = num_tokens(shape.layout) / num_tokens(self.many.layout)
      return SmallShape(shape, min(1.0, of_token * ratio))

    return [cost(self.some, _SOME_COST), cost(self.few, _FEW_COST)]


def inference_shapes(
  batch_size: int,
  max_length: int,
  targets_per_token: float,
  row_length: int,
  devices: int = 1,
) -> InferenceShapes:
  """Shapes for examples whose number and lengths are not known.

  Args:
    batch_size: sentences of usual length that a batch holds, about.
    max_length: tokens of the longest example.
    targets_per_token: how many targets there can be.
    row_length: tokens of a row.
    devices: of whose number the rows are a multiple.
  """
  row_length = min(row_length, max_length)
  many = max(1, round(batch_size * USUAL_LENGTH / row_length))
  long = max(1, many * row_length // (2 * max_length))

  def shape(rows: int, length: int) -> Shape:
    rows = -(-rows // devices) * devices
    targets = max(int(rows * length * targets_per_token), 1)
    return Shape((Group(rows, length),), targets)

  some = _SOME_ROWS if many > 2 * _SOME_ROWS else 1
  return InferenceShapes(
    shape(1, row_length),
    shape(some, row_length),
    shape(many, row_length),
    shape(long, max_length),
  )
