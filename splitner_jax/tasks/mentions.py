"""The task that names the type of a mention: the span classifier."""

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from ml_collections import ConfigDict

from splitner_jax.data.sentences import Sentence, Span
from splitner_jax.evaluation import metrics
from splitner_jax.inputs import questions
from splitner_jax.inputs.examples import Examples
from splitner_jax.inputs.mention_examples import (
  CONTEXTS,
  PLACES,
  Asked,
  MentionQuestions,
  Place,
)
from splitner_jax.inputs.tokenizer import Tokenizer
from splitner_jax.models.heads import POOLINGS, PooledClassifier
from splitner_jax.models.transformer import EncoderConfig
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.types import Json
from splitner_jax.tasks.base import (
  ForwardFn,
  check_room,
  choice,
  log_softmax,
)
from splitner_jax.tasks.decoding import Decoding

log = logging.getLogger(__name__)

_LIKELIEST = 4
"""Types of a mention that `ranked` gives at most."""
LAST_LAYERS = ("random", "names")
"""What the classifier's last layer may start from."""
NO_ENTITY = ""
"""The label of a span that is no mention."""

# Which tokens a pooling reads beside the target.
_RANGES: dict[str, Place | None] = {
  "cls": None,
  "mention": "question",
  "cls+span": "sentence",
}


class Labelled(Protocol):
  """What a question is about; "" if nobody knows its label."""

  @property
  def label(self) -> str: ...


