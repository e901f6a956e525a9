"""What the features of words make of examples whose tokens are of words."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np

from splitner_jax.data.sentences import Sentence
from splitner_jax.inputs.examples import Examples
from splitner_jax.inputs.word_features.affixes import Affixes
from splitner_jax.inputs.word_features.base import WordFeature
from splitner_jax.inputs.word_features.capitals import Capitals
from splitner_jax.inputs.word_features.gazetteer import Gazetteer
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.types import Json

WORD_FEATURES: dict[str, type[WordFeature]] = {
  "affix": Affixes,
  "capitals": Capitals,
  "gazetteer": Gazetteer,
}
"""Features of words, by what the config calls them."""
FEATURES = ("char", "pattern", "shape", "pos", *WORD_FEATURES)
"""All that may stand beside the encoder, in this order."""


def model_features(names: Sequence[str]) -> tuple[str, ...]:
  """What models call some of `FEATURES`; features of words are columns there.

  >>> model_features(["char", "shape", "affix"])
  ('char', 'pattern')
  """
  return tuple(
    "pattern" if name == "shape" else name
    for name in names
    if name not in WORD_FEATURES
  )


@dataclasses.dataclass(frozen=True)
class WordReading:
  """What is read of whole words.

  Attributes:
    pos_tags: the parts of speech that are known; none: they are not read.
    features: by name, in the order of their columns.
    whole_words: whether the pattern feature reads at each subword the word.
  """

  pos_tags: tuple[str, ...] = ()
  features: Mapping[str, WordFeature] = dataclasses.field(default_factory=dict)
  whole_words: bool = False

  @classmethod
  def fit(cls, names: Sequence[str], sentences: Sequence[Sentence]) -> Self:
    """What some of `FEATURES` read, once they know the training sentences."""
    return cls(
      tuple(sorted({tag for s in sentences for tag in s.pos}))
      if "pos" in names
      else (),
      {n: f.fit(sentences) for n, f in WORD_FEATURES.items() if n in names},
      "shape" in names,
    )

  def describe(self, features: Sequence[str]) -> Json:
    """The fields of a model's folder that say which features are read.

    Args:
      features: as models call them.
    """
    pattern = "shape" if self.whole_words else "pattern"
    named = [pattern if name == "pattern" else name for name in features]
    fields: Json = {
      "features": [*named, *self.features],
      "pos_tags": list(self.pos_tags),
    }
    if self.features:
      fields["word_features"] = {
        name: feature.describe() for name, feature in self.features.items()
      }
    return fields

  @classmethod
  def restore(cls, fields: Json) -> Self:
    """What `describe` made these fields of."""
    names = fields["features"]
    return cls(
      tuple(fields["pos_tags"]),
      {
        name: WORD_FEATURES[name](**fields["word_features"][name])
        for name in names
        if name in WORD_FEATURES
      },
      "shape" in names,
    )

  def __bool__(self) -> bool:
    """Whether anything is."""
    return bool(self.pos_tags or self.features or self.whole_words)

  @property
  def sizes(self) -> tuple[int, ...]:
    """Of each column, one more than its largest number."""
    return tuple(n for f in self.features.values() for n in f.sizes)

  def add(
    self,
    examples: Examples,
    sentences: Sequence[Sentence],
    word_of: np.ndarray,
    *,
    counted: bool,
  ) -> Examples:
    """The examples with the columns that are read of words.

    Args:
      examples: made of the sentences.
      sentences: any number.
      word_of: int[T] which word a token is of, counted through all sentences;
        -1: of none.
      counted: see `WordFeature.numbers`; copies never are.

    Raises:
      UserError: a sentence has no parts of speech, and they are read.
    """
    more: Json = {}
    if self.pos_tags:
      tags = [tag for s in sentences for tag in self._pos_ids(s)]
      more["pos"] = np.array([*tags, 0], np.int16)[word_of]
    if self.features:
      rows = [
        sum(row, ())
        for s in sentences
        for row in zip(
          *(
            f.numbers(s, counted=counted and not s.is_copy)
            for f in self.features.values()
          ),
          strict=True,
        )
      ]
      nothing = (0,) * len(self.sizes)
      table = np.array([*rows, nothing], np.int32)
      more["words"] = table[word_of[examples.target_tokens()]]
    if self.whole_words:
      known = {text: i for i, text in enumerate(examples.distinct)}
      texts = [
        known.setdefault(word, len(known))
        for s in sentences
        for word in s.words
      ]
      of_words = np.array([*texts, 0], np.int32)[word_of]
      more["patterns"] = np.where(word_of < 0, examples.texts, of_words)
      more["distinct"] = list(known)
    return dataclasses.replace(examples, **more)

  def _pos_ids(self, sentence: Sentence) -> list[int]:
    if len(sentence.pos) != len(sentence.words):
      where = sentence.source or f"{' '.join(sentence.words[:5])} ..."
      raise UserError(
        f"{where}: no parts of speech, which the feature pos reads; give data "
        "that has them, or train without it"
      )
    known = {tag: i for i, tag in enumerate(self.pos_tags, start=1)}
    return [known.get(tag, 0) for tag in sentence.pos]
