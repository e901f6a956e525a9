"""Packing: whole examples behind each other in rows of a static layout.

A layout is a list of row groups, such as 8 rows of 88 tokens and one of 216.
Everything but attention and the LSTM runs over all tokens of a batch flat,
group after group and row after row; these two run group by group. So one layout
is one program.
"""

import bisect
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from splitner_jax.inputs import text_tables
from splitner_jax.inputs.text_tables import TextKeys

POOL = 64
"""Examples that wait for a row at a time, at most."""
_TIGHT = 2


class Group(NamedTuple):
  """Rows of one length."""

  rows: int
  length: int


Layout = tuple[Group, ...]


def num_tokens(layout: Layout) -> int:
  """Tokens of a batch, padding included."""
  return sum(group.rows * group.length for group in layout)


def longest_row(layout: Layout) -> int:
  """Tokens of the longest row."""
  return max(group.length for group in layout)


def split_layout(layout: Layout, devices: int) -> Layout:
  """The part of one device; empty rows fill up what cannot be divided."""
  return tuple(Group(-(-g.rows // devices), g.length) for g in layout)


class Shape(NamedTuple):
  """What a compiled program depends on.

  Attributes:
    layout: the rows of a batch, over all devices.
    targets: the most targets of a batch.
    char, pattern: the most distinct keys of a batch, (short, long); see
      `text_tables`.
  """

  layout: Layout
  targets: int
  char: tuple[int, int] = (0, 0)
  pattern: tuple[int, int] = (0, 0)

  def describe(self) -> str:
    rows = " + ".join(f"{rows} x {length}" for rows, length in self.layout)
    return f"{rows} tokens, {self.targets} targets"


class SmallShape(NamedTuple):
  """A shape for what is left at the end.

  Attributes:
    shape: of the batch.
    cost: of the batch; one of the usual shape costs 1.
  """

  shape: Shape
  cost: float


class Placement(NamedTuple):
  """One batch: which examples it holds, and where.

  Attributes:
    shape: of its arrays.
    examples: int64[n].
    rows, columns: int64[n] where each starts; rows count through the groups.
  """

  shape: Shape
  examples: np.ndarray
  rows: np.ndarray
  columns: np.ndarray


class _Batch:
  """A batch that is being filled."""

  def __init__(self, shape: Shape, packer: "Packer"):
    self._packer = packer
    self.shape = shape
    lengths = [g.length for g in shape.layout for _ in range(g.rows)]
    self._length = lengths
    # Rows by the tokens that are left in them.
    self._rows: dict[int, list[int]] = {}
    for row, length in enumerate(lengths):
      self._rows.setdefault(length, []).append(row)
    self._spaces = sorted(self._rows)
    self._placed: list[tuple[int, int, int]] = []
    self._targets = 0
    self._keys: dict[str, set[int]] = {name: set() for name in packer.features}

  def has_row(self, length: int) -> bool:
    """Whether a row takes an example of this length."""
    return bool(self._spaces) and length <= self._spaces[-1]

  def is_tight(self, length: int) -> bool:
    """Whether it would fill a row, or almost."""
    return any(length + left in self._rows for left in range(_TIGHT + 1))

  def add(self, example: int) -> bool:
    """Puts an example into the fullest row that takes it.

    Returns:
      False, and nothing is done, if the batch would have more examples than
      asked for, or more targets or texts than its shape.
    """
    packer = self._packer
    targets = self._targets + packer.target_counts[example]
    if targets > self.shape.targets or len(self) == packer.most:
      return False
    keys = {name: packer.keys(name, example) for name in self._keys}
    for name, more in keys.items():
      both = self._keys[name] | more
      counts = packer.key_counts(name, both)
      if not text_tables.fits(counts, getattr(self.shape, name)):
        return False
      keys[name] = both
    self._targets = targets
    self._keys = keys
    length = packer.lengths[example]
    space = self._spaces[bisect.bisect_left(self._spaces, length)]
    row = self._rows[space].pop()
    if not self._rows[space]:
      del self._rows[space]
      self._spaces.remove(space)
    self._placed.append((example, row, self._length[row] - space))
    left = space - length
    if left:
      if left not in self._rows:
        self._rows[left] = []
        bisect.insort(self._spaces, left)
      self._rows[left].append(row)
    return True

  @property
  def num_tokens(self) -> int:
    """Tokens of its examples."""
    return sum(self._packer.lengths[e] for e, _, _ in self._placed)

  def placement(self) -> Placement:
    columns = np.array(self._placed, np.int64).reshape(-1, 3)
    return Placement(self.shape, columns[:, 0], columns[:, 1], columns[:, 2])

  def need(self) -> dict[str, tuple[int, int] | int]:
    """How many targets there are, and of each feature short and long keys."""
    counts = self._packer.key_counts
    return {
      "targets": self._targets,
      **{name: counts(name, keys) for name, keys in self._keys.items()},
    }

  def __len__(self) -> int:
    return len(self._placed)


class Packer:
  """Puts examples into batches, in about the order in which they come.

  A few examples wait at a time. The oldest that fills a row, or almost, goes
  first, else the oldest that fits, each into the fullest row that takes it. A
  batch ends when no row takes any of them, or when it would have too many
  targets or distinct texts.
  """

  def __init__(
    self,
    lengths: np.ndarray,
    target_counts: np.ndarray,
    shapes: Sequence[Shape],
    text_keys: TextKeys | None = None,
    *,
    small: Sequence[SmallShape] = (),
    pool: int = POOL,
    most: int | None = None,
  ):
    """What is to be packed.

    Args:
      lengths, target_counts: int[N] tokens and targets of each example.
      shapes: a batch has the first that takes the example that waits longest;
        the last of them takes any.
      text_keys: what the features read of them, if there are any.
      small: for what is left at the end, if together they cost no more than
        another batch.
      pool: how many may wait.
      most: examples of a batch; None: as many as its rows take.
    """
    self.most = len(lengths) if most is None else most
    self.lengths: list[int] = lengths.tolist()
    self.target_counts: list[int] = target_counts.tolist()
    alphabets = text_keys.alphabets if text_keys else {}
    self.features = tuple(alphabets)
    self._long_keys = {
      name: set(np.flatnonzero(alphabet.is_long).tolist())
      for name, alphabet in alphabets.items()
    }
    self._text_keys = text_keys
    self._shapes = shapes
    self._small = small
    self._pool = pool

  def keys(self, name: str, example: int) -> set[int]:
    """The distinct keys that a feature reads of an example."""
    assert self._text_keys
    return set(self._text_keys.of_example(name, example).tolist())

  def key_counts(self, name: str, keys: set[int]) -> tuple[int, int]:
    """How many of a feature's keys are short and long."""
    long = len(keys & self._long_keys[name])
    return len(keys) - long, long

  def batches(self, order: Iterable[int]) -> Iterator[Placement]:
    """Batches that hold each example of `order` once."""
    for batch in self.fill(order):
      yield batch.placement()

  def fill(self, order: Iterable[int]) -> Iterator[_Batch]:
    """Like `batches`, and what each of them needs can be asked."""
    coming = iter(order)
    waiting = list(itertools.islice(coming, self._pool))
    while waiting:
      if self._small and len(waiting) < self._pool:
        yield from self._take_small(waiting)
        if not waiting:
          return
      for shape in self._shapes:
        batch = _Batch(shape, self)
        self._fill(batch, waiting, coming)
        if len(batch):
          break
      else:
        raise ValueError(
          f"an example of {self.lengths[waiting[0]]} tokens and "
          f"{self.target_counts[waiting[0]]} targets fits no shape"
        )
      yield batch

  def _take_small(self, waiting: list[int]) -> list[_Batch]:
    """Takes all out, if small batches hold it, and cheaply enough."""
    empty = _Batch(self._small[0].shape, self)
    # Longer ones first, in whose rows others have room.
    waiting.sort(key=lambda example: empty.has_row(self.lengths[example]))
    taken: list[_Batch] = []
    left, cost = waiting, 0.0
    while left:
      batch, more, left = self._cheapest_small(left)
      cost += more
      if not len(batch) or cost > 1:
        return []
      taken.append(batch)
    waiting.clear()
    return taken

  def _cheapest_small(self, left: list[int]) -> tuple[_Batch, float, list[int]]:
    """The next small batch, what it costs, and what it leaves."""
    found = []
    for shape, cost in self._small:
      rest = left.copy()
      batch = _Batch(shape, self)
      self._fill(batch, rest, iter(()))
      found.append((batch, cost, rest))
    return min(found, key=lambda f: f[1] / max(1, f[0].num_tokens))

  def _fill(
    self, batch: _Batch, waiting: list[int], coming: Iterator[int]
  ) -> None:
    """Moves examples into a batch: none if the oldest does not fit."""
    lengths = self.lengths
    if not batch.has_row(lengths[waiting[0]]):
      return
    place = 0  # The oldest comes first, so that none waits for ever.
    while batch.add(waiting[place]):
      del waiting[place]
      waiting += itertools.islice(coming, 1)
      places = [i for i, e in enumerate(waiting) if batch.has_row(lengths[e])]
      if not places:
        return
      place = next(
        (i for i in places if batch.is_tight(lengths[waiting[i]])), places[0]
      )
