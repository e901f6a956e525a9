"""Systems: tasks joined into something that turns sentences into mentions.

All systems have the same `predict`, and one scorer judges them. A system is a
dataclass that has, for each task NAME, the fields `NAME` and `run_NAME`: the
task, and its forward pass with the parameters bound.
"""

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, Self

from splitner_jax.data.sentences import ScoredSpan, Sentence
from splitner_jax.inputs.examples import Examples
from splitner_jax.tasks import MentionTask, Run, TokenTask
from splitner_jax.tasks.mentions import NO_ENTITY
from splitner_jax.tasks.overlaps import first_listed, likeliest

Mentions = list[list[ScoredSpan]]


class Answers(NamedTuple):
  """What a system says of sentences, and how the paper's code would count it.

  Attributes:
    mentions: of each sentence.
    by_reference: what the paper's code would have said instead; None of a
      sentence that it does not score (see `metrics.reference_protocol`).
  """

  mentions: Mentions
  by_reference: list[list[ScoredSpan] | None]


@dataclasses.dataclass(frozen=True)
class System(abc.ABC):
  """What all systems have.

  Attributes:
    TITLE: the paper's name of it.
    FINDER: the name of the task that finds the spans; it has an `o_bias`.
    MERGE_REPEATS: whether the paper's code scores equal texts once.
    min_score: the least score of a mention.
  """

  TITLE: ClassVar[str]
  FINDER: ClassVar[str]
  MERGE_REPEATS: ClassVar[bool] = True

  min_score: float = dataclasses.field(default=0.0, kw_only=True)

  @property
  def finder(self) -> TokenTask:
    """The task that finds the spans."""
    return getattr(self, self.FINDER)

  def encode(self, sentences: Sequence[Sentence]) -> Examples:
    """What the finder reads of sentences: all that needs no device."""
    return self.finder.encode(sentences)[0]

  def predict(
    self, sentences: Sequence[Sentence], examples: Examples | None = None
  ) -> Mentions:
    """The mentions of each sentence, sorted, never overlapping.

    Args:
      sentences: any number.
      examples: what `encode` makes of them, if that is done already.
    """
    return self.answer(sentences, examples).mentions

  @property
  def runs(self) -> dict[str, Any]:
    """The forward passes, by the names of their fields."""
    return {
      field.name: getattr(self, field.name)
      for field in dataclasses.fields(self)
      if field.name.startswith("run_")
    }

  def with_runs(self, wrap: Callable[[Run], Run]) -> Self:
    """The system, its forward passes wrapped."""
    runs: dict[str, Any] = {n: wrap(run) for n, run in self.runs.items()}
    return dataclasses.replace(self, **runs)

  @abc.abstractmethod
  def answer(
    self, sentences: Sequence[Sentence], examples: Examples | None = None
  ) -> Answers:
    """The mentions of each sentence, as `predict` has them, and more."""


@dataclasses.dataclass(frozen=True)
class SplitNER(System):
  """The paper's system: detect spans, then classify each."""

  TITLE: ClassVar[str] = "SplitNER"
  FINDER: ClassVar[str] = "detector"

  detector: TokenTask
  classifier: MentionTask
  run_detector: Run
  run_classifier: Run

  def answer(
    self, sentences: Sequence[Sentence], examples: Examples | None = None
  ) -> Answers:
    """See `System.answer`.

    The score is the span's probability times the type's. The paper's code
    scores no sentence in which its detector finds nothing.
    """
    spans = self.detector.predict(self.run_detector, sentences, examples)
    types = self.classifier.predict(self.run_classifier, sentences, spans)
    mentions = [
      [
        ScoredSpan(span.start, span.end, label, span.score * score)
        for span, (label, score) in zip(row, answers, strict=True)
        if label != NO_ENTITY and span.score * score >= self.min_score
      ]
      for row, answers in zip(spans, types, strict=True)
    ]
    return Answers(
      mentions,
      [
        kept if row else None for row, kept in zip(spans, mentions, strict=True)
      ],
    )


@dataclasses.dataclass(frozen=True)
class SingleSeqTag(System):
  """The baseline Single(SeqTag): one tagger, boundaries and types at once."""

  TITLE: ClassVar[str] = "Single(SeqTag)"
  FINDER: ClassVar[str] = "tagger"
  MERGE_REPEATS: ClassVar[bool] = False

  tagger: TokenTask
  run_tagger: Run

  def answer(
    self, sentences: Sequence[Sentence], examples: Examples | None = None
  ) -> Answers:
    found = self.tagger.predict(self.run_tagger, sentences, examples)
    mentions = [at_least(self.min_score, row) for row in found]
    return Answers(mentions, [*mentions])


@dataclasses.dataclass(frozen=True)
class SingleQA(System):
  """The baseline Single(QA): a question for each entity type."""

  TITLE: ClassVar[str] = "Single(QA)"
  FINDER: ClassVar[str] = "tagger"

  tagger: TokenTask
  run_tagger: Run

  def answer(
    self, sentences: Sequence[Sentence], examples: Examples | None = None
  ) -> Answers:
    found = [
      at_least(self.min_score, row)
      for row in self.tagger.candidates(self.run_tagger, sentences, examples)
    ]
    return Answers(
      [likeliest(row) for row in found], [first_listed(row) for row in found]
    )


def at_least(score: float, mentions: list[ScoredSpan]) -> list[ScoredSpan]:
  """The mentions with such a score; in all systems the better ones win, so
  that it does not matter whether the others are dropped sooner or later.
  """
  return [mention for mention in mentions if mention.score >= score]


SYSTEMS: dict[str, Any] = {
  "splitner": SplitNER,
  "single_seqtag": SingleSeqTag,
  "single_qa": SingleQA,
}
"""The values of `config.system`."""


def task_names(system: str) -> list[str]:
  """The names of a system's tasks; each is a part of the config too."""
  fields = [field.name for field in dataclasses.fields(SYSTEMS[system])]
  return [name for name in fields if f"run_{name}" in fields]


def biased(system: System, o_bias: float) -> Any:
  """The system, whose finder decodes with another `o_bias`."""
  task = dataclasses.replace(system.finder, o_bias=o_bias)
  changed: dict[str, Any] = {system.FINDER: task}
  return dataclasses.replace(system, **changed)
