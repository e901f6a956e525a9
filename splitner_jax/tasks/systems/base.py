"""What every kind of system has."""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np

from splitner_jax.data.sentences import ScoredSpan, Sentence
from splitner_jax.inputs.examples import Examples
from splitner_jax.runtime.types import Json
from splitner_jax.tasks.base import Decision, ForwardFn
from splitner_jax.tasks.decoding import Decoding
from splitner_jax.tasks.mentions import MentionTask
from splitner_jax.tasks.source import TaskSource
from splitner_jax.tasks.tokens import TokenTask

AnyTask = TokenTask | MentionTask
Tasks = Mapping[str, Any]
"""The tasks of a system by name; which they are, its kind knows."""
Forwards = Mapping[str, ForwardFn]
"""The forward pass of each task, with its parameters."""
Mentions = list[list[ScoredSpan]]


class Prediction(NamedTuple):
  """What a system says of sentences, and how the paper's code would count it.

  Attributes:
    mentions: of each sentence; sorted, never overlapping.
    by_reference: what the paper's code would have said instead; None for a
      sentence that it does not score (see `metrics.reference_protocol`).
  """

  mentions: Mentions
  by_reference: list[list[ScoredSpan] | None]


class TypeLogits(NamedTuple):
  """What a classifier says of mentions whose type is known.

  Attributes:
    logits: float[N, C].
    classes: int[N], the right ones.
  """

  logits: np.ndarray
  classes: np.ndarray


class Steps(NamedTuple):
  """What both steps say of a mention; its score is the product.

  Attributes:
    span: the probability that it is a mention.
    types: the likeliest types with their probabilities, given that it is one;
      the first is the mention's.
  """

  span: float
  types: Sequence[tuple[str, float]]


@dataclasses.dataclass(frozen=True)
class DetectionReading:
  """What the task that finds the spans says of sentences.

  Attributes:
    sentences: that were read.
    examples: of the task.
    logits: float[M, C] of their targets.
  """

  sentences: Sequence[Sentence]
  examples: Examples
  logits: np.ndarray


Reading = TypeVar("Reading", bound=DetectionReading)


class SystemKind(abc.ABC, Generic[Reading]):
  """A kind of system: functions that join tasks into mentions.

  `read` runs the models; all else is NumPy, so that one reading is decoded in
  as many ways as there are to try.

  Attributes:
    name: the value of `config.system`.
    title: the paper's name.
    task_names: each is also the part of the config that has its settings. They
      are trained in this order.
    detection_task: the one of these that finds the spans.
    merge_repeats: whether the paper's code scores equal texts once.
  """

  name: ClassVar[str]
  title: ClassVar[str]
  task_names: ClassVar[tuple[str, ...]]
  detection_task: ClassVar[str]
  merge_repeats: ClassVar[bool] = True

  @abc.abstractmethod
  def make(self, source: TaskSource) -> AnyTask:
    """The task of a name in `task_names`, which the source has.

    Raises:
      UserError: a setting has no meaning, or does not fit the checkpoint.
    """

  def detection(self, tasks: Tasks) -> TokenTask:
    """The task that finds the spans."""
    return tasks[self.detection_task]

  def encode(self, tasks: Tasks, sentences: Sequence[Sentence]) -> Examples:
    """The examples of the task that finds the spans: no device is needed."""
    return self.detection(tasks).encode(sentences)[0]

  def detect(
    self, tasks: Tasks, reading: DetectionReading, decoding: Decoding
  ) -> Mentions:
    """The spans of each sentence, question by question, thresholds apart."""
    return self.detection(tasks).decode(
      reading.examples, reading.logits, reading.sentences, decoding.outside_bias
    )

  @abc.abstractmethod
  def read(
    self,
    tasks: Tasks,
    forwards: Forwards,
    sentences: Sequence[Sentence],
    examples: Examples,
    outside_biases: Sequence[float],
  ) -> Reading:
    """Runs the models.

    Args:
      tasks: of the system.
      forwards: their forward passes.
      sentences: any number.
      examples: what `encode` made of them.
      outside_biases: those with which the reading will be decoded.
    """

  @abc.abstractmethod
  def decode(
    self, tasks: Tasks, reading: Reading, decoding: Decoding
  ) -> Prediction:
    """The mentions that a reading holds.

    Args:
      tasks: of the system.
      reading: of `read`.
      decoding: its outside bias is one that `read` was told of.
    """

  def component_scores(
    self, tasks: Tasks, forwards: Forwards, sentences: Sequence[Sentence]
  ) -> dict[str, Json]:
    """Scores of parts of the system, as `report.json` has them."""
    del tasks, forwards, sentences
    return {}

  def steps(
    self,
    tasks: Tasks,
    reading: Reading,
    decoding: Decoding,
    mentions: Mentions,
  ) -> list[list[Steps | None]]:
    """What is behind each mention's score; None if the kind has one step.

    Args:
      tasks: of the system.
      reading: of `read`.
      decoding: with which `decode` made `mentions` of it.
      mentions: of each sentence.
    """
    del tasks, reading, decoding
    return [[None for _ in row] for row in mentions]

  def decisions(
    self, tasks: Tasks, reading: Reading, decoding: Decoding
  ) -> list[list[Decision]]:
    """All that `decode` decides about each sentence, before any is dropped.

    Each is independent of the others given those of the steps before, so that
    the product of their probabilities is that of the whole answer.

    Args:
      tasks: of the system.
      reading: of `read`.
      decoding: its outside bias is one that `read` was told of.
    """
    return self.detection(tasks).decisions(
      reading.examples, reading.logits, reading.sentences, decoding.outside_bias
    )

  def type_logits(
    self, tasks: Tasks, reading: Reading, decoding: Decoding
  ) -> TypeLogits | None:
    """What the temperature is fitted on; None if the kind has none.

    Args:
      tasks: of the system.
      reading: of sentences with gold mentions.
      decoding: its outside bias is one that `read` was told of.
    """
    del tasks, reading, decoding
    return None


AnySystem = SystemKind[Any]
