"""Random examples of given lengths, and batches of them."""

from collections.abc import Sequence

import numpy as np

from splitner_jax.inputs.batches import Batch, Batcher
from splitner_jax.inputs.examples import Examples
from splitner_jax.inputs.packing import Group, Packer, Shape, num_tokens
from splitner_jax.inputs.ragged import flat_ranges, offsets
from splitner_jax.inputs.text_tables import TextKeys

TEXTS = ("[CLS]", "cell", "IL-2", "internationalised", "B2", "a" * 40, "é")


def make(
  lengths: Sequence[int],
  *,
  one_target: bool = False,
  vocab: int = 50,
  texts: Sequence[str] = TEXTS,
) -> Examples:
  """Examples with all columns.

  Args:
    lengths: tokens of each.
    one_target: whether the first token alone is a target; if not, some are,
      and the last always.
    vocab: ids are below; 0 is padding.
    texts: those of the tokens.
  """
  rng = np.random.default_rng(len(lengths))
  sizes = np.array(lengths, np.int64)
  token_offsets = offsets(sizes)
  total = int(token_offsets[-1])
  positions = flat_ranges(np.zeros(len(sizes), np.int64), sizes)
  if one_target:
    is_target = positions == 0
  else:
    is_target = rng.random(total) < 0.6
    is_target[token_offsets[1:] - 1] = True
  targets = positions[is_target]
  room = np.repeat(sizes, sizes)[is_target]
  start = rng.integers(0, room)
  count = len(targets)
  return Examples(
    token_offsets,
    rng.integers(1, vocab, total).astype(np.int32),
    positions.astype(np.int16),
    rng.integers(0, 2, total).astype(np.int8),
    np.zeros(total, np.int16),
    rng.integers(0, len(texts), total).astype(np.int32),
    texts,
    np.concatenate([[0], np.cumsum(is_target)])[token_offsets],
    targets.astype(np.int32),
    rng.integers(0, 4, count).astype(np.int32),
    rng.integers(0, 2, count).astype(np.float32),
    np.stack([start, rng.integers(start, room) + 1], axis=1).astype(np.int32),
    rng.integers(0, 6, total).astype(np.int16),
    np.arange(len(sizes), dtype=np.int32),
    np.zeros(len(sizes), np.int32),
  )


def shape(layout: Sequence[tuple[int, int]]) -> Shape:
  """One with room for any targets, and for more texts than TEXTS has."""
  groups = tuple(Group(*group) for group in layout)
  size = num_tokens(groups)
  return Shape(groups, size, (size // 2, size // 2), (size // 2, size // 2))


def pack(
  examples: Examples,
  layout: Sequence[tuple[int, int]],
  features: tuple[str, ...] = (),
  *,
  reference: bool = False,
) -> list[Batch]:
  """All of them in batches of one layout, for one device."""
  text_keys = TextKeys(examples, features, reference)
  packer = Packer(
    examples.lengths, examples.target_counts, [shape(layout)], text_keys
  )
  batcher = Batcher(examples, features, text_keys, 0, 1)
  order = range(len(examples))
  return [batcher.assemble(placed) for placed in packer.batches(order)]
