"""Sides that take turns, so that a busy machine is busy for all of them."""

import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

LEAST_TURNS = 5
"""Of each side, however long they take."""

Name = TypeVar("Name", bound=Hashable)


def take_turns(
  sides: Mapping[Name, Callable[[], object]], seconds: float
) -> dict[Name, list[float]]:
  """Seconds of each turn of each side.

  Args:
    sides: what each does in its turn; what happens once only, such as
      compiling, has happened.
    seconds: after which no further round begins.
  """
  taken: dict[Name, list[float]] = {name: [] for name in sides}
  end = time.perf_counter() + seconds
  names, rounds = list(sides), 0
  while sides and (rounds < LEAST_TURNS or time.perf_counter() < end):
    # Another one goes first each time.
    first = rounds % len(names)
    for name in names[first:] + names[:first]:
      start = time.perf_counter()
      sides[name]()
      taken[name].append(time.perf_counter() - start)
    rounds += 1
  return taken
