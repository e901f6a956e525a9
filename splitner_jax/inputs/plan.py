"""Which examples make up each batch of training, and of which shape.

A batch is a function of seed, row length, epoch and its number alone, the same
on every host and for any number of devices: a run resumes from epoch and number
if it keeps the row length, which is not the same on every kind of machine.
"""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np

from splitner_jax.inputs.examples import Examples
from splitner_jax.inputs.layouts import CAPACITY_MULTIPLE, choose_layouts
from splitner_jax.inputs.packing import Packer, Placement, Shape, num_tokens
from splitner_jax.inputs.text_tables import TextKeys

_SAMPLED_BATCHES = 1_000  # That are packed to see what a batch needs.
_CHUNK = 50_000  # Examples that are looked at together.


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
    order = _order(self.count, self.seed, epoch)
    return itertools.islice(self.packer.batches(order), first, None)


def _order(count: int, seed: int, epoch: int) -> list[int]:
  """The order in which the examples of an epoch come."""
  rng = np.random.Generator(np.random.Philox(key=[seed, epoch]))
  return rng.permutation(count).tolist()


def make_plan(
  examples: Examples,
  text_keys: TextKeys,
  *,
  batch_size: float,
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
  layouts = choose_layouts(lengths, batch_size, row_length)
  no_limits = []
  for layout in layouts:
    most = num_tokens(layout)
    no_limits.append(Shape(layout, most, (most, most), (most, most)))
  target_counts = examples.target_counts
  packer = Packer(lengths, target_counts, no_limits, text_keys)
  # What batches need is read off those of the first epoch.
  order = _order(len(examples), seed, 0)
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
  rounded = -(-values // CAPACITY_MULTIPLE) * CAPACITY_MULTIPLE
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
