"""A trained system: what training hands to prediction."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from splitner_jax.data.text import TextStyle
from splitner_jax.inference.forward import Forward, Programs
from splitner_jax.tasks import AnyTask
from splitner_jax.tasks.systems import SYSTEMS, System, task_names


@dataclasses.dataclass(frozen=True)
class Thresholds:
  """The least score of a mention: of any type, and of some types."""

  default: float = 0.0
  per_type: Mapping[str, float] = dataclasses.field(default_factory=dict)

  def of(self, label: str) -> float:
    return self.per_type.get(label, self.default)


@dataclasses.dataclass(frozen=True)
class TrainedSystem:
  """A system with its parameters and all else that tagging needs.

  Attributes:
    kind: a key of `systems.SYSTEMS`.
    tasks: by name.
    params: of each task, replicated.
    min_score: see `systems`.
    thresholds: of the published scores.
    text_style: how text is to be split for it.
    card: the model card, Markdown.
  """

  kind: str
  tasks: Mapping[str, AnyTask]
  params: Mapping[str, Any]
  min_score: float = 0.0
  thresholds: Thresholds = Thresholds()
  text_style: TextStyle = dataclasses.field(default_factory=TextStyle)
  card: str = ""

  @classmethod
  def of(cls, system: System, **more: Any) -> "TrainedSystem":
    """The model of a system whose passes are of `Forward`."""
    kind = next(name for name, c in SYSTEMS.items() if type(system) is c)
    names = task_names(kind)
    return cls(
      kind,
      {name: getattr(system, name) for name in names},
      {name: getattr(system, f"run_{name}").params for name in names},
      system.min_score,
      **more,
    )

  def system(self, batch_size: int) -> System:
    """The system, with programs for so many sentences at a time."""
    fields: dict[str, Any] = dict(self.tasks)
    for name, task in self.tasks.items():
      programs = Programs(task, batch_size)
      fields[f"run_{name}"] = Forward(programs, self.params[name])
    return SYSTEMS[self.kind](**fields, min_score=self.min_score)

  @property
  def labels(self) -> tuple[str, ...]:
    """The entity types."""
    return next(t.labels for t in self.tasks.values() if t.labels)
