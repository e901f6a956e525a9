"""Mention-level scores: by hand, and against seqeval."""

import random
import warnings

import pytest
from seqeval import metrics as seqeval
from seqeval.scheme import IOB2

from splitner_jax import metrics
from splitner_jax.data.sentences import ScoredSpan, Span
from splitner_jax.data.tags import tags_to_spans

A, B, C = Span(0, 1, "x"), Span(2, 4, "y"), Span(5, 6, "x")


def test_by_hand():
  gold = [[A, B], [], [A, C]]
  # Right; right edges, wrong type; spurious; wrong end.
  predicted = [[A, B._replace(label="x")], [A], [Span(5, 7, "x")]]
  result = metrics.score(gold, predicted)
  assert result == {
    "precision": 25.0,
    "recall": 25.0,
    "f1": 25.0,
    "gold": 4,
    "predicted": 4,
    "correct": 1,
    "per_type": {
      "x": {
        "precision": 25.0,
        "recall": pytest.approx(100 / 3),
        "f1": pytest.approx(200 / 7),
        "gold": 3,
        "predicted": 4,
        "correct": 1,
      },
      "y": {
        "precision": 0.0,
        "recall": 0.0,
        "f1": 0.0,
        "gold": 1,
        "predicted": 0,
        "correct": 0,
      },
    },
  }
  detection = metrics.score_detection(gold, predicted)
  assert detection["correct"] == 2
  assert detection["f1"] == 50.0
  assert "per_type" not in detection


def test_scored_spans_and_repeated_predictions():
  scored = [ScoredSpan(*A, 0.9), ScoredSpan(*A, 0.2)]
  assert metrics.score([[A]], [scored])["f1"] == 100.0
  assert metrics.score([[A]], [scored])["predicted"] == 1


def test_a_type_that_is_only_predicted():
  assert list(metrics.score([[A]], [[A, B]])["per_type"]) == ["x", "y"]


def test_nothing_there():
  for result in (
    metrics.score([], []),
    metrics.score([[]], [[]]),
    metrics.score_labels([], []),
  ):
    assert result["f1"] == result["precision"] == result["recall"] == 0.0
    assert result["per_type"] == {}


def test_sides_must_be_the_same_sentences():
  with pytest.raises(ValueError, match="zip"):
    metrics.score([[A]], [[A], []])


def test_labels_of_gold_mentions():
  result = metrics.score_labels(["x", "x", "y", "y"], ["x", "y", None, ""])
  assert (result["gold"], result["predicted"], result["correct"]) == (4, 2, 1)
  assert (result["precision"], result["recall"]) == (50.0, 25.0)
  assert result["per_type"]["y"]["predicted"] == 1


@pytest.mark.parametrize(
  ("merge_repeats", "keep_empty", "sentences", "gold", "predicted", "correct"),
  [
    (False, True, 4, 4, 3, 2),
    (True, True, 3, 3, 2, 2),
    (False, False, 3, 3, 3, 2),
    (True, False, 2, 2, 2, 2),
  ],
)
def test_reference_protocol(
  merge_repeats, keep_empty, sentences, gold, predicted, correct
):
  result = metrics.reference_protocol(
    ["one", "two", "one", "three"],
    [[A], [A], [A], [B]],
    [[A], [], [C], [B]],
    merge_repeats=merge_repeats,
    keep_empty=keep_empty,
  )
  assert result["sentences"] == sentences
  assert result["gold"] == gold
  assert result["predicted"] == predicted
  assert result["correct"] == correct


def random_tags(rng: random.Random, length: int) -> list[str]:
  tags: list[str] = []
  while len(tags) < length:
    label = rng.choice("xyz")
    inside = [f"I-{label}"] * rng.randint(0, 2)
    tags += rng.choice([["O"], ["O", "O"], [f"B-{label}", *inside]])
  return tags[:length]


def test_agrees_with_seqeval():
  rng = random.Random(0)
  for _ in range(20):
    lengths = [rng.randint(1, 12) for _ in range(30)]
    gold = [random_tags(rng, length) for length in lengths]
    predicted = [
      row if rng.random() < 0.5 else random_tags(rng, len(row)) for row in gold
    ]
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")
      report = seqeval.classification_report(
        gold,
        predicted,
        mode="strict",
        scheme=IOB2,
        output_dict=True,
        zero_division=0,
      )
    ours = metrics.score(
      [tags_to_spans(row) for row in gold],
      [tags_to_spans(row) for row in predicted],
    )
    assert sorted(ours["per_type"]) == ["x", "y", "z"]
    rows = {"micro avg": ours, **ours["per_type"]}
    for name, row in rows.items():
      theirs = report[name]
      assert row["precision"] == pytest.approx(100 * theirs["precision"])
      assert row["recall"] == pytest.approx(100 * theirs["recall"])
      assert row["f1"] == pytest.approx(100 * theirs["f1-score"])
      assert row["gold"] == theirs["support"]
