"""What takes turns: a piece of work, and what it amounts to."""

import dataclasses
from collections.abc import Callable

from splitner_jax.throughput.compiled import Compiled


@dataclasses.dataclass
class Side:
  """One task of a system in one phase.

  A pass is all of the workload: an epoch of training, or the test sentences
  that are tagged.

  Attributes:
    act: the work of a turn.
    turns_a_pass: how many turns make a pass, not always a whole number.
    tokens: that the model reads in a pass, questions included.
    positions: the same with padding; 0 if unknown.
    flops: of the encoder in a pass, see `flops`; 0 if unknown.
    compiled: the programs, if they are ours.
    steps: of training in a turn.
  """

  act: Callable[[], object]
  turns_a_pass: float = 1.0
  tokens: float = 0.0
  positions: float = 0.0
  flops: float = 0.0
  compiled: Compiled | None = None
  steps: int = 1
