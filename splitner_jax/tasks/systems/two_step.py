"""The paper's system: one task detects spans, another names their types."""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from splitner_jax.data.sentences import ScoredSpan, Sentence
from splitner_jax.inputs.examples import Examples
from splitner_jax.runtime.types import Json
from splitner_jax.tasks.base import Decision, ForwardFn
from splitner_jax.tasks.decoding import Decoding
from splitner_jax.tasks.from_settings import span_detection
from splitner_jax.tasks.mentions import (
  NO_ENTITY,
  MentionTask,
  span_classification,
)
from splitner_jax.tasks.source import TaskSource
from splitner_jax.tasks.systems.base import (
  AnyTask,
  DetectionReading,
  Forwards,
  Mentions,
  Prediction,
  Steps,
  SystemKind,
  Tasks,
  TypeLogits,
)


@dataclasses.dataclass(frozen=True)
class TwoStepReading(DetectionReading):
  """What both tasks say of sentences.

  Attributes:
    rows: of each sentence, the row of a span's type logits by its words.
    type_logits: float[K, T].
  """

  rows: Sequence[dict[tuple[int, int], int]]
  type_logits: np.ndarray


class TwoStepSystem(SystemKind[TwoStepReading]):
  """SplitNER: detect spans, then classify each."""

  name: ClassVar[str] = "splitner"
  title: ClassVar[str] = "SplitNER"
  task_names: ClassVar[tuple[str, ...]] = ("detector", "classifier")
  detection_task: ClassVar[str] = "detector"

  def make(self, source: TaskSource) -> AnyTask:
    given = source.settings, source.encoder, source.tokenizer
    if source.name == self.detection_task:
      return span_detection(*given, source.head, source.sentences)
    return span_classification(*given, source.types(one_label_each=True))

  def read(
    self,
    tasks: Tasks,
    forwards: Forwards,
    sentences: Sequence[Sentence],
    examples: Examples,
    outside_biases: Sequence[float],
  ) -> TwoStepReading:
    """See `SystemKind.read`.

    The classifier is asked once, about every span that any of the biases
    finds; the answers do not depend on what else is asked.
    """
    detector = self.detection(tasks)
    logits = forwards[self.detection_task](examples)
    spans: list[dict[tuple[int, int], ScoredSpan]] = [{} for _ in sentences]
    for bias in outside_biases:
      found = detector.decode(examples, logits, sentences, bias)
      for known, row in zip(spans, found, strict=True):
        known.update(((span.start, span.end), span) for span in row)
    # Sorted, so that one bias asks as if there were no others.
    asked = [sorted(known.values()) for known in spans]
    rows: list[dict[tuple[int, int], int]] = []
    first = 0
    for row in asked:
      rows.append({(s.start, s.end): first + i for i, s in enumerate(row)})
      first += len(row)
    return TwoStepReading(
      sentences,
      examples,
      logits,
      rows,
      self.classify(tasks, forwards["classifier"], sentences, asked),
    )

  def classify(
    self,
    tasks: Tasks,
    forward: ForwardFn,
    sentences: Sequence[Sentence],
    spans: Mentions,
  ) -> np.ndarray:
    """What the classifier says of spans that the detector found, float[K, T].

    Args:
      tasks: of the system.
      forward: of the classifier.
      sentences: any number.
      spans: of each sentence.
    """
    return tasks["classifier"].logits(forward, sentences, spans)

  def decode(
    self, tasks: Tasks, reading: TwoStepReading, decoding: Decoding
  ) -> Prediction:
    """See `SystemKind.decode`.

    The score is the span's probability times the type's. The paper's code
    scores no sentence in which its detector finds nothing.
    """
    classifier: MentionTask = tasks["classifier"]
    spans = self.detect(tasks, reading, decoding)
    types = classifier.classes(reading.type_logits, decoding.temperature)
    mentions = []
    for row, rows in zip(spans, reading.rows, strict=True):
      named = []
      for span in row:
        label, score = types[rows[span.start, span.end]]
        if label != NO_ENTITY:
          named.append(span._replace(label=label, score=span.score * score))
      mentions.append(decoding.thresholds.keep(named))
    return Prediction(
      mentions,
      [
        kept if row else None for row, kept in zip(spans, mentions, strict=True)
      ],
    )

  def steps(
    self,
    tasks: Tasks,
    reading: TwoStepReading,
    decoding: Decoding,
    mentions: Mentions,
  ) -> list[list[Steps | None]]:
    """See `SystemKind.steps`."""
    classifier: MentionTask = tasks["classifier"]
    chosen = [
      rows[mention.start, mention.end]
      for row, rows in zip(mentions, reading.rows, strict=True)
      for mention in row
    ]
    ranked = iter(
      classifier.ranked(
        reading.type_logits[np.array(chosen, int)], decoding.temperature
      )
    )
    return [
      [
        Steps(min(mention.score / types[0][1], 1.0), types)
        for mention, types in zip(row, ranked, strict=False)
      ]
      for row in mentions
    ]

  def decisions(
    self, tasks: Tasks, reading: TwoStepReading, decoding: Decoding
  ) -> list[list[Decision]]:
    """See `SystemKind.decisions`: labels of all words, types of all spans."""
    classifier: MentionTask = tasks["classifier"]
    types = classifier.classes(reading.type_logits, decoding.temperature)
    decided = super().decisions(tasks, reading, decoding)
    for found, spans, rows in zip(
      decided, self.detect(tasks, reading, decoding), reading.rows, strict=True
    ):
      for start, end, *_ in spans:
        found.append(
          Decision(classifier.name, start, end, *types[rows[start, end]])
        )
    return decided

  def component_scores(
    self, tasks: Tasks, forwards: Forwards, sentences: Sequence[Sentence]
  ) -> dict[str, Json]:
    """The classifier's scores, given the gold mentions."""
    classifier: MentionTask = tasks["classifier"]
    scores = classifier.evaluate(forwards["classifier"], sentences, Decoding())
    return {"classification_on_gold": scores}

  def type_logits(
    self, tasks: Tasks, reading: TwoStepReading, decoding: Decoding
  ) -> TypeLogits:
    """Of the spans that are detected: those whose type the classifier knows.

    Those that are no mention count where the classifier has a class for them.
    """
    classifier: MentionTask = tasks["classifier"]
    numbers = {label: i for i, label in enumerate(classifier.logit_names)}
    spans = self.detect(tasks, reading, decoding)
    chosen, classes = [], []
    for sentence, row, rows in zip(
      reading.sentences, spans, reading.rows, strict=True
    ):
      gold = {(s.start, s.end): s.label for s in sentence.spans}
      for span in row:
        place = span.start, span.end
        label = gold.get(place, NO_ENTITY)
        if label in numbers:
          chosen.append(rows[place])
          classes.append(numbers[label])
    logits = np.asarray(reading.type_logits, np.float64)
    return TypeLogits(logits[np.array(chosen, int)], np.array(classes, int))
