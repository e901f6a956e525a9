"""Mention replacement within a type."""

import collections

import pytest

from splitner_jax.data.sentences import Sentence, Span
from splitner_jax.data.tags import LabelScheme
from splitner_jax.tasks.mentions import NO_ENTITY
from splitner_jax.training import loop
from splitner_jax.training.replacing import with_replaced
from tests import tiny_tasks, tiny_training

_FIRST = Sentence(
  ("so", "Ada", "Bo", "left", "Ur", "."),
  (Span(1, 3, "person"), Span(4, 5, "place")),
  ("x", "P1", "P2", "x", "N", "."),
  "file:1",
)
_SECOND = Sentence(
  ("Cy", "saw", "New", "Rome"),
  (Span(0, 1, "person"), Span(2, 4, "place")),
  ("P3", "x", "A", "N"),
)
_NONE = Sentence(("nothing",), pos=("x",))


def test_all_mentions_are_replaced():
  rows = [_FIRST, _NONE, _SECOND]
  assert with_replaced(rows, 1.0, 0) == [
    *rows,
    # Each type has one other text, which takes its parts of speech along.
    Sentence(
      ("so", "Cy", "left", "New", "Rome", "."),
      (Span(1, 2, "person"), Span(3, 5, "place")),
      ("x", "P3", "x", "A", "N", "."),
      "file:1",
      is_copy=True,
    ),
    Sentence(
      ("Ada", "Bo", "saw", "Ur"),
      (Span(0, 2, "person"), Span(3, 4, "place")),
      ("P1", "P2", "x", "N"),
      is_copy=True,
    ),
  ]
  assert LabelScheme("BIOE").encode([Span(1, 2, ""), Span(3, 5, "")], 6) == [
    *(0, 1, 0, 1, 3, 0)
  ]


def test_a_copy_is_another_sentence():
  rows = [_FIRST, _NONE]
  assert with_replaced(rows, 1.0, 0) == rows  # There is no other mention.
  assert with_replaced([_FIRST, _SECOND], 0.0, 0) == [_FIRST, _SECOND]
  assert with_replaced([], 1.0, 0) == []


def test_probability_and_draw():
  """Each mention by itself, and each text of its type as often."""
  texts = [("a",), ("b", "c"), ("d",), ("e", "f", "g")]
  # One text is common; it is drawn no more often for that.
  of_rows = [*texts, *texts[:1] * 5996]
  rows = [Sentence(words, (Span(0, len(words), "x"),)) for words in of_rows]
  copies = with_replaced(rows, 0.3, 7)[len(rows) :]
  assert len(copies) == pytest.approx(0.3 * len(rows), rel=0.1)
  drawn = collections.Counter(copy.words for copy in copies[-1500:])
  assert drawn.keys() == {*texts[1:]}
  assert min(drawn.values()) > 0.8 * max(drawn.values())
  for copy in copies:
    assert copy.spans == (Span(0, len(copy.words), "x"),)


def test_the_seed_decides():
  rows = tiny_tasks.random_sentences(30, 30)
  once = with_replaced(rows, 0.5, 1)
  assert once == with_replaced(rows, 0.5, 1)
  assert once != with_replaced(rows, 0.5, 2)
  assert once[:30] == rows
  # What is between the mentions stays.
  for copy in once[30:]:
    rest = _outside(copy)
    assert rest in map(_outside, rows)
    for start, end, label in copy.spans:
      assert any(
        row.words[a:b] == copy.words[start:end] and label == other
        for row in rows
        for a, b, other in row.spans
      )


def _outside(sentence: Sentence) -> list[str]:
  inside = {i for s in sentence.spans for i in range(s.start, s.end)}
  return [w for i, w in enumerate(sentence.words) if i not in inside]


def test_what_the_classifier_rejects_is_not_in_the_copies():
  false = Span(0, 2, NO_ENTITY)  # Overlaps a mention.
  rows = [
    Sentence(_FIRST.words, (*_FIRST.spans, false), _FIRST.pos, "file:1"),
    _SECOND,
  ]
  assert with_replaced(rows, 1.0, 3)[:2] == rows
  # The same as without it: both tasks read the same copies.
  assert (
    with_replaced(rows, 1.0, 3)[2:]
    == with_replaced([_FIRST, _SECOND], 1.0, 3)[2:]
  )


class _Task(tiny_training.Task):
  """Remembers what it is to learn from."""

  def training_examples(self, sentences):
    self.seen = sentences
    return super().training_examples(sentences)


def test_training_asks_for_them():
  task, rows = _Task(), tiny_tasks.random_sentences(20, 30)
  fields = {"replace_mentions": 0.5, "seed": 4}
  loop.prepare(task, tiny_training.settings(**fields), rows)
  assert task.seen == with_replaced(rows, 0.5, 4)
  loop.prepare(task, tiny_training.settings(), rows)
  assert task.seen == rows
