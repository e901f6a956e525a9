"""Placed examples as the arrays that a model reads."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from splitner_jax.inputs.examples import Examples
from splitner_jax.inputs.packing import (
  Layout,
  Placement,
  num_tokens,
  split_layout,
)
from splitner_jax.inputs.ragged import flat_ranges
from splitner_jax.inputs.text_tables import Alphabet, TextKeys

Arrays = dict[str, np.ndarray]


class Batch(NamedTuple):
  """Arrays of a batch, and whose targets they hold.

  Attributes:
    layout: the rows of one device.
    arrays: with leading axes [devices, ...] of the batcher's own devices; see
      `models.heads`.
    places: int64[n] where the batch's targets are in arrays of targets,
      [devices, targets], flat.
    targets: int64[n] which targets of the examples they are.
    texts: for features that are read from tables, int32 of all tokens
      ("pattern") or targets ("char"), which of the texts they are; 0 of
      padding.
  """

  layout: Layout
  arrays: Arrays
  places: np.ndarray
  targets: np.ndarray
  texts: Arrays


class Batcher:
  """Makes the arrays of batches.

  Attributes:
    examples: where they are taken from.
    features: any of "char", "pattern", "pos".
    text_keys: what the features read of the examples; None: they are read
      from tables, and batches say which texts are where.
    pad_id: vocabulary id of padding.
    devices: into how many equal parts the rows are divided.
    own: the devices whose arrays are made.
  """

  def __init__(
    self,
    examples: Examples,
    features: Sequence[str],
    text_keys: TextKeys | None,
    pad_id: int,
    devices: int,
    own: range | None = None,
  ):
    """Makes nothing yet; of `own`, None means all devices."""
    self.examples = examples
    self.features = tuple(features)
    self.text_keys = text_keys
    self.pad_id = pad_id
    self.devices = devices
    self.own = range(devices) if own is None else own
    self._lengths = examples.lengths
    self._target_counts = examples.target_counts

  def assemble(self, placement: Placement) -> Batch:
    """The arrays of a batch.

    Of padding, segment, weight and all ids but `input_ids` are 0.
    """
    examples, devices = self.examples, len(self.own)
    layout = split_layout(placement.shape.layout, self.devices)
    device, start = self._starts(placement, layout)
    mine = (device >= self.own.start) & (device < self.own.stop)
    chosen, start = placement.examples[mine], start[mine]
    device = device[mine] - self.own.start
    size = num_tokens(layout)

    # Tokens: where they come from, and where they go.
    lengths = self._lengths[chosen]
    tokens = flat_ranges(examples.token_offsets[chosen], lengths)
    token_places = flat_ranges(device * size + start, lengths)

    def column(values: np.ndarray, fill: int = 0) -> np.ndarray:
      array = np.full(devices * size, fill, np.int32)
      array[token_places] = values
      return array.reshape(devices, size)

    arrays = {
      "input_ids": column(examples.ids[tokens], self.pad_id),
      "token_types": column(examples.types[tokens]),
      "positions": column(examples.positions[tokens]),
      # Unlike in the whole batch: neighbours in different rows differ too.
      "segments": column(np.repeat(np.flatnonzero(mine) + 1, lengths)),
      "parts": column(examples.parts[tokens]),
    }

    # Targets: those of a device behind each other.
    counts = self._target_counts[chosen]
    order = np.argsort(np.repeat(device, counts), kind="stable")
    targets = flat_ranges(examples.target_offsets[chosen], counts)[order]
    of_device = np.repeat(device, counts)[order]
    start_of = np.repeat(start, counts)[order]
    first = np.searchsorted(of_device, np.arange(devices))
    room = min(placement.shape.targets, size)
    places = of_device * room + np.arange(len(targets)) - first[of_device]

    def answers(values: np.ndarray) -> np.ndarray:
      shape = (devices * room, *values.shape[1:])
      array = np.zeros(shape, values.dtype)
      array[places] = values
      return array.reshape(devices, room, *values.shape[1:])

    arrays |= {
      "targets": answers((start_of + examples.targets[targets]).astype("i4")),
      "labels": answers(examples.labels[targets]),
      "weights": answers(examples.weights[targets]),
    }
    if examples.ranges is not None:
      ranges = examples.ranges[targets] + start_of[:, None]
      arrays["ranges"] = answers(ranges.astype(np.int32))

    # Features.
    owners = np.repeat(examples.token_offsets[chosen], counts)[order]
    target_tokens = owners + examples.targets[targets]
    if "pos" in self.features:
      if examples.pos is None:
        raise ValueError("the examples have no parts of speech")
      arrays["pos_ids"] = answers(examples.pos[target_tokens].astype(np.int32))
    if examples.words is not None:
      arrays["word_ids"] = answers(examples.words[targets])
    if self.text_keys is None:
      texts = {
        "char": lambda: answers(examples.texts[target_tokens]),
        "pattern": lambda: column(examples.pattern_texts[tokens]),
      }
      known = {n: texts[n]() for n in texts if n in self.features}
      return Batch(layout, arrays, places, targets, known)
    of_token = np.repeat(device, lengths)
    for name in self.text_keys.alphabets:
      keys = self.text_keys.of(name, tokens, target_tokens)
      by_device = of_device if name == "char" else of_token
      alphabet = self.text_keys.alphabets[name]
      capacity = getattr(placement.shape, name)
      index, tables = self._tables(alphabet, keys, by_device, capacity, size)
      put = answers if name == "char" else column
      arrays[f"{name}_index"] = put(index)
      arrays |= {f"{name}_{width}": table for width, table in tables.items()}
    return Batch(layout, arrays, places, targets, {})

  def _starts(
    self, placement: Placement, layout: Layout
  ) -> tuple[np.ndarray, np.ndarray]:
    """int64[n]: the device of each example, and where it starts there."""
    devices: list[np.ndarray] = []
    starts: list[np.ndarray] = []
    before = 0
    for whole, part in zip(placement.shape.layout, layout, strict=True):
      rows = np.arange(whole.rows)
      devices.append(rows // part.rows)
      starts.append(before + rows % part.rows * part.length)
      before += part.rows * part.length
    rows = placement.rows
    start = np.concatenate(starts)[rows] + placement.columns
    return np.concatenate(devices)[rows], start

  def _tables(
    self,
    alphabet: Alphabet,
    keys: np.ndarray,
    device: np.ndarray,
    capacity: tuple[int, int],
    size: int,
  ) -> tuple[np.ndarray, Arrays]:
    """The row of each key in its device's tables, and the tables."""
    # A device has no more distinct keys than tokens.
    short, long = (min(rows, size) for rows in capacity)
    index = np.zeros(len(keys), np.int32)
    tables = []
    for d in range(len(self.own)):
      mine = device == d
      rows, *both = alphabet.tables(keys[mine], (short, long))
      index[mine] = rows
      tables.append(both)
    return index, {
      width: np.stack([both[i] for both in tables])
      for i, width in enumerate(("short", "long"))
    }
