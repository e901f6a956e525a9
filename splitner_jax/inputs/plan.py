"""Which examples make up each batch of training, and of which shape.

A plan is a function of seed, epoch and the number of the batch alone, the same
on every host and for any number of devices: a run resumes from two numbers.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from splitner_jax.inputs.examples import Examples
from splitner_jax.inputs.packing import (
  Group,
  Layout,
  Packer,
  Placement,
  Shape,
  TextKeys,
  num_tokens,
)

_LENGTH_MULTIPLE = 8
_CAPACITY_MULTIPLE = 16
_SAMPLE = 2_000  # Examples that are packed to compare layouts.
_SAMPLED_BATCHES = 1_000  # That are packed to see what a batch needs.
_CHUNK = 50_000  # Examples that are looked at together.
_MOST_PADDING = 0.045
_SECOND_SHAPE_PAYS = 0.85  # Of the cost with one shape, to be compiled for.


@dataclasses.dataclass(frozen=True)
class Plan:
  """The batches of a training.

  Attributes:
    packer: puts the examples into batches.
    count: examples of an epoch.
    seed: 0 or more.
    shapes: of the batches.
    batches: how many an epoch has, about: the first one's number.
    padding: share of the token positions that is padding.
  """

  packer: Packer
  count: int
  seed: int
  shapes: tuple[Shape, ...]
  batches: float
  padding: float

  def epoch(self, epoch: int, first: int = 0) -> Iterator[Placement]:
    """The batches of an epoch (from 0), the first ones left out.

    Examples are drawn without replacement.
    """
    rng = np.random.Generator(np.random.Philox(key=[self.seed, epoch]))
    order = rng.permutation(self.count).tolist()
    return itertools.islice(self.packer.batches(order), first, None)


def make_plan(
  examples: Examples,
  text_keys: TextKeys,
  *,
  batch_size: int,
  seed: int,
  row_length: int = 0,
) -> Plan:
  """Chooses layouts and capacities, and plans the batches.

  Args:
    examples: at least one.
    text_keys: what the features read of them.
    batch_size: examples that a batch holds on average, as nearly as whole rows
      allow; of few, one row may hold more.
    seed: decides the order of the examples.
    row_length: tokens of a row, more if an example is longer; 0: whatever is
      fastest on CPU.
  """
  lengths = examples.lengths
  if row_length:
    layouts = [_uniform(lengths, batch_size, row_length)]
  else:
    layouts = _cheapest(lengths, batch_size)
  no_limits = []
  for layout in layouts:
    most = num_tokens(layout)
    no_limits.append(Shape(layout, most, (most, most), (most, most)))
  target_counts = examples.target_counts
  packer = Packer(lengths, target_counts, no_limits, text_keys)
  # What batches need is read off those of the first epoch.
  rng = np.random.Generator(np.random.Philox(key=[seed, 0]))
  order = rng.permutation(len(examples)).tolist()
  least = _needs_of_one(examples, text_keys)
  needs = {shape.layout: least.copy() for shape in no_limits}
  read = used = total = batches = 0
  for batch in itertools.islice(packer.fill(order), _SAMPLED_BATCHES):
    need = needs[batch.shape.layout]
    for name, values in batch.need().items():
      need[name] = np.maximum(need[name], values)
    placed = batch.placement().examples
    read += len(placed)
    used += int(lengths[placed].sum())
    total += num_tokens(batch.shape.layout)
    batches += 1
  shapes = tuple(
    Shape(
      layout,
      **{
        name: _capacity(values, num_tokens(layout))
        for name, values in needs[layout].items()
      },
    )
    for layout in layouts
  )
  return Plan(
    Packer(lengths, target_counts, shapes, text_keys),
    len(examples),
    seed,
    shapes,
    batches=batches * len(examples) / read,
    padding=1 - used / total,
  )


def _capacity(values: np.ndarray, most: int):
  """Values as a shape has them, rounded up: an int, or a pair of them."""
  rounded = -(-values // _CAPACITY_MULTIPLE) * _CAPACITY_MULTIPLE
  result = np.minimum(rounded, most).tolist()
  return tuple(result) if isinstance(result, list) else result


def _needs_of_one(
  examples: Examples, text_keys: TextKeys
) -> dict[str, np.ndarray]:
  """What the examples need at most, each by itself; see `_Batch.need`."""
  need = {"targets": np.array(examples.target_counts.max())}
  targets = examples.target_tokens()
  for name, alphabet in text_keys.alphabets.items():
    keys = text_keys.of(name, slice(None), targets)
    ends = examples.target_offsets if name == "char" else examples.token_offsets
    most: np.ndarray = np.zeros(2, int)
    for first in range(0, len(examples), _CHUNK):
      bounds = ends[first : first + _CHUNK + 1]
      owners = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
      pairs = np.unique(
        owners * len(alphabet.ids) + keys[bounds[0] : bounds[-1]]
      )
      owner, key = np.divmod(pairs, len(alphabet.ids))
      for long in (False, True):
        counts = np.bincount(owner[alphabet.is_long[key] == long], minlength=1)
        most[int(long)] = max(most[int(long)], counts.max())
    need[name] = most
  return need


def _uniform(lengths: np.ndarray, batch_size: int, row_length: int) -> Layout:
  """Rows of one length, that of the longest example if that is more."""
  length = max(row_length, _round_up(int(lengths.max())))
  wanted = batch_size * float(lengths.mean()) / (1 - _MOST_PADDING)
  return (Group(max(1, round(wanted / length)), length),)


def _cheapest(lengths: np.ndarray, batch_size: int) -> list[Layout]:
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


def inference_shapes(
  batch_size: int,
  max_length: int,
  features: Sequence[str],
  targets_per_token: float,
  row_length: int,
  devices: int = 1,
) -> tuple[Shape, tuple[Shape, Shape]]:
  """Shapes for any examples: few at once; many, long.

  Args:
    batch_size: sentences of usual length that a batch holds, about.
    max_length: tokens of the longest example.
    features: those of the task.
    targets_per_token: how many targets there can be.
    row_length: tokens of a row.
    devices: of whose number the rows are a multiple.
  """
  row_length = min(row_length, max_length)
  many = max(1, round(batch_size * _USUAL_LENGTH / row_length))
  long = max(1, many * row_length // (2 * max_length))

  def shape(rows: int, length: int, *, takes_any: bool = False) -> Shape:
    rows = -(-rows // devices) * devices
    tokens = rows * length
    # Texts repeat and few are long, patterns are few: usually that fills no
    # batch. What has more of them by itself is read with the long ones.
    char = tokens * 3 // 8, max(tokens // 12, _CAPACITY_MULTIPLE)
    pattern = max(tokens // 16, 3 * _CAPACITY_MULTIPLE), _CAPACITY_MULTIPLE
    if takes_any:
      char = pattern = tokens // 2, max(tokens // 8, length)
    capacity = {"char": char, "pattern": pattern}
    return Shape(
      (Group(rows, length),),
      max(int(tokens * targets_per_token), 1),
      **{name: capacity[name] for name in capacity if name in features},
    )

  return shape(1, row_length), (
    shape(many, row_length),
    shape(long, max_length, takes_any=True),
  )


_USUAL_LENGTH = 40
