"""A detector that also says to which group of types a mention belongs.

Not of the paper, which leaves open whether a coarse type helps to find
mentions. The classifier then decides within the group: it is trained as
SplitNER's, and types of other groups are left out of what it says.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from splitner_jax.data.sentences import Sentence, Span
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.types import Json
from splitner_jax.tasks.base import ForwardFn
from splitner_jax.tasks.decoding import Decoding
from splitner_jax.tasks.from_settings import span_detection
from splitner_jax.tasks.mentions import NO_ENTITY, MentionTask
from splitner_jax.tasks.source import TaskSource
from splitner_jax.tasks.systems.base import (
  AnyTask,
  Mentions,
  Tasks,
  TypeLogits,
)
from splitner_jax.tasks.systems.two_step import TwoStepReading, TwoStepSystem
from splitner_jax.tasks.tokens import TokenTask

_LEFT_OUT = -1e4
"""The logit of a type of another group; its probability is 0."""


def parse_groups(text: str, types: Sequence[str]) -> tuple[str, ...]:
  """Reads `config.detector.groups`; a group is its types, a comma between them.

  >>> parse_groups("PER,ORG; GPE", ["GPE", "ORG", "PER"])
  ('PER,ORG', 'GPE')

  Raises:
    UserError: a type is in none or in several, or the corpus does not have it.
  """
  groups = [
    [name.strip() for name in part.split(",")]
    for part in text.split(";")
    if part.strip()
  ]
  if sorted(name for group in groups for name in group) != sorted(types):
    raise UserError(
      f"config.detector.groups: {text!r} does not have each type of the corpus "
      f"once; write such as A,B;C with {', '.join(types)}"
    )
  return tuple(",".join(group) for group in groups)


class GroupTask(TokenTask):
  """Finds mentions and their groups, which are the types of its labels."""

  @property
  def labels(self) -> tuple[str, ...]:
    """None: it is the classifier that knows the entity types."""
    return ()

  @functools.cached_property
  def group_of(self) -> dict[str, str]:
    """The group of each type."""
    return {t: group for group in self.scheme.types for t in group.split(",")}

  def _gold(self, sentence: Sentence, question: int) -> list[Span]:
    return [
      span._replace(label=self.group_of[span.label])
      for span in super()._gold(sentence, question)
    ]

  def describe(self) -> Json:
    return super().describe() | {"kind": "group"}


class HierarchicalSystem(TwoStepSystem):
  """SplitNER whose detector says the group of a mention too."""

  name: ClassVar[str] = "hierarchical"
  title: ClassVar[str] = "SplitNER(groups)"

  def make(self, source: TaskSource) -> AnyTask:
    if source.name != self.detection_task:
      return super().make(source)
    task = span_detection(
      source.settings,
      source.encoder,
      source.tokenizer,
      source.head,
      source.sentences,
      parse_groups(source.settings.groups, source.corpus_types),
    )
    return GroupTask(
      **{f.name: getattr(task, f.name) for f in dataclasses.fields(task)}
    )

  def classify(
    self,
    tasks: Tasks,
    forward: ForwardFn,
    sentences: Sequence[Sentence],
    spans: Mentions,
  ) -> np.ndarray:
    """See `TwoStepSystem.classify`; types of other groups are left out.

    What a span's first word says beside O is its group, whatever the bias.
    """
    detector: GroupTask = tasks["detector"]
    classifier: MentionTask = tasks["classifier"]
    logits = super().classify(tasks, forward, sentences, spans)
    groups = [
      None if t == NO_ENTITY else detector.group_of.get(t, "")
      for t in classifier.logit_names
    ]
    inside = [
      [group in (None, span.label) for group in groups]
      for row in spans
      for span in row
    ]
    return np.where(np.reshape(inside, logits.shape), logits, _LEFT_OUT)

  def type_logits(
    self, tasks: Tasks, reading: TwoStepReading, decoding: Decoding
  ) -> TypeLogits:
    """Of the spans whose group is right: no temperature mends the others."""
    logits, classes = super().type_logits(tasks, reading, decoding)
    right = logits[np.arange(len(classes)), classes] > _LEFT_OUT
    return TypeLogits(logits[right], classes[right])
