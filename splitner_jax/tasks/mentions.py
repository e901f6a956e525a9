"""The task that names the type of a mention: the span classifier."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from splitner_jax import metrics
from splitner_jax.data import questions
from splitner_jax.data.examples import (
  Example,
  Pieces,
  Tokenizer,
  context_window,
  windows,
)
from splitner_jax.data.sentences import ScoredSpan, Sentence, Span
from splitner_jax.losses import LOSSES, Loss
from splitner_jax.models.bert import EncoderConfig
from splitner_jax.models.heads import POOLINGS, SequenceClassifier
from splitner_jax.tasks.base import Run, check_room, choice, log_softmax

NO_ENTITY = ""
"""The label of a span that is no mention."""


@dataclasses.dataclass(frozen=True)
class MentionTask:
  """Names the type of a mention: the span classifier.

  Attributes:
    labels: entity types, in the order of the logits.
    none_class: whether a last logit says that the span is no mention.
    question: words, one of which is the mention's place.
    context: the most sub-tokens of the sentence that the model reads.
    temperature: what the logits are divided by before they are probabilities.
  """

  name: str
  model: nn.Module
  loss: Loss
  tokenizer: Tokenizer
  labels: tuple[str, ...]
  question: tuple[str, ...]
  context: int
  none_class: bool = False
  features: tuple[str, ...] = ()
  temperature: float = 1.0

  @property
  def answers(self) -> tuple[str, ...]:
    """What the logits stand for: the types, and NO_ENTITY if it is one."""
    return self.labels + (NO_ENTITY,) * self.none_class

  def _inputs(
    self,
    sentences: Sequence[Sentence],
    mentions: Sequence[Sequence[Span | ScoredSpan]],
  ) -> list[Example]:
    where = [(i, span) for i, spans in enumerate(mentions) for span in spans]
    asked = self.tokenizer(
      [
        questions.fill(
          self.question,
          questions.MENTION,
          sentences[i].words[span.start : span.end],
        )
        for i, span in where
      ]
    )
    used = sorted({i for i, _ in where})
    words = [sentences[i].words for i in used]
    pieces = dict(zip(used, self.tokenizer(words), strict=True))
    return [
      self._example(i, span, pieces[i], question)
      for (i, span), question in zip(where, asked, strict=True)
    ]

  def _example(
    self, index: int, span: Span | ScoredSpan, whole: Pieces, question: Pieces
  ) -> Example:
    # At least half of the input is left to the question.
    context = min(self.context, self.tokenizer.max_length // 2)
    first, end = context_window(whole.starts, span.start, span.end, context)
    here = whole.words(first, end)
    room = self.tokenizer.max_length - len(here.texts) - 4
    _, read = windows(question.starts, room, 0)[0]
    question = question.words(0, read)
    ids, types, texts, offset = self.tokenizer.join(
      here, question, double_sep=True
    )
    asked = self.question.index(questions.MENTION)
    asked_end = min(asked + span.end - span.start, read)
    # Of a question that was cut, what is left of the mention.
    mention = offset + question.starts[[min(asked, asked_end), asked_end]]
    known = span.label in self.answers
    label = self.answers.index(span.label) if known else 0
    return Example(
      ids,
      types,
      texts,
      index,
      first,
      np.arange(*mention, dtype=np.int32),
      np.array(label, np.int32),
      np.array(float(known), np.float32),
    )

  def training_examples(
    self, sentences: Sequence[Sentence]
  ) -> tuple[Sequence[Example], int]:
    """One example for each span; those without a type are NO_ENTITY."""
    return self._inputs(sentences, [s.spans for s in sentences]), 0

  def predict(
    self,
    run: Run,
    sentences: Sequence[Sentence],
    mentions: Sequence[Sequence[Span | ScoredSpan]],
  ) -> list[list[tuple[str, float]]]:
    """Type of each mention and its probability, softmax(logits / T).

    The type of a span that is held for no mention is NO_ENTITY.
    """
    examples = self._inputs(sentences, mentions)
    answers: list[list[tuple[str, float]]] = [[] for _ in sentences]
    for example, logits in zip(examples, run(examples), strict=True):
      best = int(logits.argmax())
      score = float(np.exp(log_softmax(logits / self.temperature)[best]))
      answers[example.sentence].append((self.answers[best], score))
    return answers

  def evaluate(self, run: Run, sentences: Sequence[Sentence]) -> dict[str, Any]:
    answers = self.predict(run, sentences, [s.spans for s in sentences])
    return metrics.score_labels(
      [span.label for s in sentences for span in s.spans],
      [label for row in answers for label, _ in row],
    )


def span_classification(
  settings: ConfigDict,
  encoder: EncoderConfig,
  tokenizer: Tokenizer,
  types: Sequence[str],
) -> MentionTask:
  """The second step: names each mention's type (paper, section 2.2).

  Args:
    settings: `config.classifier` with the common fields filled in.
    encoder: the backbone's sizes.
    tokenizer: the backbone's tokenizer.
    types: entity types, in the order of the logits.

  Raises:
    UserError: a setting has no meaning.
  """
  check_room(tokenizer, 4)
  pooling = choice("classifier.pooling", settings.pooling, POOLINGS)
  return MentionTask(
    name="classifier",
    model=SequenceClassifier(
      encoder, len(types) + settings.none_class, pooling
    ),
    loss=choice("classifier.loss", settings.loss, LOSSES),
    tokenizer=tokenizer,
    labels=tuple(types),
    features=() if pooling == "cls" else (pooling,),
    question=questions.parse(
      "classifier.question", settings.question, questions.MENTION
    ),
    context=settings.context,
    none_class=settings.none_class,
  )
