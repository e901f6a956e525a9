"""The baselines: one task finds the spans and their types."""

from collections.abc import Sequence
from typing import ClassVar

from splitner_jax.data.sentences import Sentence
from splitner_jax.inputs.examples import Examples
from splitner_jax.tasks.decoding import Decoding
from splitner_jax.tasks.from_settings import (
  sequence_tagging,
  type_questions,
)
from splitner_jax.tasks.overlaps import (
  resolve_overlaps_by_order,
  resolve_overlaps_by_score,
)
from splitner_jax.tasks.source import TaskSource
from splitner_jax.tasks.systems.base import (
  AnyTask,
  DetectionReading,
  Forwards,
  Prediction,
  SystemKind,
  Tasks,
)


class _Tagger(SystemKind[DetectionReading]):
  task_names: ClassVar[tuple[str, ...]] = ("tagger",)
  detection_task: ClassVar[str] = "tagger"

  def read(
    self,
    tasks: Tasks,
    forwards: Forwards,
    sentences: Sequence[Sentence],
    examples: Examples,
    outside_biases: Sequence[float],
  ) -> DetectionReading:
    """See `SystemKind.read`; it may be decoded with any bias."""
    del tasks, outside_biases
    return DetectionReading(sentences, examples, forwards["tagger"](examples))


class SequenceTagger(_Tagger):
  """Single(SeqTag): boundaries and types in one label."""

  name: ClassVar[str] = "single_seqtag"
  title: ClassVar[str] = "Single(SeqTag)"
  merge_repeats: ClassVar[bool] = False

  def make(self, source: TaskSource) -> AnyTask:
    return sequence_tagging(
      source.settings,
      source.encoder,
      source.tokenizer,
      source.types(one_label_each=False),
      source.head,
      source.sentences,
    )

  def decode(
    self, tasks: Tasks, reading: DetectionReading, decoding: Decoding
  ) -> Prediction:
    found = self.detect(tasks, reading, decoding)
    mentions = [decoding.thresholds.keep(row) for row in found]
    return Prediction(mentions, [*mentions])


class TypeQuestions(_Tagger):
  """Single(QA): a question for each entity type."""

  name: ClassVar[str] = "single_qa"
  title: ClassVar[str] = "Single(QA)"

  def make(self, source: TaskSource) -> AnyTask:
    return type_questions(
      source.settings,
      source.encoder,
      source.tokenizer,
      source.types(one_label_each=False),
      source.type_names,
      source.head,
      source.sentences,
    )

  def decode(
    self, tasks: Tasks, reading: DetectionReading, decoding: Decoding
  ) -> Prediction:
    """See `SystemKind.decode`.

    Of mentions that overlap the likeliest is kept; by the paper's code, of
    those that are not dropped, the one whose type is asked for first.
    """
    found = self.detect(tasks, reading, decoding)
    thresholds = decoding.thresholds
    return Prediction(
      [thresholds.keep(resolve_overlaps_by_score(row)) for row in found],
      [resolve_overlaps_by_order(thresholds.keep(row)) for row in found],
    )
