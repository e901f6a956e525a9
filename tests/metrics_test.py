"""Mention-level scores: by hand, and against seqeval."""

import random
import warnings

import numpy as np
import pytest
from seqeval import metrics as seqeval
from seqeval.scheme import IOB2

from splitner_jax.data.sentences import ScoredSpan, Span
from splitner_jax.data.tags import tags_to_spans
from splitner_jax.evaluation import metrics

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
  for compare in (
    metrics.score,
    metrics.recall_per_type,
    metrics.counts_per_sentence,
    metrics.score_labels,
  ):
    with pytest.raises(ValueError, match="zip"):
      compare([[A]], [[A], []])
  for texts, gold, predicted in ((1, 2, 2), (2, 1, 2), (2, 2, 1)):
    with pytest.raises(ValueError, match="zip"):
      metrics.reference_protocol(
        list("ab")[:texts],
        [[A], [B]][:gold],
        [[A], [B]][:predicted],
        merge_repeats=False,
      )


def test_recall_of_each_type():
  """A mention counts as found whatever its type was said to be."""
  gold = [[A, B], [A, C], []]
  predicted = [[A._replace(label="y"), Span(2, 3, "y")], [C], [B]]
  assert metrics.recall_per_type(gold, predicted) == {
    "x": {"recall": pytest.approx(200 / 3), "gold": 3, "correct": 2},
    "y": {"recall": 0.0, "gold": 1, "correct": 0},
  }
  assert list(metrics.recall_per_type([[B, A]], [[]])) == ["x", "y"]


def test_labels_of_gold_mentions():
  result = metrics.score_labels(["x", "x", "y", "y"], ["x", "y", None, ""])
  assert (result["gold"], result["predicted"], result["correct"]) == (4, 2, 1)
  assert (result["precision"], result["recall"]) == (50.0, 25.0)
  assert result["per_type"]["y"]["predicted"] == 1


def test_labels_of_spans_that_are_no_mentions():
  result = metrics.score_labels(["x", "x", "", ""], ["x", "", "", "x"])
  assert (result["gold"], result["predicted"], result["correct"]) == (2, 2, 1)
  assert list(result["per_type"]) == ["x"]


@pytest.mark.parametrize(
  ("merge_repeats", "empty", "sentences", "gold", "predicted", "correct"),
  [
    (False, [], 4, 4, 3, 2),
    (True, [], 3, 3, 2, 2),
    (False, None, 3, 3, 3, 2),
    (True, None, 2, 2, 2, 2),
  ],
)
def test_reference_protocol(
  merge_repeats, empty, sentences, gold, predicted, correct
):
  result = metrics.reference_protocol(
    ["one", "two", "one", "three"],
    [[A], [A], [A], [B]],
    [[A], empty, [C], [B]],
    merge_repeats=merge_repeats,
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


def test_counts_per_sentence_add_up_to_the_score():
  gold = [[A, B], [], [A, C], [B]]
  predicted = [[A, ScoredSpan(*A, 0.5), B._replace(label="x")], [C], [C], []]
  counts = metrics.counts_per_sentence(gold, predicted)
  assert counts.tolist() == [[2, 0, 2, 1], [2, 1, 1, 0], [1, 0, 1, 0]]
  result = metrics.score(gold, predicted)
  sums = [result[name] for name in ("gold", "predicted", "correct")]
  assert counts.sum(axis=1).tolist() == sums
  assert metrics.counts_per_sentence([], []).shape == (3, 0)


def random_counts(sentences: int, right: float) -> np.ndarray:
  """Two mentions to find in each sentence, of which some are right."""
  rng = np.random.default_rng(1)
  correct = rng.binomial(2, right, sentences)
  return np.stack([np.full(sentences, 2), correct + 1, correct])


def test_bootstrap_interval_is_that_of_drawn_sentences():
  counts = random_counts(200, 0.6)
  rng = np.random.default_rng(2)
  drawn = []
  for _ in range(4000):
    gold, predicted, correct = counts[:, rng.integers(200, size=200)].sum(1)
    drawn.append(200 * correct / (gold + predicted))
  wanted = np.percentile(drawn, [2.5, 97.5])
  low, high = metrics.bootstrap_interval(counts, samples=4000)
  assert (low, high) == pytest.approx(tuple(wanted), abs=0.4)
  assert high - low > 5
  again = metrics.bootstrap_interval(counts, samples=4000)
  other = metrics.bootstrap_interval(counts, samples=4000, seed=1)
  assert (low, high) == again != other


def test_bootstrap_in_blocks_is_the_same(monkeypatch):
  counts = random_counts(50, 0.6)
  whole = metrics.bootstrap_interval(counts)
  # 3 columns are distinct: blocks of 2 samples, and a last one of 1.
  monkeypatch.setattr(metrics, "_BLOCK", 7)
  assert metrics.bootstrap_interval(counts) == whole


def test_bootstrap_of_nothing():
  for counts in (np.zeros((3, 0), int), np.zeros((3, 4), int)):
    assert metrics.bootstrap_interval(counts) == (0.0, 0.0)
    found = metrics.paired_bootstrap(counts, counts, samples=10)
    assert found["difference"] == 0.0
    assert found["p_value"] == 1.0


def test_paired_bootstrap_draws_the_same_sentences():
  a = random_counts(300, 0.6)
  # One sentence in twenty is better: far less than the spread of either F1, and
  # yet without a doubt.
  b = a.copy()
  b[2, ::20] = np.minimum(b[2, ::20] + 1, 2)
  b[1, ::20] = np.maximum(b[1, ::20], b[2, ::20])
  found = metrics.paired_bootstrap(a, b, samples=2000)
  assert 0 < found["difference"] < 4
  low, high = metrics.bootstrap_interval(a)
  assert low < found["f1_b"] < high
  assert 0 < found["interval"][0] < found["difference"] < found["interval"][1]
  assert found["p_value"] == 1 / 2000
  mirrored = metrics.paired_bootstrap(b, a, samples=2000)
  assert mirrored["difference"] == -found["difference"]
  assert mirrored["interval"][0] == pytest.approx(-found["interval"][1])
  assert mirrored["p_value"] == 1 / 2000


def test_p_value_is_two_sided():
  # B wins two sentences of three, A one: B is ahead in a draw of three when
  # two or three of them are winners: 20 of 27 times.
  a = np.array([[1, 1, 1], [1, 1, 1], [0, 0, 1]])
  b = np.array([[1, 1, 1], [1, 1, 1], [1, 1, 0]])
  found = metrics.paired_bootstrap(a, b)
  assert found["f1_a"] == pytest.approx(100 / 3)
  assert found["f1_b"] == pytest.approx(200 / 3)
  assert found["p_value"] == pytest.approx(2 * 7 / 27, abs=0.02)


def test_ties_speak_against_a_difference():
  # A draw of two has the better sentence 3 of 4 times, else it is a tie.
  a = np.array([[1, 1], [1, 1], [0, 0]])
  b = np.array([[1, 1], [1, 1], [0, 1]])
  p = metrics.paired_bootstrap(a, b)["p_value"]
  assert p == pytest.approx(2 * 1 / 4, abs=0.03)
  assert metrics.paired_bootstrap(a, a)["p_value"] == 1.0


def test_paired_sides_must_be_the_same_sentences():
  with pytest.raises(ValueError, match="other sentences"):
    metrics.paired_bootstrap(random_counts(2, 0.5), random_counts(3, 0.5))
