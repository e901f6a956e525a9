"""Length-bucketed batches of static shape.

What batch i holds is a pure function of (seed, epoch, i), the same on every
host: a run resumes from its step number alone.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from splitner_jax.data import patterns
from splitner_jax.data.examples import Example
from splitner_jax.data.text_tables import SHORT_WIDTH, TextTable

LENGTH_MULTIPLE = 4
"""Bucket lengths are multiples of this."""
_MAX_BUCKETS = 7  # With the shape of over-full batches, eight shapes.
_BATCHES_PER_BUCKET = 12  # Fewer in an epoch do not pay for the compilation.
_ROUND = 16
_TEXT_FEATURES = ("char", "pattern")


class Shape(NamedTuple):
  """What a compiled step depends on.

  Attributes:
    length: tokens of a row.
    char, pattern: rows of the (short, long) tables of distinct texts on one
      device.
  """

  length: int
  char: tuple[int, int] = (0, 0)
  pattern: tuple[int, int] = (0, 0)

  @classmethod
  def with_room(
    cls, length: int, features: Sequence[str], room: tuple[int, int]
  ) -> "Shape":
    """One with tables of this size for those of the features that have any."""
    return cls(length, **dict.fromkeys(_with_tables(features), room))


def _with_tables(features: Sequence[str]) -> list[str]:
  return [name for name in features if name in _TEXT_FEATURES]


def _round_up(n, multiple: int):
  """The next multiple, of an int or an array of them."""
  return -(-n // multiple) * multiple


def fit_buckets(
  lengths: Sequence[int] | np.ndarray, batch_size: int
) -> list[int]:
  """Bucket lengths with the least padding.

  Args:
    lengths: lengths of the examples.
    batch_size: rows of a batch; few batches get few buckets.

  Returns:
    At most seven increasing multiples of LENGTH_MULTIPLE, the last at least
    max(lengths).
  """
  batches = len(lengths) // batch_size
  count = min(max(batches // _BATCHES_PER_BUCKET, 2), _MAX_BUCKETS)
  rounded = _round_up(np.asarray(lengths), LENGTH_MULTIPLE)
  sizes, numbers = np.unique(rounded, return_counts=True)
  n = len(sizes)
  below = np.concatenate([[0], np.cumsum(numbers)])
  # cost[j]: padded tokens of the examples up to size j with k buckets.
  cost = sizes * below[1:]
  choices = []
  for _ in range(min(count, n) - 1):
    # Bucket j holds what is above bucket i.
    table = cost[:, None] + sizes[None, :] * (
      below[1:][None, :] - below[1:][:, None]
    )
    table = np.where(np.arange(n)[:, None] < np.arange(n)[None, :], table, 1e18)
    choice = table.argmin(axis=0)
    best = table.min(axis=0)
    choices.append(np.where(best < cost, choice, -1))
    cost = np.minimum(best, cost)
  bounds, j = [], n - 1
  for choice in reversed(choices):
    if choice[j] >= 0:
      bounds.append(int(sizes[j]))
      j = choice[j]
  bounds.append(int(sizes[j]))
  return bounds[::-1]


@dataclasses.dataclass(frozen=True)
class BatchPlan:
  """Which examples make up each batch of training.

  Examples are drawn without replacement in each epoch. The rows that a bucket
  has left over move up a bucket, so an epoch has one partial batch.

  Attributes:
    lengths: int[N] lengths of the examples.
    batch_size: rows of a batch, over all devices.
    seed: 0 or more.
    buckets: increasing bucket lengths.
  """

  lengths: np.ndarray
  batch_size: int
  seed: int
  buckets: tuple[int, ...]

  @property
  def steps_per_epoch(self) -> int:
    return -(-len(self.lengths) // self.batch_size)

  def batch(self, step: int) -> tuple[int, np.ndarray]:
    """Length and int[batch_size] rows (-1: no row) of a global step."""
    epoch, i = divmod(step, self.steps_per_epoch)
    return _epoch(self, epoch)[i]

  def padding(self, epoch: int = 0) -> float:
    """Share of an epoch's token positions that is padding."""
    batches = _epoch(self, epoch)
    total = sum(length for length, _ in batches) * self.batch_size
    return 1.0 - float(np.sum(self.lengths)) / total

  # Identity is enough: the cache below holds one plan's epochs at a time.
  __hash__ = object.__hash__
  __eq__ = object.__eq__


