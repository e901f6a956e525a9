"""The task that names the type of a mention: the span classifier."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from splitner_jax import metrics
from splitner_jax.data.sentences import ScoredSpan, Sentence, Span
from splitner_jax.inputs import questions
from splitner_jax.inputs.examples import Examples, join_tokens
from splitner_jax.inputs.ragged import offsets
from splitner_jax.inputs.tokenizer import (
  TokenizedWords,
  Tokenizer,
  context_window,
  windows,
)
from splitner_jax.losses import LOSSES, Loss
from splitner_jax.models.bert import EncoderConfig
from splitner_jax.models.heads import POOLINGS, PooledClassifier
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
  model: PooledClassifier
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

  @property
  def targets_per_token(self) -> float:
    """One target to an example, few of which have less than eight tokens."""
    return 1 / 8

  def encode(
    self,
    sentences: Sequence[Sentence],
    mentions: Sequence[Sequence[Span | ScoredSpan]],
  ) -> Examples:
    """One example for each mention, in order.

    The target is [CLS]; mentions of types that are not asked for have the
    weight 0.
    """
    asked = self.question.index(questions.MENTION)
    before, after = self.question[:asked], self.question[asked + 1 :]
    where = [(i, span) for i, spans in enumerate(mentions) for span in spans]
    used = sorted({i for i, _ in where})
    place = {i: n for n, i in enumerate(used, start=2)}
    words = self.tokenizer([before, after, *(sentences[i].words for i in used)])
    pieces = np.array(
      [
        self._pieces(words, place[i], span.start, span.end) for i, span in where
      ],
      np.int64,
    ).reshape(-1, 4, 2)
    context = pieces[:, 0]
    cls, sep = (
      np.tile(np.array([at, at + 1]), (len(where), 1))
      for at in (words.cls, words.sep)
    )
    is_roberta = self.tokenizer.is_roberta
    first = [cls, context, sep]
    second = [*pieces.transpose(1, 0, 2)[1:], sep]
    between = [sep] if is_roberta else []
    joined = np.stack([*first, *between, *second], axis=1)
    tokens = join_tokens(
      words,
      joined[..., 0],
      joined[..., 1],
      [0] * (len(first) + len(between)) + [0 if is_roberta else 1] * 4,
    )
    ranges = None
    if self.model.pooling == "mention":
      sizes = joined[..., 1] - joined[..., 0]
      start = sizes[:, : -len(second) + 1].sum(axis=1)
      ranges = np.stack([start, start + sizes[:, -3]], axis=1).astype(np.int32)
    known = [span.label in self.answers for _, span in where]
    labels = [
      self.answers.index(span.label) if is_known else 0
      for (_, span), is_known in zip(where, known, strict=True)
    ]
    count = len(where)
    lists = np.array([place[i] for i, _ in where], np.int64)
    first_words = np.searchsorted(words.words, context[:, 0]) - (
      words.lists[lists] if count else 0
    )
    return Examples(
      tokens.token_offsets,
      tokens.ids,
      tokens.positions,
      tokens.types,
      np.zeros(len(tokens.ids), np.int16),
      tokens.texts,
      words.distinct,
      np.arange(count + 1),
      np.zeros(count, np.int32),
      np.array(labels, np.int32),
      np.array(known, np.float32),
      ranges,
      None,
      np.array([i for i, _ in where], np.int32),
      first_words.astype(np.int32),
    )

  def _pieces(
    self, words: TokenizedWords, index: int, first: int, end: int
  ) -> list[tuple[int, int]]:
    """Tokens of the context, and of the question before, in, after the mention.

    Args:
      words: lists 0 and 1 are the question before and after the mention.
      index: of the sentence's list.
      first, end: the mention's words.
    """
    starts = words.starts(index)
    # At least half of the input is left to the question.
    limit = min(self.context, self.tokenizer.max_length // 2)
    a, b = context_window(starts, first, end, limit)
    context = int(starts[a]), int(starts[b])
    parts = [words.starts(0), starts[first : end + 1], words.starts(1)]
    room = self.tokenizer.max_length - (context[1] - context[0]) - 4
    if sum(int(part[-1] - part[0]) for part in parts) > room:
      sizes = np.concatenate([np.diff(part) for part in parts])
      _, read = windows(offsets(sizes), room, 0)[0]
      for i, part in enumerate(parts):
        parts[i] = part[: min(read, len(part) - 1) + 1]
        read -= len(parts[i]) - 1
    return [context, *((int(part[0]), int(part[-1])) for part in parts)]

  def training_examples(
    self, sentences: Sequence[Sentence]
  ) -> tuple[Examples, int]:
    """One example for each span; those without a type are NO_ENTITY."""
    return self.encode(sentences, [s.spans for s in sentences]), 0

  def decode(
    self, examples: Examples, logits: np.ndarray, count: int
  ) -> list[list[tuple[str, float]]]:
    """Type and probability of each mention, for each of `count` sentences.

    softmax(logits / T); the type of a span that is held for no mention is
    NO_ENTITY.
    """
    answers: list[list[tuple[str, float]]] = [[] for _ in range(count)]
    if not len(examples):
      return answers
    best = logits.argmax(axis=-1)
    rows = np.arange(len(best))
    scores = np.exp(log_softmax(logits / self.temperature)[rows, best])
    for i, label, score in zip(
      examples.sentences.tolist(), best.tolist(), scores.tolist(), strict=True
    ):
      answers[i].append((self.answers[label], score))
    return answers

  def predict(
    self,
    run: Run,
    sentences: Sequence[Sentence],
    mentions: Sequence[Sequence[Span | ScoredSpan]],
  ) -> list[list[tuple[str, float]]]:
    """Type of each mention and its probability; see `decode`."""
    examples = self.encode(sentences, mentions)
    return self.decode(examples, run(examples), len(sentences))

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
    model=PooledClassifier(encoder, len(types) + settings.none_class, pooling),
    loss=choice("classifier.loss", settings.loss, LOSSES),
    tokenizer=tokenizer,
    labels=tuple(types),
    question=questions.parse(
      "classifier.question", settings.question, questions.MENTION
    ),
    context=settings.context,
    none_class=settings.none_class,
  )
