"""Corpora with more types than they have."""

import pytest

from splitner_jax.data.corpora import Corpus
from splitner_jax.data.corpora.finer_types import by_length
from splitner_jax.data.sentences import Sentence, Span
from splitner_jax.runtime.errors import UserError


def _sentence(*sizes: int) -> Sentence:
  spans, end = [], 0
  for size in sizes:
    spans.append(Span(end, end + size, "x"))
    end += size
  return Sentence(("a",) * end, tuple(spans), source="f:1")


def test_types_by_length() -> None:
  corpus = Corpus("c", [_sentence(3, 1), _sentence(2)], [_sentence(7)], [])
  finer = by_length(corpus)
  assert finer.types == ["x-1", "x-2", "x-3"]
  assert finer.train[0].spans == (Span(0, 3, "x-3"), Span(3, 4, "x-1"))
  assert finer.dev[0].spans == (Span(0, 7, "x-3"),)
  assert finer.train[0].words == corpus.train[0].words


def test_types_that_train_lacks() -> None:
  corpus = Corpus("c", [_sentence(1)], [], [_sentence(2)])
  with pytest.raises(UserError, match="f:1: type 'x-2' of split test never"):
    by_length(corpus)