@functools.lru_cache(maxsize=4)
def _epoch(plan: BatchPlan, epoch: int) -> list[tuple[int, np.ndarray]]:
  rng = np.random.Generator(np.random.Philox(key=[plan.seed, epoch]))
  order = rng.permutation(len(plan.lengths))
  bucket_of = np.searchsorted(plan.buckets, plan.lengths[order])
  batches, left = [], np.array([], order.dtype)
  for b, length in enumerate(plan.buckets):
    rows = np.concatenate([left, order[bucket_of == b]])
    full = len(rows) // plan.batch_size * plan.batch_size
    batches += [(length, r) for r in rows[:full].reshape(-1, plan.batch_size)]
    left = rows[full:]
  if len(left):
    padded = np.full(plan.batch_size, -1)
    padded[: len(left)] = left
    # No bucket above: they fit the bucket of the longest of them.
    longest = np.searchsorted(plan.buckets, plan.lengths[left].max())
    batches.append((plan.buckets[longest], padded))
  return [batches[i] for i in rng.permutation(len(batches))]


class Batcher:
  """Turns examples into arrays of one of a few shapes.

  Attributes:
    examples: where rows are taken from.
    features: any of "char", "pattern", "pos", "mention".
    pad_id: vocabulary id of padding.
    devices: into how many equal parts the rows are split.
    reference_text: whether the features read texts by the reference's rules;
      see `patterns`.
  """

  def __init__(
    self,
    examples: Sequence[Example],
    features: Sequence[str],
    pad_id: int,
    devices: int,
    reference_text: bool = False,
  ):
    self.examples = examples
    self.features = tuple(features)
    self.pad_id = pad_id
    self.devices = devices
    self.reference_text = reference_text

  def _pattern(self, text: str) -> str:
    return patterns.pattern(text, self.reference_text)

  def _tables(self, rows: np.ndarray) -> dict[str, list[TextTable]]:
    """Distinct texts of each device's rows, for each feature."""
    tables: dict[str, list[TextTable]] = {
      name: [TextTable() for _ in range(self.devices)]
      for name in _with_tables(self.features)
    }
    for device, part in enumerate(rows.reshape(self.devices, -1)):
      texts = {t for r in part if r >= 0 for t in self.examples[r].texts}
      # Sorted, since the order of a set of strings differs between runs.
      if "char" in tables:
        for text in sorted(texts):
          tables["char"][device].add(
            text, patterns.character_ids(text, self.reference_text)
          )
      if "pattern" in tables:
        for text in sorted({self._pattern(t) for t in texts}):
          tables["pattern"][device].add(
            text, patterns.pattern_ids(text, self.reference_text)
          )
    return tables

  def fit_shapes(self, plan: BatchPlan, sample: int = 300) -> list[Shape]:
    """Shapes of a plan's buckets, with room for the distinct texts.

    Args:
      plan: the batches to come.
      sample: how many batches to look at.

    Returns:
      One shape for each bucket and, if texts are features, one more that
      holds any batch.
    """
    names = _with_tables(self.features)
    if not names:
      return [Shape(length) for length in plan.buckets]
    need: dict[int, dict[str, np.ndarray]] = {
      length: {name: np.zeros(2, int) for name in names}
      for length in plan.buckets
    }
    for step in range(min(sample, 3 * plan.steps_per_epoch)):
      length, rows = plan.batch(step)
      for name, tables in self._tables(rows).items():
        for table in tables:
          need[length][name] = np.maximum(need[length][name], table.sizes)
    per_device = plan.batch_size // self.devices

    def shape(length: int) -> Shape:
      # A tenth more than was seen: an over-full batch is dear.
      sizes = {
        name: tuple(
          min(_round_up(int(n * 1.1) + 1, _ROUND), per_device * length)
          for n in size
        )
        for name, size in need[length].items()
      }
      return Shape(length, **sizes)

    longest = plan.buckets[-1]
    room = (_ROUND, per_device * longest)
    return [shape(length) for length in plan.buckets] + [
      Shape.with_room(longest, names, room)
    ]

  def assemble(
    self, rows: np.ndarray, length: int, shapes: Sequence[Shape]
  ) -> tuple[Shape, dict[str, np.ndarray]]:
    """Arrays of a batch.

    Args:
      rows: int[B] indices of examples, -1 for a row without one.
      length: at least the length of each of them.
      shapes: the shapes to choose from; the last one takes what no other can.

    Returns:
      The shape, and arrays with leading axes [devices, B / devices] (the
      tables of distinct texts: [devices, U]); see `models.heads`. `row_mask`
      says which rows are real.
    """
    tables = self._tables(rows)
    shape = next(
      (
        s
        for s in shapes
        if s.length == length
        and all(
          table.fits(getattr(s, name))
          for name, parts in tables.items()
          for table in parts
        )
      ),
      shapes[-1],
    )
    arrays = self._rows(rows, shape.length)
    tables_of: dict[str, np.ndarray] = {}
    for name, parts in tables.items():
      index, short, long = self._feature(
        name, rows, parts, shape.length, getattr(shape, name)
      )
      arrays[f"{name}_index"] = index
      tables_of |= {f"{name}_short": short, f"{name}_long": long}
    split = {
      key: value.reshape(self.devices, -1, *value.shape[1:])
      for key, value in arrays.items()
    }
    return shape, split | tables_of

  def _rows(self, rows: np.ndarray, length: int) -> dict[str, np.ndarray]:
    """The arrays that have one row for each example."""
    some = self.examples[next(r for r in rows if r >= 0)]
    label_shape = (len(rows), length)[: some.labels.ndim + 1]
    arrays = {
      "input_ids": np.full((len(rows), length), self.pad_id, np.int32),
      "token_types": np.zeros((len(rows), length), np.int32),
      "mask": np.zeros((len(rows), length), bool),
      "row_mask": rows >= 0,
      "labels": np.zeros(label_shape, np.int32),
      "weights": np.zeros(label_shape, np.float32),
    }
    if "pos" in self.features:
      arrays["pos_ids"] = np.zeros((len(rows), length), np.int32)
    if "mention" in self.features:
      arrays["mention"] = np.zeros((len(rows), length), bool)
    for i, r in enumerate(rows):
      if r < 0:
        continue
      example = self.examples[r]
      n = len(example)
      arrays["input_ids"][i, :n] = example.ids
      arrays["token_types"][i, :n] = example.types
      arrays["mask"][i, :n] = True
      where = (i, slice(n))[: some.labels.ndim + 1]
      arrays["labels"][where] = example.labels
      arrays["weights"][where] = example.weights
      if "pos" in self.features:
        arrays["pos_ids"][i, :n] = example.pos
      if "mention" in self.features:
        arrays["mention"][i, example.positions] = True
    return arrays

  def _feature(
    self,
    name: str,
    rows: np.ndarray,
    tables: list[TextTable],
    length: int,
    capacity: tuple[int, int],
  ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Index int32[B, length], and the short and long tables it points into."""
    short = np.zeros((self.devices, capacity[0], SHORT_WIDTH), np.int32)
    long = np.zeros(
      (self.devices, capacity[1], patterns.MAX_CHARACTERS), np.int32
    )
    index = np.zeros((len(rows), length), np.int32)
    per_device = len(rows) // self.devices
    for device, table in enumerate(tables):
      row_of = table.fill(short[device], long[device])
      for i in range(device * per_device, (device + 1) * per_device):
        if rows[i] < 0:
          continue
        texts: Sequence[str] = self.examples[rows[i]].texts
        if name == "pattern":
          texts = [self._pattern(t) for t in texts]
        index[i, : len(texts)] = [row_of[t] for t in texts]
    return index, short, long


def inference_batches(
  lengths: Sequence[int], batch_size: int
) -> Iterator[tuple[int, np.ndarray]]:
  """Batches of like lengths that cover each example once.

  Lengths are rounded so that there are few shapes: to a step of a quarter of
  the power of two below.

  Yields:
    Length and int[batch_size] rows (-1: no row).
  """
  order = np.argsort(np.asarray(lengths), kind="stable")
  for start in range(0, len(order), batch_size):
    part = order[start : start + batch_size]
    rows = np.full(batch_size, -1)
    rows[: len(part)] = part
    longest = max(int(lengths[part[-1]]), 16)
    step = max(8, 1 << (longest.bit_length() - 3))
    yield _round_up(longest, step), rows
