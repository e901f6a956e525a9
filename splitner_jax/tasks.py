"""Tasks: how sentences become model inputs, and logits become answers.

A task is a frozen record with a model, a loss and functions of sentences. It
holds no parameters; `train` and `systems` bring them. `forward` below is a
function of examples that returns their logits (`forward.Forward` with its
parameters bound).
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from splitner_jax import metrics
from splitner_jax.data import patterns, questions
from splitner_jax.data.examples import (
  MAX_WORD_PIECES,
  Example,
  Pieces,
  Tokenizer,
  context_window,
  stitch,
  windows,
)
from splitner_jax.data.sentences import ScoredSpan, Sentence, Span
from splitner_jax.data.tags import MODEL_SCHEMES, LabelScheme
from splitner_jax.errors import UserError
from splitner_jax.losses import LOSSES, Loss
from splitner_jax.models.bert import EncoderConfig
from splitner_jax.models.heads import SequenceClassifier, TokenClassifier
from splitner_jax.pretrained import Head

Run = Callable[[Sequence[Example]], list[np.ndarray]]

FEATURES = {
  "none": (),
  "char": ("char",),
  "pattern": ("pattern",),
  "both": ("char", "pattern"),
}
"""The values of `config.detector.features`."""

LABELS_ON = ("first_subtoken", "all_tokens")
"""The values of `config.detector.labels_on`."""


class Task(Protocol):
  """What training needs of a task."""

  @property
  def name(self) -> str: ...
  @property
  def model(self) -> nn.Module: ...
  @property
  def loss(self) -> Loss: ...
  @property
  def features(self) -> tuple[str, ...]: ...
  @property
  def tokenizer(self) -> Tokenizer: ...

  def training_examples(
    self, sentences: Sequence[Sentence]
  ) -> tuple[list[Example], int]:
    """Examples with labels, and how many mentions were lost to length."""
    ...

  def evaluate(self, run: Run, sentences: Sequence[Sentence]) -> dict[str, Any]:
    """Scores as of `metrics.score`; training keeps the best `f1`."""
    ...


def _log_softmax(logits: np.ndarray) -> np.ndarray:
  shifted = logits - logits.max(axis=-1, keepdims=True)
  return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


@dataclasses.dataclass(frozen=True)
class TokenTask:
  """Labels words: the span detector.

  Attributes:
    scheme: the labels.
    question: words that precede the sentence; none for plain tagging.
    labels_on: "first_subtoken": labels run over words, and only the first
      sub-token of each counts in the loss. "all_tokens": as in the reference,
      labels run over sub-tokens, and all tokens count, question and special
      tokens too.
    o_bias: added to the logit of O before decoding.
  """

  name: str
  model: nn.Module
  loss: Loss
  tokenizer: Tokenizer
  scheme: LabelScheme
  question: tuple[str, ...]
  labels_on: str
  features: tuple[str, ...]
  o_bias: float = 0.0

  def _capacity(self, question: Pieces) -> int:
    return self.tokenizer.max_length - len(question.texts) - 3

  def _inputs(
    self, sentences: Sequence[Sentence], *, training: bool
  ) -> tuple[list[Example], int]:
    [question, *pieces] = self.tokenizer(
      [self.question, *(s.words for s in sentences)]
    )
    capacity = self._capacity(question)
    examples, lost = [], 0
    for i, (sentence, whole) in enumerate(zip(sentences, pieces, strict=True)):
      parts = windows(whole.starts, capacity, capacity // 2)
      if training:
        lost += sum(span.end > parts[0][1] for span in sentence.spans)
        parts = parts[:1]
      for first, end in parts:
        examples.append(self._example(i, sentence, whole, question, first, end))
    return examples, lost

  def _example(
    self,
    index: int,
    sentence: Sentence,
    whole: Pieces,
    question: Pieces,
    first: int,
    end: int,
  ) -> Example:
    here = whole.words(first, end)
    ids, types, texts, offset = self.tokenizer.join(
      question if self.question else None, here
    )
    spans = [
      Span(s.start - first, s.end - first, s.label)
      for s in sentence.spans
      if first <= s.start and s.end <= end
    ]
    positions = (offset + here.starts[:-1]).astype(np.int32)
    labels = np.zeros(len(ids), np.int32)
    weights = np.zeros(len(ids), np.float32)
    if self.labels_on == "first_subtoken":
      labels[positions] = self.scheme.encode(spans, end - first)
      weights[positions] = 1.0
    else:
      on_pieces = [
        Span(int(here.starts[s.start]), int(here.starts[s.end]), s.label)
        for s in spans
      ]
      n = len(here.texts)
      labels[offset : offset + n] = self.scheme.encode(on_pieces, n)
      weights[:] = 1.0
    return Example(ids, types, texts, index, first, positions, labels, weights)

  def training_examples(
    self, sentences: Sequence[Sentence]
  ) -> tuple[list[Example], int]:
    return self._inputs(sentences, training=True)

  def predict(
    self, run: Run, sentences: Sequence[Sentence]
  ) -> list[list[ScoredSpan]]:
    """The mentions of each sentence.

    A span's score is the geometric mean, over its words, of the probability
    of the decoded label at the word's first sub-token.
    """
    examples, _ = self._inputs(sentences, training=False)
    parts: list[list[tuple[int, np.ndarray]]] = [[] for _ in sentences]
    for example, logits in zip(examples, run(examples), strict=True):
      parts[example.sentence].append(
        (example.first_word, logits[example.positions])
      )
    return [
      self._decode(stitch(part, len(sentence.words)))
      for part, sentence in zip(parts, sentences, strict=True)
    ]

  def lost_to_length(self, sentences: Sequence[Sentence]) -> int:
    """How many gold mentions have a word that no window holds."""
    examples, _ = self._inputs(sentences, training=False)
    held: list[set[int]] = [set() for _ in sentences]
    for example in examples:
      end = example.first_word + len(example.positions)
      held[example.sentence].update(range(example.first_word, end))
    return sum(
      not held[i].issuperset(range(span.start, span.end))
      for i, sentence in enumerate(sentences)
      for span in sentence.spans
    )

  def _decode(self, logits_WxC: np.ndarray) -> list[ScoredSpan]:
    logits_WxC = logits_WxC.copy()
    logits_WxC[:, 0] += self.o_bias
    labels = logits_WxC.argmax(axis=-1)
    if not labels.any():
      return []
    best = _log_softmax(logits_WxC)[np.arange(len(labels)), labels]
    return [
      ScoredSpan(*span, float(np.exp(best[span.start : span.end].mean())))
      for span in self.scheme.decode(labels.tolist())
    ]

  def evaluate(self, run: Run, sentences: Sequence[Sentence]) -> dict[str, Any]:
    gold = [s.spans for s in sentences]
    predicted = self.predict(run, sentences)
    if self.scheme.types:
      return metrics.score(gold, predicted)
    scores = metrics.score_detection(gold, predicted)
    return scores | {"per_type": metrics.recall_per_type(gold, predicted)}


@dataclasses.dataclass(frozen=True)
class MentionTask:
  """Names the type of a mention: the span classifier.

  Attributes:
    labels: entity types, in the order of the logits.
    context: the most sub-tokens of the sentence that the model reads.
    temperature: what the logits are divided by before they are probabilities.
  """

  name: str
  model: nn.Module
  loss: Loss
  tokenizer: Tokenizer
  labels: tuple[str, ...]
  context: int
  features: tuple[str, ...] = ()
  temperature: float = 1.0

  def _inputs(
    self,
    sentences: Sequence[Sentence],
    mentions: Sequence[Sequence[Span | ScoredSpan]],
  ) -> list[Example]:
    where = [(i, span) for i, spans in enumerate(mentions) for span in spans]
    asked = self.tokenizer(
      [
        questions.span_classification(sentences[i].words[span.start : span.end])
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
    question = question.words(*windows(question.starts, room, 0)[0])
    ids, types, texts, _ = self.tokenizer.join(here, question, double_sep=True)
    known = span.label in self.labels
    label = self.labels.index(span.label) if known else 0
    return Example(
      ids,
      types,
      texts,
      index,
      first,
      np.zeros(0, np.int32),
      np.array(label, np.int32),
      np.array(float(known), np.float32),
    )

  def training_examples(
    self, sentences: Sequence[Sentence]
  ) -> tuple[list[Example], int]:
    return self._inputs(sentences, [s.spans for s in sentences]), 0

  def predict(
    self,
    run: Run,
    sentences: Sequence[Sentence],
    mentions: Sequence[Sequence[Span | ScoredSpan]],
  ) -> list[list[tuple[str, float]]]:
    """Type of each mention and its probability, softmax(logits / T)."""
    examples = self._inputs(sentences, mentions)
    answers: list[list[tuple[str, float]]] = [[] for _ in sentences]
    for example, logits in zip(examples, run(examples), strict=True):
      best = int(logits.argmax())
      score = float(np.exp(_log_softmax(logits / self.temperature)[best]))
      answers[example.sentence].append((self.labels[best], score))
    return answers

  def evaluate(self, run: Run, sentences: Sequence[Sentence]) -> dict[str, Any]:
    answers = self.predict(run, sentences, [s.spans for s in sentences])
    return metrics.score_labels(
      [span.label for s in sentences for span in s.spans],
      [label for row in answers for label, _ in row],
    )


def _choice(field: str, value: str, options) -> Any:
  if value not in options:
    raise UserError(
      f"config.{field}: {value!r} is none of {', '.join(options)}"
    )
  return options[value] if isinstance(options, dict) else value


def _check_room(tokenizer: Tokenizer, rest: int) -> None:
  """Raises UserError if no input can hold `rest` tokens and any two words."""
  least = rest + 2 * MAX_WORD_PIECES
  if tokenizer.max_length < least:
    raise UserError(
      f"config.max_length: {tokenizer.max_length} is too short for the "
      f"question and two words; use at least {least}"
    )


def span_detection(
  settings: ConfigDict,
  encoder: EncoderConfig,
  tokenizer: Tokenizer,
  head: Head | None = None,
) -> TokenTask:
  """The first step: finds mentions, whatever their type (section 2.1).

  Args:
    settings: `config.detector` with the common fields filled in.
    encoder: the backbone's sizes.
    tokenizer: the backbone's tokenizer.
    head: of a checkpoint of the paper's authors, whose rules then hold; it
      decides the features and the number of labels.
  """
  scheme = LabelScheme(
    _choice("detector.scheme", settings.scheme, MODEL_SCHEMES)
  )
  features = _choice("detector.features", settings.features, FEATURES)
  vocabs = patterns.CHARACTER_VOCAB, patterns.PATTERN_VOCAB
  if head:
    if len(scheme.labels) != head.num_labels:
      raise UserError(
        f"config.detector.scheme: {settings.scheme} has {len(scheme.labels)} "
        f"labels, but the checkpoint {head.num_labels}; BO has 2, BIO 3, BIOE "
        "4, BIOES 5"
      )
    features = head.features
    vocabs = head.char_vocab_size, head.pattern_vocab_size
  question = tuple(settings.question.split())
  _check_room(tokenizer, 3 + len(tokenizer([question])[0].texts))
  return TokenTask(
    name="detector",
    model=TokenClassifier(
      encoder,
      len(scheme.labels),
      features,
      *vocabs,
      mask_char_padding=head is None,
    ),
    loss=_choice("detector.loss", settings.loss, LOSSES),
    tokenizer=tokenizer,
    scheme=scheme,
    question=question,
    labels_on=_choice("detector.labels_on", settings.labels_on, LABELS_ON),
    features=features,
    o_bias=settings.o_bias,
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
  """
  _check_room(tokenizer, 4)
  return MentionTask(
    name="classifier",
    model=SequenceClassifier(encoder, len(types)),
    loss=_choice("classifier.loss", settings.loss, LOSSES),
    tokenizer=tokenizer,
    labels=tuple(types),
    context=settings.context,
  )
