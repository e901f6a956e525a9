"""A model: what is trained, saved, loaded, scored and served."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from concurrent import futures

from splitner_jax.data.sentences import ScoredSpan, Sentence
from splitner_jax.data.text import TextStyle
from splitner_jax.inference.forward import Forward, Programs
from splitner_jax.inputs.examples import Examples
from splitner_jax.runtime.types import Tree
from splitner_jax.tasks import AnyTask
from splitner_jax.tasks.base import Decision
from splitner_jax.tasks.decoding import Decoding
from splitner_jax.tasks.systems import AnySystem, Prediction, Steps

Explained = tuple[ScoredSpan, Steps | None]
"""A mention, and what both steps say of it, if the system has two."""


@dataclasses.dataclass(frozen=True)
class NerModel:
  """A system with its parameters, and all else that tagging needs.

  Attributes:
    kind: of system.
    tasks: by name.
    params: of each task, a plain tree, replicated; none of a model that is
      only looked at.
    decoding: how its answers become mentions.
    text_style: how text is to be split for it.
    card: the model card, Markdown.
  """

  kind: AnySystem
  tasks: Mapping[str, AnyTask]
  params: Mapping[str, Tree]
  decoding: Decoding = dataclasses.field(default_factory=Decoding)
  text_style: TextStyle = dataclasses.field(default_factory=TextStyle)
  card: str = ""

  @property
  def labels(self) -> tuple[str, ...]:
    """The entity types."""
    return next(t.labels for t in self.tasks.values() if t.labels)

  @property
  def reads_pos(self) -> bool:
    """Whether it reads parts of speech, which text does not have."""
    return any("pos" in task.features for task in self.tasks.values())

  def predictor(self, batch_size: int = 32) -> "Predictor":
    """The model, ready to run so many sentences at a time."""
    return Predictor(
      self, {n: Programs(task, batch_size) for n, task in self.tasks.items()}
    )


class Predictor:
  """A model with the programs that run it.

  Attributes:
    kind, tasks, decoding: the model's.
    forwards: the forward pass of each task.
  """

  def __init__(
    self,
    model: NerModel,
    programs: Mapping[str, Programs],
    *,
    progress: bool = False,
  ):
    """Compiles nothing yet.

    Args:
      model: to run.
      programs: of each of its tasks.
      progress: whether long work has a bar.
    """
    self.kind, self.tasks = model.kind, model.tasks
    self.decoding = model.decoding
    self.forwards = {
      name: Forward(programs[name], model.params[name], progress=progress)
      for name in model.tasks
    }

  def warm_up(self) -> None:
    """Compiles all programs."""
    with futures.ThreadPoolExecutor() as threads:
      for done in [threads.submit(f.warm_up) for f in self.forwards.values()]:
        done.result()

  def encode(self, sentences: Sequence[Sentence]) -> Examples:
    """What the first task reads of sentences: all that needs no device."""
    return self.kind.encode(self.tasks, sentences)

  def read(
    self,
    sentences: Sequence[Sentence],
    examples: Examples | None = None,
    outside_biases: Sequence[float] | None = None,
    batch_size: int | None = None,
  ) -> object:
    """Runs the models; see `SystemKind.read`.

    Args:
      sentences: any number.
      examples: what `encode` makes of them, if that is done already.
      outside_biases: those to decode with; None: the model's own.
      batch_size: the most examples of a batch; None: as many as fit.
    """
    return self.kind.read(
      self.tasks,
      {
        name: functools.partial(forward, batch_size=batch_size)
        for name, forward in self.forwards.items()
      },
      sentences,
      self.encode(sentences) if examples is None else examples,
      [self.decoding.outside_bias]
      if outside_biases is None
      else outside_biases,
    )

  def decode(
    self, reading: object, decoding: Decoding | None = None
  ) -> Prediction:
    """The mentions of a reading; by default as the model decodes."""
    return self.kind.decode(self.tasks, reading, decoding or self.decoding)

  def explain(
    self, sentences: Sequence[Sentence], decoding: Decoding
  ) -> list[list[Explained]]:
    """Like `predict`, with what both steps say of each mention."""
    reading = self.read(sentences, None, [decoding.outside_bias])
    mentions = self.decode(reading, decoding).mentions
    steps = self.kind.steps(self.tasks, reading, decoding, mentions)
    return [
      list(zip(*both, strict=True))
      for both in zip(mentions, steps, strict=True)
    ]

  def decisions(self, sentences: Sequence[Sentence]) -> list[list[Decision]]:
    """What is decided about each sentence; see `SystemKind.decisions`."""
    reading = self.read(sentences)
    return self.kind.decisions(self.tasks, reading, self.decoding)

  def predict(
    self,
    sentences: Sequence[Sentence],
    examples: Examples | None = None,
    *,
    decoding: Decoding | None = None,
    batch_size: int | None = None,
  ) -> list[list[ScoredSpan]]:
    """The mentions of each sentence, sorted, never overlapping; see `read`."""
    decoding = decoding or self.decoding
    biases = [decoding.outside_bias]
    reading = self.read(sentences, examples, biases, batch_size)
    return self.decode(reading, decoding).mentions
