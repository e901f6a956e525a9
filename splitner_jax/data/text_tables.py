"""Distinct token texts as rows of character ids (see `models.features`)."""

import numpy as np

SHORT_WIDTH = 8
"""Characters of a text in the short table."""


class TextTable:
  """Distinct texts of one device's rows, in a short and a long table."""

  def __init__(self):
    self.rows: dict[str, tuple[bool, int]] = {}
    self.texts: tuple[list[tuple[int, ...]], list[tuple[int, ...]]] = ([], [])

  def add(self, key: str, ids: tuple[int, ...]) -> None:
    """Takes in the ids of a text, unless they are there."""
    if key not in self.rows:
      long = len(ids) > SHORT_WIDTH
      self.rows[key] = (long, len(self.texts[long]))
      self.texts[long].append(ids)

  @property
  def sizes(self) -> tuple[int, int]:
    """How many texts are short and long."""
    return len(self.texts[0]), len(self.texts[1])

  def fits(self, capacity: tuple[int, int]) -> bool:
    """Whether tables of so many rows, short and long, hold all texts."""
    # A short text may stand in the long table, not the other way round.
    short, long = self.sizes
    return long <= capacity[1] and short + long <= sum(capacity)

  def fill(self, short: np.ndarray, long: np.ndarray) -> dict[str, int]:
    """Writes the ids into zeroed tables; returns the row of each key."""
    spill = len(self.texts[1])
    for i, ids in enumerate(self.texts[1]):
      long[i, : len(ids)] = ids
    rows = {}
    for i, ids in enumerate(self.texts[0]):
      if i < len(short):
        short[i, : len(ids)] = ids
      else:
        long[spill + i - len(short), : len(ids)] = ids
    for key, (is_long, i) in self.rows.items():
      if is_long:
        rows[key] = len(short) + i
      else:
        rows[key] = i if i < len(short) else i + spill
    return rows
