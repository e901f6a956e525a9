"""Distinct token texts as rows of character ids (see `models.features`).

A feature reads keys: the character feature the texts of the targets, the
pattern feature the orthographic patterns of all tokens. In training, what a
batch holds of them comes in two tables, short and long keys, so that a few long
ones do not make all of them wide. For inference what they come to is kept in a
table of the device (see `models.feature_tables`), whose rows are given away
here.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from splitner_jax.inputs import patterns
from splitner_jax.inputs.examples import Examples

SHORT_WIDTH = 8
"""Characters of a key in the short table."""


@dataclasses.dataclass(frozen=True)
class Alphabet:
  """The keys that a feature can read of some examples.

  Attributes:
    ids: int8[K, MAX_CHARACTERS] character ids of each key, 0 behind its end.
    is_long: bool[K] whether a key has more than SHORT_WIDTH characters.
  """

  ids: np.ndarray
  is_long: np.ndarray

  @classmethod
  def of(cls, keys: Sequence[Sequence[int]]) -> "Alphabet":
    """From the character ids of each key."""
    ids = np.zeros((len(keys), patterns.MAX_CHARACTERS), np.int8)
    for row, key in zip(ids, keys, strict=True):
      row[: len(key)] = key
    sizes = np.array([len(key) for key in keys], int)
    return cls(ids, sizes > SHORT_WIDTH)

  def counts(self, keys: np.ndarray) -> tuple[int, int]:
    """How many of these keys are short and long."""
    long = int(np.count_nonzero(self.is_long[keys]))
    return len(keys) - long, long

  def tables(
    self, keys: np.ndarray, capacity: tuple[int, int]
  ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The tables that hold some keys.

    Args:
      keys: int[n] keys, of which those that are distinct fit the capacity.
      capacity: rows of the short and of the long table.

    Returns:
      int32[n] row of each key, the long table behind the short one; and the
      tables, int32[capacity[0], SHORT_WIDTH] and int32[capacity[1],
      MAX_CHARACTERS].
    """
    distinct, index = np.unique(keys, return_inverse=True)
    is_long = self.is_long[distinct]
    is_short = ~is_long & (np.cumsum(~is_long) <= capacity[0])
    # Short keys may stand in the long table, not the other way round.
    rows = np.zeros(len(distinct), np.int32)
    rows[is_short] = np.arange(np.count_nonzero(is_short))
    rows[~is_short] = capacity[0] + np.arange(np.count_nonzero(~is_short))
    short = np.zeros((capacity[0], SHORT_WIDTH), np.int32)
    long = np.zeros((capacity[1], patterns.MAX_CHARACTERS), np.int32)
    short[rows[is_short]] = self.ids[distinct[is_short], :SHORT_WIDTH]
    long[rows[~is_short] - capacity[0]] = self.ids[distinct[~is_short]]
    return rows[index], short, long


def fits(counts: tuple[int, int], capacity: tuple[int, int]) -> bool:
  """Whether tables of so many rows hold so many short and long keys."""
  return counts[1] <= capacity[1] and sum(counts) <= sum(capacity)


def character_alphabet(texts: Sequence[str], reference: bool) -> Alphabet:
  """Key i is text i; for `reference` see `patterns`."""
  return Alphabet.of([patterns.character_ids(t, reference) for t in texts])


def pattern_alphabet(
  texts: Sequence[str], reference: bool
) -> tuple[Alphabet, np.ndarray]:
  """The distinct patterns of texts, and int32[n] the key of each text."""
  known: dict[str, int] = {}
  keys = np.array(
    [
      known.setdefault(patterns.pattern(text, reference), len(known))
      for text in texts
    ],
    np.int32,
  )
  return Alphabet.of([patterns.pattern_ids(p, reference) for p in known]), keys


