"""What the processes of a run agree on while they train: when to stop or save.

Each sees a signal or the time in a moment of its own. In a run of several, what
each wishes travels with its part of a batch, and the step sums it up: so all
know of it at the same step, and none waits for it.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from splitner_jax.inputs.batches import Arrays
from splitner_jax.runtime import devices, processes
from splitner_jax.runtime.types import Tree

_UNDER_WAY = 6  # Steps whose metrics are not known yet, and a few more.
NAME = "wishes"
"""Of the array in a batch, and of its sum among a step's metrics."""


class Wishes(NamedTuple):
  """What is to be done before the next step.

  Attributes:
    stop: someone was asked to end.
    over: the time for training is.
    late: the latest checkpoint is old.
  """

  stop: bool
  over: bool
  late: bool


class Agreement:
  """Of this process with the others, if there are any."""

  def __init__(self, own: Callable[[], Wishes]):
    """With nothing agreed on yet.

    Args:
      own: what this process wishes now.
    """
    self._own = own
    self._sum = Wishes(False, False, False)
    self._outdated = 0

  def send(self, arrays: Arrays) -> None:
    """Puts the wishes of this process into its part of a batch."""
    if processes.count() == 1:
      return
    wishes = np.zeros((len(devices.own_devices()), len(Wishes._fields)), "i4")
    own = self._own()
    # The first process's clock is everyone's.
    wishes[0] = own if processes.is_first() else (own.stop, False, False)
    arrays[NAME] = wishes

  def receive(self, metrics: Tree) -> None:
    """Takes what all wished, from the metrics of a step."""
    if NAME in metrics:
      self._outdated = max(0, self._outdated - 1)
      self._sum = Wishes(*(bool(x) for x in np.asarray(metrics[NAME])))

  def saved(self) -> None:
    """Forgets that the latest checkpoint was old, also where it is said yet."""
    self._outdated = _UNDER_WAY

  def wishes(self) -> Wishes:
    """What all do before the next step."""
    if processes.count() == 1:
      return self._own()
    return self._sum._replace(late=self._sum.late and not self._outdated)
