"""Kinds of systems: tasks joined into what turns sentences into mentions.

All of them predict in the same way, and one scorer judges them. A new kind is
a module with a `SystemKind`, and a line in `SYSTEMS`; or, outside of this
package, a call of `register`.
"""

from splitner_jax.tasks.systems.base import (
  AnySystem,
  DetectionReading,
  Prediction,
  Steps,
  SystemKind,
  TypeLogits,
)
from splitner_jax.tasks.systems.hierarchical import HierarchicalSystem
from splitner_jax.tasks.systems.single_step import SequenceTagger, TypeQuestions
from splitner_jax.tasks.systems.two_step import TwoStepSystem

SYSTEMS: dict[str, AnySystem] = {}
"""The values of `config.system`."""


def register(kind: AnySystem) -> None:
  """Adds a kind of system under its name."""
  SYSTEMS[kind.name] = kind


for _kind in (
  TwoStepSystem(),
  SequenceTagger(),
  TypeQuestions(),
  HierarchicalSystem(),
):
  register(_kind)

__all__ = [
  "SYSTEMS",
  "AnySystem",
  "DetectionReading",
  "Prediction",
  "Steps",
  "SystemKind",
  "TypeLogits",
  "register",
]
