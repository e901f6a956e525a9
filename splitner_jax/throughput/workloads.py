"""What is read: a corpus, or made-up sentences of some length and density."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from splitner_jax import pretrained
from splitner_jax.data.corpora.corpus import Corpus
from splitner_jax.data.sentences import Sentence, Span
from splitner_jax.experiment.corpus import load_corpus
from splitner_jax.inputs.tokenizer import MAX_WORD_PIECES, Tokenizer
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.types import Json
from splitner_jax.throughput.backbones import sized

ROOM = 100
"""Positions that a question may need beside a made-up sentence."""
SHORTEST = 10
"""Tokens of the shortest made-up sentence."""

_MENTION = 2  # Words of a made-up mention.
_DENSEST = 100 // (_MENTION + 1)
_TOKENS = 6_400  # Of a made-up corpus, about.


@dataclasses.dataclass(frozen=True)
class Workload:
  """Sentences, and how systems are to be made for them.

  Attributes:
    config: of any system; its `system` is set by who makes one.
    corpus: train to learn from, test to tag.
    as_text: whether tagging starts from text, not from words.
    backbone: its name, for readers.
  """

  config: ConfigDict
  corpus: Corpus
  as_text: bool
  backbone: str

  def describe(self, tokens_per_sentence: float, tagged: int) -> Json:
    """What the report says of it.

    Args:
      tokens_per_sentence: of train, in subwords, without questions.
      tagged: how many test sentences are tagged at a time.
    """
    train = self.corpus.train
    mentions = sum(len(s.spans) for s in train)
    return {
      "name": self.corpus.name,
      "train_sentences": len(train),
      "inference_sentences": tagged,
      "types": len(self.corpus.types),
      "tokens_per_sentence": tokens_per_sentence,
      "mentions_per_100_tokens": 100
      * mentions
      / (len(train) * tokens_per_sentence),
      "backbone": self.backbone,
    }


class Point(NamedTuple):
  """What made-up sentences are like.

  Attributes:
    tokens: subwords of each, one a word.
    types: entity types.
    mentions: in 100 tokens.
  """

  tokens: int = 100
  types: int = 5
  mentions: float = 8.0


def check(point: Point) -> None:
  """Raises UserError for what no sentences are like."""
  if point.tokens < SHORTEST:
    raise UserError(f"--lengths: {point.tokens} is below {SHORTEST}; raise it")
  if point.types < 1:
    raise UserError(f"--types: {point.types} is below 1; raise it")
  if not 0 < point.mentions <= _DENSEST:
    raise UserError(
      f"--mentions_per_100_tokens: {point.mentions:g} is not above 0 and at "
      f"most {_DENSEST}; 8 is usual"
    )
  needed = 100 * point.types / point.mentions
  if needed > _TOKENS:
    raise UserError(
      f"--types: {point.types} at {point.mentions:g} mentions in 100 tokens "
      f"need more than the {_TOKENS} tokens that are made; take fewer types, "
      "or more mentions"
    )


def real(config: ConfigDict, folder: pathlib.Path, positions: int | None):
  """The corpus of a config.

  Args:
    config: as for training; not changed.
    folder: for a backbone by sizes.
    positions: see `backbones.sized`.

  Raises:
    UserError: for anything that the user can mend.
  """
  name = config.backbone
  config = ConfigDict(config)
  config.backbone = sized(name, positions, folder)
  corpus = load_corpus(config.data)
  if not corpus.test:
    corpus = dataclasses.replace(corpus, test=corpus.dev)
  return Workload(config, corpus, True, _readable(name))


def made_up(
  config: ConfigDict,
  point: Point,
  folder: pathlib.Path,
  positions: int | None = None,
) -> Workload:
  """Sentences like a point, always the same.

  Args:
    config: as for training, its corpus apart; not changed.
    point: see there.
    folder: for a backbone by sizes.
    positions: see `backbones.sized`.

  Raises:
    UserError: the sentences are longer than the backbone reads.
  """
  name = config.backbone
  config = ConfigDict(config)
  config.backbone = sized(name, positions, folder)
  # Tasks want room for a question and two of the longest words.
  config.max_length = max(point.tokens, 2 * MAX_WORD_PIECES) + ROOM
  config.data.type_names = ""
  # As many tokens a step at each length: memory and time do not grow. The
  # classifier's batches are of mentions, which have as many anyway.
  if config.classifier.batch_size is None:
    config.classifier.batch_size = config.batch_size
  config.batch_size = max(config.batch_size * Point().tokens // point.tokens, 1)
  backbone = pretrained.read_backbone(pretrained.resolve(config.backbone))
  if config.max_length > backbone.encoder.max_length:
    raise UserError(
      f"--lengths: {point.tokens} tokens and {ROOM} for a question are more "
      f"than the {backbone.encoder.max_length} that {name} reads; give "
      f"--positions={config.max_length}, since weights are random here"
    )
  tokenizer = Tokenizer(
    backbone.folder, backbone.family.pairs, config.max_length
  )
  rows = sentences(tokenizer, point)
  corpus = Corpus(
    f"{point.tokens} tokens, {point.types} types, {point.mentions:g} mentions "
    "in 100 tokens",
    rows,
    [],
    rows,
  )
  return Workload(config, corpus, False, _readable(name))


def _readable(backbone: str) -> str:
  """The name alone: a folder is of one machine only."""
  return pathlib.PurePath(backbone).name


def sentences(tokenizer: Tokenizer, point: Point) -> list[Sentence]:
  """Made-up sentences of exactly so many subwords.

  Each word is one subword, drawn from the vocabulary by Zipf's law; mentions
  of two words stand at equal distances, their types in turn.
  """
  count = -(-_TOKENS // point.tokens)
  words = _whole_words(tokenizer)
  weights = 1.0 / np.arange(1, len(words) + 1)
  rng = np.random.default_rng(point.tokens)
  size = count, point.tokens
  drawn = rng.choice(words, size, p=weights / weights.sum()).tolist()
  per_sentence = point.tokens * point.mentions / 100
  made, asked = [], 0
  for i, row in enumerate(drawn):
    # Fractions of a mention add up over the sentences.
    number = int((i + 1) * per_sentence) - int(i * per_sentence)
    spans = []
    for k in range(number):
      first = int((k + 0.5) * point.tokens / number - _MENTION / 2)
      label = f"{words[asked % point.types]}"
      spans.append(Span(first, first + _MENTION, label))
      asked += 1
    made.append(Sentence(tuple(row), tuple(spans)))
  return made


def _whole_words(tokenizer: Tokenizer) -> Sequence[str]:
  """Words of one subword, in the order of the vocabulary."""
  vocab = tokenizer.fast.get_vocab()
  words = [
    word
    for word in sorted(vocab, key=vocab.__getitem__)
    if word.isascii() and word.isalpha() and word.islower()
  ]
  sizes = np.diff(tokenizer([words]).starts(0))
  return [w for w, size in zip(words, sizes, strict=True) if size == 1]
