"""The task that labels words, and the system of two tasks; made-up logits."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from splitner_jax import tasks
from splitner_jax.data.sentences import ScoredSpan, Sentence, Span
from splitner_jax.data.tags import LabelScheme
from splitner_jax.inputs.examples import Example, Examples
from splitner_jax.inputs.tokenizer import PairStyle, Tokenizer
from splitner_jax.runtime.errors import UserError
from splitner_jax.tasks import tokens
from splitner_jax.tasks.decoding import Decoding
from splitner_jax.tasks.systems import SYSTEMS
from tests import tiny, tiny_tasks
from tests.tiny_tasks import SENTENCE, TYPES, WORDS

_SCHEMES = ("BO", "BIO", "BIOE", "BIOES")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
  folder = tiny.make_backbone(tmp_path_factory.mktemp("bert"))
  return Tokenizer(str(folder), PairStyle(), max_length=160)


def _labels(task: tasks.TokenTask, example: Example) -> str:
  return " ".join(task.scheme.labels[i] for i in example.labels)


def _without_neighbours(
  scheme: str, sentences: Sequence[Sentence]
) -> list[Sentence]:
  """At most one mention in each, if the scheme has no border between two."""
  if scheme != "BO":
    return list(sentences)
  return [
    dataclasses.replace(s, spans=s.spans[:: len(s.spans) or 1])
    for s in sentences
  ]


def _places(rows) -> list[list[tuple[int, int]]]:
  return [[(s.start, s.end) for s in row] for row in rows]


def test_labels_on_first_subtokens(tokenizer: Tokenizer) -> None:
  task = tiny_tasks.detector(tokenizer, labels_on="first_subtoken")
  [example], lost = task.training_examples([SENTENCE])
  assert lost == 0
  assert tiny_tasks.text(tokenizer, example) == (
    "[CLS] what is ? [SEP] what a ##d ##a b ##o is x ##2 [SEP]"
  )
  assert example.texts[5:9] == ["what", "A", "d", "a"]
  assert example.types.tolist() == [0] * 5 + [1] * 10
  assert example.positions.tolist() == list(range(15))
  assert (example.sentence, example.first_word) == (0, 0)
  assert example.targets.tolist() == [5, 6, 9, 11, 12]
  # Labels run over words: a mention of two words is B E, of one word B.
  assert _labels(task, example) == "O B E O B"
  assert example.weights.tolist() == [1.0] * 5
  assert example.ranges is None


def test_labels_on_all_tokens(tokenizer: Tokenizer) -> None:
  task = tiny_tasks.detector(tokenizer, labels_on="all_tokens")
  [example], _ = task.training_examples([SENTENCE])
  # Over subwords; also the mention at the end of the sentence gets its E.
  assert _labels(task, example) == "O O O O O O B I I I E O B E O"
  assert example.weights.tolist() == [1.0] * 15
  assert example.targets.tolist() == list(range(15))


@pytest.mark.parametrize("labels_on", tokens.LABELS_ON)
def test_prediction_reads_first_subwords(
  tokenizer: Tokenizer, labels_on: str
) -> None:
  task = tiny_tasks.detector(tokenizer, labels_on=labels_on)
  asked: list[list[int]] = []

  def run(examples: Examples) -> np.ndarray:
    asked.extend(example.targets.tolist() for example in examples)
    return np.zeros((len(examples.targets), 4), np.float32)

  tiny_tasks.detect(task, run, [SENTENCE, Sentence(("Bo", "is"))])
  assert asked == [[5, 6, 9, 11, 12], [5, 7]]


@pytest.mark.parametrize(
  ("labels_on", "labels"),
  [("first_subtoken", "O B"), ("all_tokens", "O O O O O O O B O")],
)
def test_mention_of_one_subtoken(
  tokenizer: Tokenizer, labels_on: str, labels: str
) -> None:
  task = tiny_tasks.detector(tokenizer, labels_on=labels_on)
  sentence = Sentence(("Bo", "is"), (Span(1, 2, "person"),))
  [example], _ = task.training_examples([sentence])
  assert _labels(task, example) == labels


def test_without_a_question(tokenizer: Tokenizer) -> None:
  task = tiny_tasks.detector(tokenizer, question="")
  [example], _ = task.training_examples([SENTENCE])
  assert tiny_tasks.text(tokenizer, example) == (
    "[CLS] what a ##d ##a b ##o is x ##2 [SEP]"
  )
  assert not np.any(example.types)
  assert example.targets.tolist() == [1, 2, 5, 7, 8]


@pytest.mark.parametrize("labels_on", tokens.LABELS_ON)
def test_mentions_lost(tokenizer: Tokenizer, labels_on: str) -> None:
  task = tiny_tasks.detector(tokenizer, labels_on=labels_on)
  # 160 less question and special tokens: 154 subwords, 77 words.
  spans = [(0, 1), (75, 76), (76, 79), (80, 81), (99, 100)]
  long = Sentence(("ab",) * 100, tuple(Span(a, b, "person") for a, b in spans))
  short = Sentence(("ab",) * 77, (Span(75, 77, "person"),))
  examples, lost = task.training_examples([long, short])
  assert lost == 3
  assert examples.lengths.tolist() == [160, 160]
  first_subwords = 5 + 2 * np.arange(77)
  first, second = (
    e.labels[np.isin(e.targets, first_subwords)] for e in examples
  )
  # Of the mention across the edge nothing is left.
  assert np.flatnonzero(first).tolist() == [0, 75]
  assert np.flatnonzero(second).tolist() == [75, 76]
  # Who does not learn reads the rest too.
  assert task.encode([long, short])[1] == 0


@pytest.mark.parametrize("labels_on", tokens.LABELS_ON)
@pytest.mark.parametrize("scheme", _SCHEMES)
def test_oracle_gives_the_gold_mentions(
  tokenizer: Tokenizer, scheme: str, labels_on: str
) -> None:
  """In windows, where each window knows only the mentions that it holds."""
  task = tiny_tasks.detector(tokenizer, scheme=scheme, labels_on=labels_on)
  sentences = tiny_tasks.random_sentences(30, longest=150)
  sentences = _without_neighbours(scheme, sentences)
  seen: list[Examples] = []

  def run(examples: Examples) -> np.ndarray:
    seen.append(examples)
    return tiny_tasks.oracle(len(task.scheme.labels))(examples)

  predicted = tiny_tasks.detect(task, run, sentences)
  assert _places(predicted) == _places(s.spans for s in sentences)
  assert all(0.99 < s.score <= 1 and not s.label for r in predicted for s in r)
  [examples] = seen
  assert examples.lengths.max() <= tokenizer.max_length
  assert len(examples) > 2 * len(sentences)
  assert task.encode(sentences)[1] == 0
  scores = task.evaluate(run, sentences, Decoding())
  assert scores["f1"] == 100
  assert scores["gold"] == sum(len(s.spans) for s in sentences)
  assert all(row["recall"] == 100 for row in scores["per_type"].values())


@pytest.mark.parametrize("labels_on", tokens.LABELS_ON)
@pytest.mark.parametrize("scheme", _SCHEMES)
def test_what_is_learnt_gives_the_gold_mentions(
  tokenizer: Tokenizer, scheme: str, labels_on: str
) -> None:
  """Labels over subwords too, read at the first subwords alone."""
  task = tiny_tasks.detector(tokenizer, scheme=scheme, labels_on=labels_on)
  sentences = tiny_tasks.random_sentences(60, longest=20)
  sentences = _without_neighbours(scheme, sentences)
  learnt, lost = task.training_examples(sentences)
  assert (len(learnt), lost) == (60, 0)
  assert (len(learnt.targets) == len(learnt.ids)) == (labels_on == "all_tokens")
  known = np.zeros(len(learnt.ids), np.int32)
  known[learnt.target_tokens()] = learnt.labels

  def run(examples: Examples) -> np.ndarray:
    np.testing.assert_array_equal(examples.ids, learnt.ids)
    return (
      9.0 * np.eye(len(task.scheme.labels))[known[examples.target_tokens()]]
    )

  predicted = tiny_tasks.detect(task, run, sentences)
  assert _places(predicted) == _places(s.spans for s in sentences)


def test_oracle_of_a_tagger(tokenizer: Tokenizer) -> None:
  """A scheme with types, as a single-step system would have."""
  task = dataclasses.replace(
    tiny_tasks.detector(tokenizer, question=""),
    scheme=LabelScheme("BIOE", TYPES),
  )
  sentences = tiny_tasks.random_sentences(20, longest=150)
  run = tiny_tasks.oracle(len(task.scheme.labels))
  predicted = tiny_tasks.detect(task, run, sentences)
  assert [tuple(s.span for s in row) for row in predicted] == [
    s.spans for s in sentences
  ]
  per_type = task.evaluate(run, sentences, Decoding())["per_type"]
  assert [row["f1"] for row in per_type.values()] == [100, 100]


def _constant(words: Sequence[Sequence[float]]) -> tasks.ForwardFn:
  """A model with these logits for the words of every example."""
  return lambda examples: np.tile(np.array(words), (len(examples), 1))


def test_score_of_a_span(tokenizer: Tokenizer) -> None:
  task = tiny_tasks.detector(tokenizer)
  probabilities = np.array(
    [
      [0.7, 0.1, 0.1, 0.1],
      [0.1, 0.8, 0.0, 0.1],
      [0.2, 0.1, 0.4, 0.3],
      [0.2, 0.1, 0.1, 0.6],
      [0.1, 0.9, 0.0, 0.0],
    ]
  )
  run = _constant(np.log(probabilities + 1e-12) + 5.0)
  [spans] = tiny_tasks.detect(task, run, [Sentence(WORDS)])
  # The geometric mean of what was decoded: B I E, then B.
  assert [span.span for span in spans] == [Span(1, 4, ""), Span(4, 5, "")]
  assert spans[0].score == pytest.approx((0.8 * 0.4 * 0.6) ** (1 / 3))
  assert spans[1].score == pytest.approx(0.9)


def test_outside_bias(tokenizer: Tokenizer) -> None:
  task = tiny_tasks.detector(tokenizer)
  logits = np.array(
    [[1.0, 0.4, 0, 0], *[[3.0, 0, 0, 0]] * 3, [0, 0.5, 0, 0]], np.float32
  )
  expected = {0.0: [4], -0.5: [4], -0.7: [0, 4], 0.6: []}
  for outside_bias, starts in expected.items():
    kept = logits.copy()
    [spans] = tiny_tasks.detect(
      task, lambda _, kept=kept: kept, [Sentence(WORDS)], outside_bias
    )
    assert [span.start for span in spans] == starts
    assert all(0.25 < span.score < 1 for span in spans)
    # They are decoded with other biases too.
    np.testing.assert_array_equal(kept, logits)


def test_nothing_found_and_nothing_asked(tokenizer: Tokenizer) -> None:
  task = tiny_tasks.detector(tokenizer)
  run = _constant([[1.0, 0, 0, 0]] * 5)
  assert tiny_tasks.detect(task, run, [SENTENCE] * 2) == [[], []]
  scores = task.evaluate(run, [SENTENCE], Decoding())
  assert (scores["f1"], scores["gold"], scores["predicted"]) == (0, 2, 0)
  assert tiny_tasks.detect(task, run, []) == []
  # A sentence without words has nothing to answer.
  none = tiny_tasks.detect(
    task, lambda _: np.zeros((0, 4), np.float32), [Sentence(())]
  )
  assert none == [[]]


@pytest.mark.parametrize(
  "setting", ["features=all", "labels_on=words", "scheme=XYZ"]
)
def test_wrong_settings(tokenizer: Tokenizer, setting: str) -> None:
  field, value = setting.split("=")
  with pytest.raises(UserError, match=value) as caught:
    tiny_tasks.detector(tokenizer, **{field: value})
  assert str(caught.value).startswith(f"config.detector.{field}: ")
  assert "\n" not in str(caught.value)


def test_settings_reach_the_task(tokenizer: Tokenizer) -> None:
  task = tiny_tasks.detector(tokenizer, features="pattern", scheme="BIO")
  assert task.features == task.model.features == ("pattern",)
  assert task.model.num_labels == 3
  classifier = tiny_tasks.classifier(tokenizer)
  assert classifier.model.num_labels == 2


def test_too_short_for_two_words(tokenizer: Tokenizer) -> None:
  # A question of one word that has 34 subwords.
  with pytest.raises(UserError, match=r"160 is too short.* at least 165"):
    tiny_tasks.detector(tokenizer, question="x" * 34)
  tiny_tasks.detector(tokenizer, question="x" * 29)
  # The classifier's has room for both too, whatever it asks about.
  with pytest.raises(UserError, match=r"160 is too short.* at least 161"):
    tiny_tasks.classifier(tokenizer, question=f"is {{mention}} {'x' * 28}")
  tiny_tasks.classifier(tokenizer, question=f"is {{mention}} {'x' * 27}")


def test_system(tokenizer: Tokenizer) -> None:
  detector = tiny_tasks.detector(tokenizer)
  classifier = tiny_tasks.classifier(tokenizer)
  sentences = [
    Sentence(("is",)),
    *tiny_tasks.random_sentences(20, longest=100),
  ]
  types = np.array(
    [TYPES.index(span.label) for s in sentences for span in s.spans], int
  )

  def run_classifier(examples: Examples) -> np.ndarray:
    # The gold types, since the mentions that it is asked about are gold.
    return np.log(0.1 + 0.8 * np.eye(2)[types[examples.asked]])

  def run_detector(examples: Examples) -> np.ndarray:
    # 0.7 for the label, 0.1 for each of the others.
    return np.log(0.1 + 0.6 * np.eye(4)[examples.labels])

  def predict(sentences: list[Sentence]) -> list[list[ScoredSpan]]:
    return tiny_tasks.predict(
      SYSTEMS["splitner"],
      {"detector": detector, "classifier": classifier},
      {"detector": run_detector, "classifier": run_classifier},
      sentences,
    ).mentions

  predicted = predict(sentences)
  assert predicted[0] == []
  assert [tuple(s.span for s in row) for row in predicted] == [
    s.spans for s in sentences
  ]
  scores = [s.score for row in predicted for s in row]
  assert scores == pytest.approx([0.7 * 0.9] * len(scores))
  assert predict([]) == []
  # No mention anywhere.
  assert predict([Sentence(("is",))] * 2) == [[], []]