@dataclasses.dataclass(frozen=True)
class MentionTask:
  """Names the type of a mention: the span classifier.

  Attributes:
    labels: entity types, in the order of the logits.
    none_class: whether a last logit says that the span is no mention.
    question: words, one of which is the mention's place.
    context, max_context, positions: see `MentionQuestions`.
  """

  name: str
  model: PooledClassifier
  tokenizer: Tokenizer
  labels: tuple[str, ...]
  question: tuple[str, ...]
  context: str
  max_context: int
  positions: Place
  none_class: bool = False
  features: tuple[str, ...] = ()

  def __post_init__(self):
    own = [word for word in self.question if word != questions.MENTION]
    size = int(self.tokenizer([own]).sizes()[0])
    check_room(self.tokenizer, 3 + self.tokenizer.pairs.separators + size)

  @property
  def logit_names(self) -> tuple[str, ...]:
    """What the logits stand for: the types, and NO_ENTITY if it is one."""
    return self.labels + (NO_ENTITY,) * self.none_class

  @property
  def targets_per_token(self) -> float:
    """A question has [CLS], a token for each word, and [SEP] at least."""
    return 1 / (len(self.question) + 2)

  def batch_items(self, examples: Examples) -> int:
    """How many mentions they ask about: `batch_size` counts these."""
    return len(examples.targets)

  def probe(self) -> Examples:
    return self.encode([Sentence(("a",))], [[Span(0, 1, "")]])

  def encode(
    self,
    sentences: Sequence[Sentence],
    mentions: Sequence[Sequence[Labelled]],
  ) -> Examples:
    """Examples that ask about each mention; see `MentionQuestions`.

    Mentions of types that are not asked for have the weight 0.
    """
    before, *between, after = questions.around(self.question, questions.MENTION)
    examples = MentionQuestions(
      before,
      after,
      self.context,
      self.max_context,
      self.positions,
      _RANGES[self.model.pooling],
      tuple(between),
    ).encode(
      self.tokenizer,
      [sentence.words for sentence in sentences],
      [[self.named(span) for span in spans] for spans in mentions],
    )
    numbers = {label: i for i, label in enumerate(self.logit_names)}
    labels = np.array(
      [numbers.get(span.label, -1) for spans in mentions for span in spans],
      np.int32,
    )[examples.asked]
    return dataclasses.replace(
      examples,
      labels=np.maximum(labels, 0),
      weights=(labels >= 0).astype(np.float32),
    )

  def named(self, mention: Any) -> Asked:
    """The words that stand in the places of the question about it."""
    return ((mention.start, mention.end),)

  def training_examples(
    self, sentences: Sequence[Sentence]
  ) -> tuple[Examples, int]:
    """Asks about each span; those without a type are NO_ENTITY."""
    return self.encode(sentences, [s.spans for s in sentences]), 0

  def logits(
    self,
    forward: ForwardFn,
    sentences: Sequence[Sentence],
    mentions: Sequence[Sequence[Labelled]],
  ) -> np.ndarray:
    """float[N, C], of all mentions in their order."""
    examples = self.encode(sentences, mentions)
    if not len(examples):
      return np.zeros((0, len(self.logit_names)), np.float32)
    assert examples.asked is not None
    return forward(examples)[np.argsort(examples.asked)]

  def classes(
    self, logits: np.ndarray, temperature: float = 1.0
  ) -> list[tuple[str, float]]:
    """Type and probability of each mention.

    softmax(logits / temperature); the type of a span that is held for no
    mention is NO_ENTITY.
    """
    best = logits.argmax(axis=-1)
    rows = np.arange(len(best))
    scores = np.exp(log_softmax(logits / temperature)[rows, best])
    return [
      (self.logit_names[label], score)
      for label, score in zip(best.tolist(), scores.tolist(), strict=True)
    ]

  def ranked(
    self, logits: np.ndarray, temperature: float = 1.0
  ) -> list[list[tuple[str, float]]]:
    """The likeliest types of each mention, as `classes` has the first."""
    best = np.argsort(-logits, axis=-1, kind="stable")[:, :_LIKELIEST]
    scores = np.exp(log_softmax(logits / temperature))
    scores = np.take_along_axis(scores, best, axis=-1)
    return [
      [(self.logit_names[i], score) for i, score in zip(*row, strict=True)]
      for row in zip(best.tolist(), scores.tolist(), strict=True)
    ]

  def describe(self) -> Json:
    """Its fields in a model's folder; `restore` undoes it."""
    return {
      "kind": "mention",
      "labels": list(self.labels),
      "none_class": self.none_class,
      "pooling": self.model.pooling,
      "question": list(self.question),
      "context": self.context,
      "max_context": self.max_context,
      "positions": self.positions,
    }

  @classmethod
  def restore(
    cls,
    name: str,
    fields: Json,
    encoder: EncoderConfig,
    tokenizer: Tokenizer,
  ) -> "MentionTask":
    """The task that `describe` made fields of."""
    labels, none_class = tuple(fields["labels"]), fields["none_class"]
    return cls(
      name=name,
      model=PooledClassifier(
        encoder, len(labels) + none_class, fields["pooling"]
      ),
      tokenizer=tokenizer,
      labels=labels,
      none_class=none_class,
      question=tuple(fields["question"]),
      context=fields["context"],
      max_context=fields["max_context"],
      positions=fields["positions"],
    )

  def evaluate(
    self,
    forward: ForwardFn,
    sentences: Sequence[Sentence],
    decoding: Decoding,
  ) -> Json:
    """Scores of the types of gold mentions."""
    gold = [s.spans for s in sentences]
    found = self.classes(
      self.logits(forward, sentences, gold), decoding.temperature
    )
    return metrics.score_labels(
      [span.label for row in gold for span in row],
      [label for label, _ in found],
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
  context, max_context = _context(settings)
  shared = choice("classifier.context", context, CONTEXTS) == "shared"
  # What a checkpoint learned is the paper's form.
  best = shared and not settings.checkpoint
  pooling = settings.pooling or ("cls+span" if best else "cls")
  positions = settings.positions or ("sentence" if best else "question")
  choice("classifier.pooling", pooling, POOLINGS)
  choice("classifier.last_layer", settings.last_layer, LAST_LAYERS)
  return MentionTask(
    name="classifier",
    model=PooledClassifier(encoder, len(types) + settings.none_class, pooling),
    tokenizer=tokenizer,
    labels=tuple(types),
    question=questions.parse(
      "classifier.question", settings.question, questions.MENTION
    ),
    context=context,
    max_context=max_context,
    positions=choice("classifier.positions", positions, PLACES),
    none_class=settings.none_class,
  )


def _context(settings: ConfigDict) -> tuple[str, int]:
  """`context` and `max_context`, whatever stands for them in the settings."""
  context, most = settings.context, settings.max_context
  has_checkpoint = settings.checkpoint is not None
  if isinstance(context, int) and not isinstance(context, bool):
    # What the field was before contexts could be shared.
    log.warning(
      "config.classifier.context: a number is called max_context now; "
      "%d is taken for config.classifier.max_context",
      context,
    )
    context, most = None, context
  if context is None:
    context = "own" if has_checkpoint else "shared"
  if context == "shared" and has_checkpoint and not settings.epochs:
    raise UserError(
      "config.classifier.context: shared is not what a checkpoint has learned; "
      "train it with config.classifier.epochs, or leave it own"
    )
  return context, most
