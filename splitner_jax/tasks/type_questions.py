"""The task that asks for one entity type at a time: Single(QA)."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from splitner_jax import metrics
from splitner_jax.data import questions
from splitner_jax.data.examples import Example, LazyExamples, Tokenizer
from splitner_jax.data.sentences import ScoredSpan, Sentence
from splitner_jax.losses import Loss
from splitner_jax.models.bert import EncoderConfig
from splitner_jax.pretrained import Head
from splitner_jax.tasks.base import Run
from splitner_jax.tasks.tokens import TokenTask, token_task


@dataclasses.dataclass(frozen=True)
class TypeQuestionTask:
  """Finds the mentions of each type with a question of its own.

  N sentences and T types are N x T inputs. They are never all in memory:
  training makes each when its batch comes, prediction goes type by type.

  Attributes:
    base: finds the mentions that its question asks for; its own question is
      of no meaning.
    labels: entity types, in the order in which they are asked for.
    questions: the words of each type's question.
  """

  base: TokenTask
  labels: tuple[str, ...]
  questions: tuple[tuple[str, ...], ...]

  @property
  def name(self) -> str:
    return self.base.name

  @property
  def model(self) -> nn.Module:
    return self.base.model

  @property
  def loss(self) -> Loss:
    return self.base.loss

  @property
  def features(self) -> tuple[str, ...]:
    return self.base.features

  @property
  def tokenizer(self) -> Tokenizer:
    return self.base.tokenizer

  @property
  def o_bias(self) -> float:
    return self.base.o_bias

  def training_examples(
    self, sentences: Sequence[Sentence]
  ) -> tuple[Sequence[Example], int]:
    """An example for each sentence and type, made when it is asked for."""
    base = self.base
    asked = base.tokenizer(self.questions)
    pieces = base.tokenizer([s.words for s in sentences])
    lengths = np.zeros((len(sentences), len(asked)), np.int32)
    lost = 0
    for i, (sentence, whole) in enumerate(zip(sentences, pieces, strict=True)):
      for t, question in enumerate(asked):
        _, end = base.windows(whole, question)[0]
        lengths[i, t] = base.around(question) + whole.starts[end]
        lost += sum(
          span.end > end and span.label == self.labels[t]
          for span in sentence.spans
        )

    def make(index: int) -> Example:
      i, t = divmod(index, len(asked))
      sentence = sentences[i]
      own = tuple(s for s in sentence.spans if s.label == self.labels[t])
      window = base.windows(pieces[i], asked[t])[0]
      return base.example(
        i,
        dataclasses.replace(sentence, spans=own),
        pieces[i],
        asked[t],
        window,
      )

    return LazyExamples(lengths.reshape(-1), make), lost

  def candidates(
    self, run: Run, sentences: Sequence[Sentence]
  ) -> list[list[ScoredSpan]]:
    """What each type's question finds, type by type; they may overlap."""
    found: list[list[ScoredSpan]] = [[] for _ in sentences]
    for label, question in zip(self.labels, self.questions, strict=True):
      task = dataclasses.replace(self.base, question=question)
      for row, spans in zip(found, task.predict(run, sentences), strict=True):
        row += [span._replace(label=label) for span in spans]
    return found

  def predict(
    self, run: Run, sentences: Sequence[Sentence]
  ) -> list[list[ScoredSpan]]:
    """The mentions of each sentence; of those that overlap the likeliest."""
    return [likeliest(row) for row in self.candidates(run, sentences)]

  def lost_to_length(self, sentences: Sequence[Sentence]) -> int:
    """How many gold mentions have a word that no window holds."""
    longest = max(self.questions, key=len)
    return dataclasses.replace(self.base, question=longest).lost_to_length(
      sentences
    )

  def evaluate(self, run: Run, sentences: Sequence[Sentence]) -> dict[str, Any]:
    gold = [s.spans for s in sentences]
    return metrics.score(gold, self.predict(run, sentences))


def likeliest(candidates: Sequence[ScoredSpan]) -> list[ScoredSpan]:
  """Of candidates that overlap, those with the higher probability."""
  return _without_overlaps(sorted(candidates, key=lambda s: -s.score))


def first_listed(candidates: Sequence[ScoredSpan]) -> list[ScoredSpan]:
  """Of candidates that overlap, those listed first: the reference's rule."""
  return _without_overlaps(candidates)


def _without_overlaps(ranked: Sequence[ScoredSpan]) -> list[ScoredSpan]:
  kept: list[ScoredSpan] = []
  for span in ranked:
    if all(span.end <= k.start or k.end <= span.start for k in kept):
      kept.append(span)
  return sorted(kept)


def type_questions(
  settings: ConfigDict,
  encoder: EncoderConfig,
  tokenizer: Tokenizer,
  types: Sequence[str],
  type_names: Mapping[str, str],
  head: Head | None = None,
  pos_tags: tuple[str, ...] = (),
) -> TypeQuestionTask:
  """The baseline Single(QA): one input for each sentence and type.

  Args:
    settings: `config.tagger` with the common fields filled in.
    encoder, tokenizer, head, pos_tags: see `tokens.span_detection`.
    types: entity types; conflicts in the reference's protocol go to the first.
    type_names: names of types in plain words, see `questions.type_name`.

  Raises:
    UserError: a setting has no meaning.
  """
  template = questions.parse(
    "tagger.question", settings.question, questions.TYPE
  )
  asked = tuple(
    tuple(
      questions.fill(
        template,
        questions.TYPE,
        questions.type_name(label, type_names).split(),
      )
    )
    for label in types
  )
  base = token_task(
    "tagger",
    settings,
    encoder,
    tokenizer,
    question=max(asked, key=len),
    double_sep=True,
    head=head,
    pos_tags=pos_tags,
  )
  return TypeQuestionTask(base, tuple(types), asked)
