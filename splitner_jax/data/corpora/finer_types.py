"""More types than a corpus has."""

import dataclasses
from collections.abc import Sequence

from splitner_jax.data.corpora.corpus import Corpus
from splitner_jax.data.sentences import Sentence, Span


def by_length(corpus: Corpus) -> Corpus:
  """The corpus with three types for each: mentions of 1, 2 and more words.

  `person` becomes `person-1`, `person-2` and `person-3`.

  Raises:
    UserError: dev or test has such a type that train lacks.
  """

  def finer(span: Span) -> Span:
    words = min(span.end - span.start, 3)
    return span._replace(label=f"{span.label}-{words}")

  def split(sentences: Sequence[Sentence]) -> list[Sentence]:
    return [
      dataclasses.replace(s, spans=tuple(map(finer, s.spans)))
      for s in sentences
    ]

  result = dataclasses.replace(
    corpus,
    train=split(corpus.train),
    dev=split(corpus.dev),
    test=split(corpus.test),
  )
  result.check_types()
  return result
