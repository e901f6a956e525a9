"""Systems: tasks joined into something that turns sentences into mentions.

All systems have the same `predict`, and one scorer judges them. A system is a
dataclass that has, for each task NAME, the fields `NAME` and `run_NAME`: the
task, and its forward pass with the parameters bound.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

from splitner_jax.data.sentences import ScoredSpan, Sentence
from splitner_jax.tasks import MentionTask, Run, TokenTask, TypeQuestionTask
from splitner_jax.tasks.mentions import NO_ENTITY
from splitner_jax.tasks.type_questions import first_listed, likeliest

Mentions = list[list[ScoredSpan]]


class ReferenceRules(NamedTuple):
  """How the paper's code scores a system; see `metrics.reference_protocol`."""

  merge_repeats: bool
  keep_empty: bool


@dataclasses.dataclass(frozen=True)
class System:
  """What all systems have.

  Attributes:
    TITLE: the paper's name of it.
    FINDER: the name of the task that finds the spans; it has an `o_bias`.
    REFERENCE: how the paper's code scores it.
    min_score: the least score of a mention.
  """

  TITLE: ClassVar[str]
  FINDER: ClassVar[str]
  REFERENCE: ClassVar[ReferenceRules]

  min_score: float = dataclasses.field(default=0.0, kw_only=True)

  def predict(self, sentences: Sequence[Sentence]) -> Mentions:
    """The mentions of each sentence, sorted, never overlapping."""
    raise NotImplementedError

  def predict_twice(
    self, sentences: Sequence[Sentence]
  ) -> tuple[Mentions, Mentions]:
    """The mentions, and what the reference would have said instead."""
    predicted = self.predict(sentences)
    return predicted, predicted


@dataclasses.dataclass(frozen=True)
class SplitNER(System):
  """The paper's system: detect spans, then classify each."""

  TITLE: ClassVar[str] = "SplitNER"
  FINDER: ClassVar[str] = "detector"
  REFERENCE: ClassVar[ReferenceRules] = ReferenceRules(True, False)

  detector: TokenTask
  classifier: MentionTask
  run_detector: Run
  run_classifier: Run

  def predict(self, sentences: Sequence[Sentence]) -> Mentions:
    """The mentions of each sentence, with types.

    The score is the span's probability times the type's.
    """
    spans = self.detector.predict(self.run_detector, sentences)
    types = self.classifier.predict(self.run_classifier, sentences, spans)
    return [
      [
        ScoredSpan(span.start, span.end, label, span.score * score)
        for span, (label, score) in zip(row, answers, strict=True)
        if label != NO_ENTITY and span.score * score >= self.min_score
      ]
      for row, answers in zip(spans, types, strict=True)
    ]


@dataclasses.dataclass(frozen=True)
class SingleSeqTag(System):
  """The baseline Single(SeqTag): one tagger, boundaries and types at once."""

  TITLE: ClassVar[str] = "Single(SeqTag)"
  FINDER: ClassVar[str] = "tagger"
  REFERENCE: ClassVar[ReferenceRules] = ReferenceRules(False, True)

  tagger: TokenTask
  run_tagger: Run

  def predict(self, sentences: Sequence[Sentence]) -> Mentions:
    found = self.tagger.predict(self.run_tagger, sentences)
    return [at_least(self.min_score, row) for row in found]


@dataclasses.dataclass(frozen=True)
class SingleQA(System):
  """The baseline Single(QA): a question for each entity type."""

  TITLE: ClassVar[str] = "Single(QA)"
  FINDER: ClassVar[str] = "tagger"
  REFERENCE: ClassVar[ReferenceRules] = ReferenceRules(True, True)

  tagger: TypeQuestionTask
  run_tagger: Run

  def predict(self, sentences: Sequence[Sentence]) -> Mentions:
    return self.predict_twice(sentences)[0]

  def predict_twice(
    self, sentences: Sequence[Sentence]
  ) -> tuple[Mentions, Mentions]:
    found = [
      at_least(self.min_score, row)
      for row in self.tagger.candidates(self.run_tagger, sentences)
    ]
    return [likeliest(row) for row in found], [first_listed(r) for r in found]


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
  name = system.FINDER
  task = with_o_bias(getattr(system, name), o_bias)
  return dataclasses.replace(system, **{name: task})


def with_o_bias(task: Any, o_bias: float) -> Any:
  """A task that finds spans, decoding with another `o_bias`."""
  if isinstance(task, TypeQuestionTask):
    return dataclasses.replace(task, base=with_o_bias(task.base, o_bias))
  return dataclasses.replace(task, o_bias=o_bias)


def with_runs(system: System, wrap: Callable[[Run], Run]) -> Any:
  """The system, its forward passes wrapped."""
  fields = dataclasses.fields(system)
  runs: dict[str, Any] = {
    field.name: wrap(getattr(system, field.name))
    for field in fields
    if field.name.startswith("run_")
  }
  return dataclasses.replace(system, **runs)
