"""Mention replacement: more training sentences where there are few.

Dai and Adel, An Analysis of Simple Data Augmentation for Named Entity
Recognition, COLING 2020.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from splitner_jax.data.sentences import Sentence, Span
from splitner_jax.tasks.mentions import NO_ENTITY

_Words = tuple[str, ...]


def with_replaced(
  sentences: Sequence[Sentence], probability: float, seed: int
) -> list[Sentence]:
  """The sentences, and behind them copies with other mentions.

  Of a sentence in which no mention is replaced there is no copy. Nothing but
  the arguments decides what is drawn, so that all tasks read the same copies,
  and a run that goes on reads them again.

  Args:
    sentences: to learn from; no mention comes from elsewhere.
    probability: of each mention, to be another one of its type in the copy.
      Each text of a type is as likely as any other.
    seed: of the draw.
  """
  rng = np.random.default_rng(seed)
  # Of each type, the texts of its mentions with their parts of speech.
  known: dict[str, dict[_Words, _Words]] = {}
  for sentence in sentences:
    for start, end, label in _gold(sentence):
      of_type = known.setdefault(label, {})
      of_type.setdefault(sentence.words[start:end], sentence.pos[start:end])
  texts = {label: [*of_type] for label, of_type in known.items()}
  places = {
    label: {words: i for i, words in enumerate(row)}
    for label, row in texts.items()
  }

  def copy(sentence: Sentence) -> Sentence:
    words, pos = list[str](), list[str]()
    spans, at = [], 0
    for start, end, label in _gold(sentence):
      words += sentence.words[at:start]
      pos += sentence.pos[at:start]
      own, others = sentence.words[start:end], len(texts[label]) - 1
      if others and rng.random() < probability:
        drawn = int(rng.integers(others))
        own = texts[label][drawn + (drawn >= places[label][own])]
        pos += known[label][own]
      else:
        pos += sentence.pos[start:end]
      spans.append(Span(len(words), len(words) + len(own), label))
      words += own
      at = end
    return dataclasses.replace(
      sentence,
      words=(*words, *sentence.words[at:]),
      pos=(*pos, *sentence.pos[at:]),
      spans=tuple(spans),
      is_copy=True,
    )

  copies = map(copy, sentences)
  changed = [
    c for c, s in zip(copies, sentences, strict=True) if c.words != s.words
  ]
  return [*sentences, *changed]


def _gold(sentence: Sentence) -> list[Span]:
  """Its mentions, without what the classifier is to reject."""
  return [span for span in sentence.spans if span.label != NO_ENTITY]
