"""Nested mentions by levels: SplitNER whose detector is asked level by level.

Mentions of one level do not overlap: the first level has those within no other,
the second those within one, and so on. The detector reads a sentence once for
each level, with a question for it, as Single(QA) does for each type; the
classifier is asked about all spans and needs no change.
"""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any, ClassVar

from ml_collections import ConfigDict

from splitner_jax.data import jsonl, records
from splitner_jax.data.sentences import ScoredSpan, Sentence, Span
from splitner_jax.evaluation import metrics
from splitner_jax.inputs.examples import Examples
from splitner_jax.inputs.tokenizer import Tokenizer
from splitner_jax.models.transformer import EncoderConfig
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.types import Json
from splitner_jax.tasks import TASK_KINDS
from splitner_jax.tasks.decoding import Decoding
from splitner_jax.tasks.from_settings import type_questions
from splitner_jax.tasks.source import TaskSource
from splitner_jax.tasks.systems import DetectionReading, TwoStepSystem, register
from splitner_jax.tasks.systems.base import AnyTask, Mentions, Tasks
from splitner_jax.tasks.tokens import TokenTask

LEVELS = ("first", "second", "third")
"""Deeper mentions are not found."""
QUESTION = "Extract entity spans of the {type} level from the following text ."


def read(path: str | os.PathLike[str]) -> list[Sentence]:
  """Reads `{"tokens": [...], "entities": [...]}`, an object a line.

  An entity is `{"start", "end", "label"}` in words, `end` exclusive, and may be
  within another one. Only what is in this module takes such sentences, for the
  mentions of all others never overlap.

  Raises:
    UserError: the file cannot be read, a line is not as described, or two of
      its entities cross or are of the same words.
  """
  return [sentence(record, where) for where, record in jsonl.objects(path)]


def sentence(record: Any, where: str) -> Sentence:
  """The sentence of a record; see `read`."""
  bare = records.sentence(_with(record, []), where)
  # Each entity by itself, for together they overlap.
  alone = [
    records.sentence(_with(record, [entity]), where)
    for entity in records.field(record, "entities", list, where)
  ]
  spans = sorted(span for s in alone for span in s.spans)
  for i, left in enumerate(spans):
    for right in spans[i + 1 :]:
      if not _compatible(left, right):
        raise UserError(
          f"{where}: entities {left.label!r} and {right.label!r} at word "
          f"{right.start} cross or are of the same words; keep one"
        )
  return dataclasses.replace(bare, spans=tuple(spans))


def _with(record: object, entities: list[object]) -> object:
  """The record with other entities, if it has any."""
  if not isinstance(record, dict) or "entities" not in record:
    return record
  return record | {"entities": entities}


def _inside(inner: Span | ScoredSpan, outer: Span | ScoredSpan) -> bool:
  """Whether it is within the other one, and not of the same words."""
  same = (inner.start, inner.end) == (outer.start, outer.end)
  return outer.start <= inner.start and inner.end <= outer.end and not same


def _compatible(a: Span | ScoredSpan, b: Span | ScoredSpan) -> bool:
  return a.end <= b.start or b.end <= a.start or _inside(a, b) or _inside(b, a)


def depths(spans: Sequence[Span | ScoredSpan]) -> list[int]:
  """Of each span, within how many of the others it is."""
  return [sum(_inside(span, other) for other in spans) for span in spans]


def outermost(sentence: Sentence) -> Sentence:
  """The sentence with the mentions that are within no other."""
  return _at(sentence, {0: ""})


def _by_level(sentence: Sentence) -> Sentence:
  """The sentence with levels in the place of types."""
  return _at(sentence, dict(enumerate(LEVELS)))


def _at(sentence: Sentence, labels: dict[int, str]) -> Sentence:
  """Keeps the mentions of some depths; "" keeps their types."""
  kept = [
    span._replace(label=labels[depth] or span.label)
    for span, depth in zip(sentence.spans, depths(sentence.spans), strict=True)
    if depth in labels
  ]
  return dataclasses.replace(sentence, spans=tuple(kept))


@dataclasses.dataclass(frozen=True)
class LevelTask(TokenTask):
  """Finds the spans of each level."""

  @property
  def labels(self) -> tuple[str, ...]:
    """No entity types."""
    return ()

  def training_examples(
    self, sentences: Sequence[Sentence]
  ) -> tuple[Examples, int]:
    """See `Task`; mentions that are too deep count as lost."""
    found, lost = super().training_examples([_by_level(s) for s in sentences])
    deep = sum(d >= len(LEVELS) for s in sentences for d in depths(s.spans))
    return found, lost + deep

  def resolve(self, found: list[ScoredSpan]) -> list[ScoredSpan]:
    """See `nest`."""
    return nest(found)

  def describe(self) -> Json:
    return super().describe() | {"kind": "levels"}


def nest(candidates: Sequence[ScoredSpan]) -> list[ScoredSpan]:
  """Of spans that cross, or are found at two levels, those likelier."""
  kept: list[ScoredSpan] = []
  for span in sorted(candidates, key=lambda s: -s.score):
    if all(_compatible(span, other) for other in kept):
      kept.append(span)
  return sorted(kept)


def level_task(
  settings: ConfigDict, encoder: EncoderConfig, tokenizer: Tokenizer
) -> LevelTask:
  """See `type_questions`: levels are asked for as types are."""
  task = type_questions(settings, encoder, tokenizer, LEVELS, {})
  fields = dataclasses.fields(task)
  return LevelTask(**{f.name: getattr(task, f.name) for f in fields})


class NestedSystem(TwoStepSystem):
  """SplitNER by levels; the part `tagger` of the config is its detector's."""

  name: ClassVar[str] = "nested"
  title: ClassVar[str] = "SplitNER by levels"
  task_names: ClassVar[tuple[str, ...]] = ("tagger", "classifier")
  detection_task: ClassVar[str] = "tagger"

  def make(self, source: TaskSource) -> AnyTask:
    if source.name != self.detection_task:
      return super().make(source)
    return level_task(source.settings, source.encoder, source.tokenizer)

  def detect(
    self, tasks: Tasks, reading: DetectionReading, decoding: Decoding
  ) -> Mentions:
    return [nest(row) for row in super().detect(tasks, reading, decoding)]


def install() -> None:
  """Makes the kind known, so that it trains, and its models load."""
  TASK_KINDS["levels"] = LevelTask
  register(NestedSystem())


def score(
  gold: Sequence[Sequence[Span]],
  predicted: Sequence[Sequence[Span | ScoredSpan]],
) -> Json:
  """What `metrics.score` says, with `levels`: the same figures of each.

  A predicted mention that is right is of the level of the gold one; one that is
  wrong, of its own among the predicted ones.
  """
  deepest = max((d for row in gold for d in depths(row)), default=0)
  tallies = [[0, 0, 0] for _ in range(deepest + 1)]
  for gold_row, row in zip(gold, predicted, strict=True):
    levels = dict(zip(gold_row, depths(gold_row), strict=True))
    for level in levels.values():
      tallies[level][0] += 1
    for span, own in zip(row, depths(row), strict=True):
      key = Span(*span[:3])
      tally = tallies[levels.get(key, min(own, deepest))]
      tally[1] += 1
      tally[2] += key in levels
  return metrics.score(gold, predicted) | {
    "levels": [metrics.figures(metrics.Counts(*tally)) for tally in tallies]
  }
