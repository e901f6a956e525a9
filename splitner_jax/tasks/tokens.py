"""Tasks that label words: the span detector and the sequence tagger."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from splitner_jax.data.sentences import ScoredSpan, Sentence, Span
from splitner_jax.data.tags import LabelScheme
from splitner_jax.evaluation import metrics
from splitner_jax.inputs.examples import Examples, join_tokens
from splitner_jax.inputs.ragged import flat_ranges, offsets
from splitner_jax.inputs.tokenizer import TokenizedWords, Tokenizer
from splitner_jax.inputs.windows import windows
from splitner_jax.inputs.word_features.reading import (
  WordReading,
  model_features,
)
from splitner_jax.models.heads import TokenClassifier
from splitner_jax.models.transformer import EncoderConfig
from splitner_jax.runtime.types import Json
from splitner_jax.tasks.base import (
  Decision,
  ForwardFn,
  check_room,
  log_softmax,
)
from splitner_jax.tasks.decoding import Decoding
from splitner_jax.tasks.overlaps import resolve_overlaps_by_score
from splitner_jax.tasks.words import word_logits

LABELS_ON = ("first_subtoken", "all_tokens")
"""The values of `labels_on`."""

# What a model's folder says of the head.
_HEAD_FIELDS = (
  "char_vocab_size",
  "pattern_vocab_size",
  "mask_char_padding",
  "pos_vocab_size",
)


@dataclasses.dataclass(frozen=True)
class TokenTask:
  """Labels words: the span detector; with types the sequence tagger; asked for
  one type at a time, Single(QA).

  Attributes:
    scheme: the labels.
    questions: words that precede the sentence, none for plain tagging. Of
      several, each is an input of its own.
    asked: the entity types that the questions ask for, if they ask for any.
    labels_on: "first_subtoken": labels run over words, and only the first
      subword of each counts in the loss. "all_tokens": as in the reference,
      labels run over subwords, and all tokens count, question and special
      tokens too.
    features: any of "char", "pattern", "pos".
    reading: what is read of whole words.
    double_sep: whether all the separators of the backbone's family stand after
      the question, of which RoBERTa has two; if not, one.
  """

  name: str
  model: TokenClassifier
  tokenizer: Tokenizer
  scheme: LabelScheme
  questions: tuple[tuple[str, ...], ...]
  labels_on: str
  features: tuple[str, ...]
  asked: tuple[str, ...] = ()
  reading: WordReading = dataclasses.field(default_factory=WordReading)
  double_sep: bool = False

  def __post_init__(self):
    longest = int(self.tokenizer(self.questions).sizes().max())
    check_room(self.tokenizer, 2 + self._separators + longest)

  @property
  def labels(self) -> tuple[str, ...]:
    """The entity types; none of the span detector."""
    return self.scheme.types or self.asked

  @property
  def logit_names(self) -> tuple[str, ...]:
    """What the logits stand for."""
    return tuple(self.scheme.labels)

  @property
  def targets_per_token(self) -> float:
    return 1.0

  def batch_items(self, examples: Examples) -> int:
    """Their number."""
    return len(examples)

  def probe(self) -> Examples:
    return self.encode([Sentence(("a",), pos=("",))])[0].take([0])

  @property
  def _separators(self) -> int:
    """How many stand between question and sentence."""
    return self.tokenizer.pairs.separators if self.double_sep else 1

  def _windows(
    self,
    sentences: Sequence[Sentence],
    words: TokenizedWords,
    training: bool,
  ) -> tuple[np.ndarray, int]:
    """int64[N, 4]: sentence, question, first and end word of each example.

    In training only the first window of a long sentence; and how many gold
    mentions are lost with the others.
    """
    n = len(self.questions)
    sizes, counts = words.sizes(), np.diff(words.lists)
    rows, lost = [], 0
    for q in range(n):
      around = 2 + self._separators + int(sizes[q])
      capacity = self.tokenizer.max_length - around
      fit = np.flatnonzero(sizes[n:] <= capacity)
      whole = np.zeros((len(fit), 4), np.int64)
      whole[:, 0], whole[:, 1], whole[:, 3] = fit, q, counts[n:][fit]
      rows.append(whole)
      for i in np.flatnonzero(sizes[n:] > capacity).tolist():
        cuts = windows(words.starts(n + i), capacity, capacity // 2)
        if training:
          lost += sum(s.end > cuts[0][1] for s in self._gold(sentences[i], q))
          cuts = cuts[:1]
        rows.append(np.array([(i, q, *cut) for cut in cuts], np.int64))
    table = np.concatenate(rows)
    return table[np.lexsort((table[:, 2], table[:, 1], table[:, 0]))], lost

  def _gold(self, sentence: Sentence, question: int) -> list[Span]:
    """The mentions that a question asks for."""
    if not self.asked:
      return list(sentence.spans)
    return [s for s in sentence.spans if s.label == self.asked[question]]

  def encode(
    self,
    sentences: Sequence[Sentence],
    *,
    training: bool = False,
    counted: bool = False,
  ) -> tuple[Examples, int]:
    """Examples whose targets are the first subwords, or all tokens to train on.

    Args:
      sentences: any number.
      training: whether they are to be trained on.
      counted: whether they are of the training split, trained on or not; see
        `WordReading.add`.

    Returns:
      An example for each sentence and question, more if the sentence is long;
      and how many gold mentions are in none of them.
    """
    n = len(self.questions)
    words = self.tokenizer([*self.questions, *(s.words for s in sentences)])
    table, lost = self._windows(sentences, words, training)
    owners, asked = table[:, 0], table[:, 1]
    first = words.lists[n + owners] + table[:, 2]
    end = words.lists[n + owners] + table[:, 3]
    start, stop = words.words[first], words.words[end]

    # Tokens.
    bounds = words.words[words.lists]
    cls, sep = (
      np.tile(np.array([at, at + 1]), (len(table), 1))
      for at in (words.cls, words.sep)
    )
    here = np.stack([start, stop], axis=1)
    before, types = [cls], [0]
    if any(self.questions):
      question = np.stack([bounds[asked], bounds[asked + 1]], axis=1)
      before += [question, *[sep] * self._separators]
      types = [0] * len(before)
    joined = np.stack([*before, here, sep], axis=1)
    second = self.tokenizer.pairs.second_type if len(before) > 1 else 0
    tokens = join_tokens(
      words, joined[..., 0], joined[..., 1], [*types, second, second]
    )
    offset = sum(part[:, 1] - part[:, 0] for part in before)

    # Targets.
    flat_words = flat_ranges(first, end - first)
    on_tokens = training and self.labels_on == "all_tokens"
    if on_tokens:
      counts = np.diff(tokens.token_offsets)
      targets = tokens.positions.astype(np.int32)
    else:
      counts = end - first
      shift = np.repeat(offset - start, counts)
      targets = (words.words[flat_words] + shift).astype(np.int32)
    target_offsets = offsets(counts)
    labels = np.zeros(len(targets), np.int32)
    for row, (i, q, a, b) in enumerate(table.tolist()):
      gold = self._gold(sentences[i], q)
      spans = [
        Span(s.start - a, s.end - a, s.label)
        for s in gold
        if a <= s.start and s.end <= b
      ]
      if not spans:
        continue
      at, size = target_offsets[row], b - a
      if on_tokens:
        starts = words.starts(n + i)[a : b + 1] - start[row]
        spans = [
          Span(int(starts[s.start]), int(starts[s.end]), s.label) for s in spans
        ]
        at, size = at + offset[row], int(starts[-1])
      labels[at : at + size] = self.scheme.encode(spans, size)

    examples = Examples(
      tokens.token_offsets,
      tokens.ids,
      tokens.positions,
      tokens.types,
      np.zeros(len(tokens.ids), np.int16),
      tokens.texts,
      words.distinct,
      target_offsets,
      targets,
      labels,
      np.ones(len(targets), np.float32),
      None,
      None,
      owners.astype(np.int32),
      table[:, 2].astype(np.int32),
    )
    if not self.reading:
      return examples, lost
    # Which word each token is of.
    word_of = np.full(len(tokens.ids), -1, np.int32)
    places = flat_ranges(tokens.token_offsets[:-1] + offset, stop - start)
    sizes = words.words[flat_words + 1] - words.words[flat_words]
    word_of[places] = np.repeat(flat_words - words.lists[n], sizes)
    counted = training or counted
    return self.reading.add(examples, sentences, word_of, counted=counted), lost

  def training_examples(
    self, sentences: Sequence[Sentence]
  ) -> tuple[Examples, int]:
    return self.encode(sentences, training=True)

  def decode(
    self,
    examples: Examples,
    logits: np.ndarray,
    sentences: Sequence[Sentence],
    outside_bias: float = 0.0,
  ) -> list[list[ScoredSpan]]:
    """What each question finds, question by question.

    Of several questions, spans may overlap. A span's score is the geometric
    mean, over its words, of the probability of the decoded label at the word's
    first subword.

    Args:
      examples: of `encode`.
      logits: float[M, C] of their targets.
      sentences: that were encoded.
      outside_bias: see `Decoding`.
    """
    found: list[list[ScoredSpan]] = [[] for _ in sentences]
    for i, q, logits_WxC in word_logits(examples, logits, sentences):
      spans = self._spans(logits_WxC, outside_bias)
      if self.asked:
        spans = [span._replace(label=self.asked[q]) for span in spans]
      found[i] += spans
    return found

  def decisions(
    self,
    examples: Examples,
    logits: np.ndarray,
    sentences: Sequence[Sentence],
    outside_bias: float = 0.0,
  ) -> list[list[Decision]]:
    """The label that `decode` gives to each word, question by question.

    Args:
      examples, logits, sentences, outside_bias: of `decode`.
    """
    decided: list[list[Decision]] = [[] for _ in sentences]
    for i, q, logits_WxC in word_logits(examples, logits, sentences):
      labels, biased_WxC = self._labels(logits_WxC, outside_bias)
      best = np.exp(log_softmax(biased_WxC))[np.arange(len(labels)), labels]
      about = f"{self.asked[q]}: " if self.asked else ""
      decided[i] += [
        Decision(self.name, w, w + 1, about + self.scheme.labels[label], score)
        for w, (label, score) in enumerate(
          zip(labels.tolist(), best.tolist(), strict=True)
        )
      ]
    return decided

  def _labels(
    self, logits_WxC: np.ndarray, outside_bias: float
  ) -> tuple[np.ndarray, np.ndarray]:
    """The likeliest label of each word, and the logits that say so."""
    biased_WxC = logits_WxC.copy()
    biased_WxC[:, 0] += outside_bias
    return biased_WxC.argmax(axis=-1), biased_WxC

  def _spans(
    self, logits_WxC: np.ndarray, outside_bias: float
  ) -> list[ScoredSpan]:
    labels, biased_WxC = self._labels(logits_WxC, outside_bias)
    if not labels.any():
      return []
    best = log_softmax(biased_WxC)[np.arange(len(labels)), labels]
    return [
      ScoredSpan(*span, float(np.exp(best[span.start : span.end].mean())))
      for span in self.scheme.decode(labels.tolist())
    ]

  def describe(self) -> Json:
    """Its fields in a model's folder; `restore` undoes it."""
    asked: Json = {"kind": "token"}
    if self.asked:
      asked = {
        "kind": "type questions",
        "asked": [
          {"type": label, "question": list(words)}
          for label, words in zip(self.asked, self.questions, strict=True)
        ],
      }
    longest = max(self.questions, key=len)
    return {
      **asked,
      "scheme": self.scheme.name,
      "types": list(self.scheme.types),
      "question": list(longest),
      "labels_on": self.labels_on,
      **self.reading.describe(self.features),
      "double_sep": self.double_sep,
      **{field: getattr(self.model, field) for field in _HEAD_FIELDS},
    }

  @classmethod
  def restore(
    cls,
    name: str,
    fields: Json,
    encoder: EncoderConfig,
    tokenizer: Tokenizer,
  ) -> "TokenTask":
    """The task that `describe` made fields of."""
    scheme = LabelScheme(fields["scheme"], tuple(fields["types"]))
    features = model_features(fields["features"])
    reading = WordReading.restore(fields)
    asked = fields.get("asked", [])
    return cls(
      name=name,
      model=TokenClassifier(
        encoder,
        len(scheme.labels),
        features,
        **{field: fields[field] for field in _HEAD_FIELDS},
        word_sizes=reading.sizes,
      ),
      tokenizer=tokenizer,
      scheme=scheme,
      questions=tuple(tuple(each["question"]) for each in asked)
      or (tuple(fields["question"]),),
      asked=tuple(each["type"] for each in asked),
      labels_on=fields["labels_on"],
      features=features,
      reading=reading,
      double_sep=fields["double_sep"],
    )

  def resolve(self, found: list[ScoredSpan]) -> list[ScoredSpan]:
    """Those to keep of what all questions find in a sentence."""
    return resolve_overlaps_by_score(found) if self.asked else found

  def evaluate(
    self,
    forward: ForwardFn,
    sentences: Sequence[Sentence],
    decoding: Decoding,
  ) -> Json:
    """Scores of the mentions; without types, of the spans."""
    examples, _ = self.encode(sentences)
    found = self.decode(
      examples, forward(examples), sentences, decoding.outside_bias
    )
    predicted = [self.resolve(row) for row in found]
    gold = [s.spans for s in sentences]
    if self.labels:
      return metrics.score(gold, predicted)
    scores = metrics.score_detection(gold, predicted)
    return scores | {"per_type": metrics.recall_per_type(gold, predicted)}
