"""Tasks that label words: the span detector and the sequence tagger."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from splitner_jax import metrics
from splitner_jax.data import patterns
from splitner_jax.data.examples import (
  Example,
  Pieces,
  Tokenizer,
  stitch,
  windows,
)
from splitner_jax.data.sentences import ScoredSpan, Sentence, Span
from splitner_jax.data.tags import MODEL_SCHEMES, LabelScheme
from splitner_jax.errors import UserError
from splitner_jax.losses import LOSSES, Loss
from splitner_jax.models.bert import EncoderConfig
from splitner_jax.models.heads import TokenClassifier
from splitner_jax.pretrained import Head
from splitner_jax.tasks.base import Run, check_room, choice, log_softmax

LABELS_ON = ("first_subtoken", "all_tokens")
"""The values of `labels_on`."""

_FEATURES = ("char", "pattern", "pos")


@dataclasses.dataclass(frozen=True)
class TokenTask:
  """Labels words: the span detector, and with types the sequence tagger.

  Attributes:
    scheme: the labels.
    question: words that precede the sentence; none for plain tagging.
    labels_on: "first_subtoken": labels run over words, and only the first
      sub-token of each counts in the loss. "all_tokens": as in the reference,
      labels run over sub-tokens, and all tokens count, question and special
      tokens too.
    features: any of "char", "pattern", "pos".
    pos_tags: the parts of speech that the feature "pos" knows.
    double_sep: whether RoBERTa has two separators after the question.
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
  pos_tags: tuple[str, ...] = ()
  double_sep: bool = False
  o_bias: float = 0.0

  @property
  def labels(self) -> tuple[str, ...]:
    """The entity types; none of the span detector."""
    return self.scheme.types

  def windows(self, whole: Pieces, question: Pieces) -> list[tuple[int, int]]:
    """First and end word of each input that a sentence needs."""
    capacity = self.tokenizer.max_length - self.around(question)
    return windows(whole.starts, capacity, capacity // 2)

  def around(self, question: Pieces) -> int:
    """How many tokens an input has beside those of the sentence."""
    specials = 4 if self.double_sep and self.tokenizer.is_roberta else 3
    return specials + len(question.texts)

  def _inputs(
    self, sentences: Sequence[Sentence], *, training: bool
  ) -> tuple[list[Example], int]:
    [question, *pieces] = self.tokenizer(
      [self.question, *(s.words for s in sentences)]
    )
    examples, lost = [], 0
    for i, (sentence, whole) in enumerate(zip(sentences, pieces, strict=True)):
      parts = self.windows(whole, question)
      if training:
        lost += sum(span.end > parts[0][1] for span in sentence.spans)
        parts = parts[:1]
      for part in parts:
        examples.append(self.example(i, sentence, whole, question, part))
    return examples, lost

  def example(
    self,
    index: int,
    sentence: Sentence,
    whole: Pieces,
    question: Pieces,
    window: tuple[int, int],
  ) -> Example:
    """The input of one window of a sentence, with its labels."""
    first, end = window
    here = whole.words(first, end)
    ids, types, texts, offset = self.tokenizer.join(
      question if question.texts else None, here, double_sep=self.double_sep
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
    pos = None
    if "pos" in self.features:
      pos = np.zeros(len(ids), np.int32)
      of_words = self._pos_ids(sentence)[first:end]
      pos[offset : offset + len(here.texts)] = np.repeat(
        of_words, np.diff(here.starts)
      )
    return Example(
      ids, types, texts, index, first, positions, labels, weights, pos
    )

  def _pos_ids(self, sentence: Sentence) -> list[int]:
    if len(sentence.pos) != len(sentence.words):
      where = sentence.source or f"{' '.join(sentence.words[:5])} ..."
      raise UserError(
        f"{where}: no parts of speech, which the feature pos reads; give data "
        "that has them, or train without it"
      )
    known = {tag: i for i, tag in enumerate(self.pos_tags, start=1)}
    return [known.get(tag, 0) for tag in sentence.pos]

  def training_examples(
    self, sentences: Sequence[Sentence]
  ) -> tuple[Sequence[Example], int]:
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
    best = log_softmax(logits_WxC)[np.arange(len(labels)), labels]
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


def parse_features(field: str, text: str) -> tuple[str, ...]:
  """Reads `features` as the config has it.

  >>> parse_features("detector.features", "both+pos")
  ('char', 'pattern', 'pos')

  Raises:
    UserError: it is neither none nor names of features with + between them.
  """
  if text == "none":
    return ()
  names = text.replace("both", "char+pattern").split("+")
  if not set(names) <= set(_FEATURES) or len(set(names)) < len(names):
    raise UserError(
      f"config.{field}: {text!r} is neither none nor any of char, pattern, "
      "both, pos, such as both+pos"
    )
  return tuple(name for name in _FEATURES if name in names)


def pos_tags(sentences: Iterable[Sentence]) -> tuple[str, ...]:
  """All parts of speech of the sentences, sorted."""
  return tuple(sorted({tag for s in sentences for tag in s.pos}))


def span_detection(
  settings: ConfigDict,
  encoder: EncoderConfig,
  tokenizer: Tokenizer,
  head: Head | None = None,
  pos_tags: tuple[str, ...] = (),
) -> TokenTask:
  """The first step: finds mentions, whatever their type (section 2.1).

  Args:
    settings: `config.detector` with the common fields filled in.
    encoder: the backbone's sizes.
    tokenizer: the backbone's tokenizer.
    head: of a checkpoint of the paper's authors, whose rules then hold; it
      decides the features and the number of labels.
    pos_tags: the parts of speech in the training data.
  """
  return token_task(
    "detector",
    settings,
    encoder,
    tokenizer,
    question=tuple(settings.question.split()),
    head=head,
    pos_tags=pos_tags,
  )


def sequence_tagging(
  settings: ConfigDict,
  encoder: EncoderConfig,
  tokenizer: Tokenizer,
  types: Sequence[str],
  head: Head | None = None,
  pos_tags: tuple[str, ...] = (),
) -> TokenTask:
  """The baseline Single(SeqTag): boundaries and types in one label.

  Args:
    settings: `config.tagger` with the common fields filled in.
    encoder, tokenizer, head, pos_tags: see `span_detection`.
    types: entity types, in the order of the labels.
  """
  return token_task(
    "tagger",
    settings,
    encoder,
    tokenizer,
    types=tuple(types),
    head=head,
    pos_tags=pos_tags,
  )


def token_task(
  name: str,
  settings: ConfigDict,
  encoder: EncoderConfig,
  tokenizer: Tokenizer,
  *,
  types: tuple[str, ...] = (),
  question: tuple[str, ...] = (),
  double_sep: bool = False,
  head: Head | None = None,
  pos_tags: tuple[str, ...] = (),
) -> TokenTask:
  """A task that labels words; `name` is the config's part with its settings.

  Raises:
    UserError: a setting has no meaning, or does not fit the checkpoint.
  """
  scheme = LabelScheme(
    choice(f"{name}.scheme", settings.scheme, MODEL_SCHEMES), types
  )
  features = parse_features(f"{name}.features", settings.features)
  if "pos" in features and not pos_tags:
    raise UserError(
      f"config.{name}.features: {settings.features} needs parts of speech, "
      "which the training data does not have; name their column in "
      "config.data.pos_column, or leave pos out"
    )
  vocabs = patterns.CHARACTER_VOCAB, patterns.PATTERN_VOCAB
  if head:
    if len(scheme.labels) != head.num_labels:
      of_types = f" with {len(types)} types" if types else ""
      raise UserError(
        f"config.{name}.scheme: {settings.scheme}{of_types} has "
        f"{len(scheme.labels)} labels, but the checkpoint {head.num_labels}; "
        "for each type, or once without types, BO has 1, BIO 2, BIOE 3, BIOES "
        "4, and O is one more"
      )
    features = head.features
    vocabs = head.char_vocab_size, head.pattern_vocab_size
  specials = 4 if double_sep and tokenizer.is_roberta else 3
  check_room(tokenizer, specials + len(tokenizer([question])[0].texts))
  return TokenTask(
    name=name,
    model=TokenClassifier(
      encoder,
      len(scheme.labels),
      features,
      *vocabs,
      mask_char_padding=head is None,
      pos_vocab_size=1 + len(pos_tags) if "pos" in features else 0,
    ),
    loss=choice(f"{name}.loss", settings.loss, LOSSES),
    tokenizer=tokenizer,
    scheme=scheme,
    question=question,
    labels_on=choice(f"{name}.labels_on", settings.labels_on, LABELS_ON),
    features=features,
    pos_tags=pos_tags if "pos" in features else (),
    double_sep=double_sep,
    o_bias=settings.o_bias,
  )
