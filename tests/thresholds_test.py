"""Thresholds and targets by themselves: no model, no command."""

import pytest

from splitner_jax.data.sentences import ScoredSpan, Sentence, Span
from splitner_jax.evaluation.metrics import Counts
from splitner_jax.evaluation.thresholds import (
  MatchedPredictions,
  Target,
  Thresholds,
)
from splitner_jax.tasks.decoding import Decoding


def test_a_mention_with_just_the_score_is_kept():
  mentions = [ScoredSpan(0, 1, "a", s) for s in (0.2, 0.5, 0.7)]
  mentions += [ScoredSpan(0, 1, "b", 0.5)]
  assert Thresholds().keep(mentions) == mentions
  assert Thresholds(0.5).keep(mentions) == mentions[1:]
  # A type's own threshold may be lower or higher, or 0.
  assert Thresholds(0.6, {"b": 0.0}).keep(mentions) == mentions[2:]
  assert Thresholds(0.6, {"b": 0.9}).keep(mentions) == mentions[2:3]


def test_nothing_is_dropped_by_default():
  assert Thresholds() == Thresholds(0.0, {})
  assert Decoding() == Decoding(0.0, 1.0, Thresholds(0.0, {}))


@pytest.mark.parametrize(
  ("text", "target"),
  [
    ("f1", Target("f1", 100.0)),
    ("precision:1", Target("precision", 100.0)),
    ("recall:0.25", Target("recall", 25.0)),
    ("precision:1e-3", Target("precision", 0.1)),
  ],
)
def test_targets(text: str, target: Target):
  assert Target.parse(text) == target


def test_what_a_result_is_worth():
  counts = Counts(gold=10, predicted=5, correct=4)
  for target, worth, is_reached in (
    (Target("precision", 80), (80, 40), True),
    (Target("precision", 70), (70, 40), True),
    (Target("precision", 81), (80, 40), False),
    (Target("recall", 40), (40, 80), True),
    (Target("recall", 30), (30, 80), True),
    (Target("recall", 41), (40, 80), False),
    (Target("f1"), (pytest.approx(800 / 15), 40), False),
  ):
    assert target.objective(counts) == worth
    assert target.is_reached(counts) == is_reached
  assert Target("f1").is_reached(Counts(1, 1, 1))


def test_one_prediction_for_each_sentence():
  sentence = Sentence(("a",), (Span(0, 1, "x"),))
  with pytest.raises(ValueError, match="zip"):
    MatchedPredictions.of([sentence], [])