class TextKeys:
  """What the text features read of examples, as keys of alphabets.

  Attributes:
    alphabets: of each text feature that is used, by its name.
  """

  def __init__(
    self, examples: Examples, features: Sequence[str], reference: bool
  ):
    self._examples = examples
    self.alphabets: dict[str, Alphabet] = {}
    if "char" in features:
      self.alphabets["char"] = character_alphabet(examples.distinct, reference)
    if "pattern" in features:
      self.alphabets["pattern"], self._pattern_keys = pattern_alphabet(
        examples.distinct, reference
      )

  def of(
    self, name: str, tokens: slice | np.ndarray, targets: np.ndarray
  ) -> np.ndarray:
    """The keys that a feature reads of some tokens.

    Args:
      name: the feature.
      tokens: all of them, as places in the columns of the examples.
      targets: those at which the model answers.
    """
    if name == "char":
      return self._examples.texts[targets]
    return self._pattern_keys[self._examples.pattern_texts[tokens]]

  def of_example(self, name: str, index: int) -> np.ndarray:
    examples = self._examples
    first, end = examples.token_offsets[index : index + 2].tolist()
    targets = first + examples.targets[examples.target_slice(index)]
    return self.of(name, slice(first, end), targets)


Texts = dict[str, np.ndarray]
"""New texts of a table: see `models.feature_tables.fill`."""


class TableRows:
  """Which text is in which row of a device's table.

  Attributes:
    capacity: rows that there are.
  """

  def __init__(
    self, name: str, capacity: int, shape: tuple[int, int], reference: bool
  ):
    """The table is empty.

    Args:
      name: of the feature.
      capacity: at least as many as a batch has tokens.
      shape: how many short and long texts are computed at a time.
      reference: see `patterns`.
    """
    self.capacity = capacity
    self._shape = shape
    self._rows: dict[str, int] = {}
    self._key: Callable[[str], str]
    self._ids: Callable[[str], Sequence[int]]
    if name == "char":
      # What is beyond makes no difference; unless characters before it are
      # left out, which is known of the whole text alone.
      end = None if reference else patterns.MAX_CHARACTERS
      self._key = lambda text: text[:end]
      self._ids = lambda key: patterns.character_ids(key, reference)
    else:
      self._key = lambda text: patterns.pattern(text, reference)
      self._ids = lambda key: patterns.pattern_ids(key, reference)

  def __len__(self) -> int:
    """How many texts are in it."""
    return len(self._rows)

  def find(
    self, texts: np.ndarray, distinct: Sequence[str]
  ) -> tuple[np.ndarray, list[Texts]]:
    """The rows of texts; those that are new get one.

    When the table is full it starts anew: what devices were told before comes
    first, so that whatever is under way still has its rows.

    Args:
      texts: int[n], which of `distinct` each is; no more than the capacity.
      distinct: the texts.

    Returns:
      int32[n] rows; and what the table has to be filled with before they are
      read, in this order.
    """
    numbers, index = np.unique(texts, return_inverse=True)
    keys = [self._key(distinct[number]) for number in numbers.tolist()]
    new = [key for key in dict.fromkeys(keys) if key not in self._rows]
    if len(self._rows) + len(new) > self.capacity:
      self._rows = {}
      new = list(dict.fromkeys(keys))
    first = len(self._rows)
    self._rows.update((key, first + i) for i, key in enumerate(new))
    rows = np.array([self._rows[key] for key in keys], np.int32)
    return rows[index], list(self._fills(new, first))

  def nothing(self) -> Texts:
    """What fills no row."""
    short, long = self._shape
    return {
      "short": np.zeros((short, SHORT_WIDTH), np.int32),
      "long": np.zeros((long, patterns.MAX_CHARACTERS), np.int32),
      "rows": np.full(short + long, self.capacity, np.int32),
    }

  def _fills(self, keys: list[str], first: int) -> Iterator[Texts]:
    """Texts of rows from `first` on, as many at a time as are computed."""
    ids = [self._ids(key) for key in keys]
    waiting = [
      [i for i, each in enumerate(ids) if (len(each) > SHORT_WIDTH) == long]
      for long in (False, True)
    ]
    while any(waiting):
      texts, place = self.nothing(), 0
      for table, size in enumerate(self._shape):
        now, waiting[table] = waiting[table][:size], waiting[table][size:]
        array = texts["long" if table else "short"]
        for row, i in enumerate(now):
          array[row, : len(ids[i])] = ids[i]
          texts["rows"][place + row] = first + i
        place += size
      yield texts
