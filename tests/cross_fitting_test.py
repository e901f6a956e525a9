"""False spans, and a classifier that learns from them; made-up logits."""

from collections.abc import Sequence

import numpy as np
import pytest

from splitner_jax import tasks
from splitner_jax.data.sentences import Sentence, Span
from splitner_jax.evaluation.thresholds import Thresholds
from splitner_jax.inputs.examples import Examples
from splitner_jax.inputs.tokenizer import PairStyle, Tokenizer
from splitner_jax.tasks.decoding import Decoding
from splitner_jax.tasks.systems import SYSTEMS, Prediction
from splitner_jax.training import cross_fitting
from tests import tiny, tiny_tasks

_SENTENCES = [
  Sentence(
    ("what", "Ada", "Bo", "is", "x2"),
    (Span(1, 3, "person"), Span(4, 5, "location")),
  ),
  Sentence(("is", "what")),
  Sentence(("Bo",), (Span(0, 1, "location"),)),
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
  folder = tiny.make_backbone(tmp_path_factory.mktemp("bert"))
  return Tokenizer(str(folder), PairStyle(), max_length=160)


@pytest.fixture(scope="module")
def detector(tokenizer: Tokenizer) -> tasks.TokenTask:
  return tiny_tasks.detector(tokenizer, question="")


def _always(places: Sequence[int]) -> tasks.ForwardFn:
  """A detector that finds the words at these places, the later the surer."""

  def run(examples: Examples) -> np.ndarray:
    logits = np.zeros((len(examples.targets), 4))
    logits[:, 0] = 4.0
    for first, count in zip(
      examples.target_offsets, examples.target_counts, strict=False
    ):
      for k, place in enumerate(places):
        if place < count:
          logits[first + place, 1] = 3.5 + k
    return logits

  return run


def test_false_spans_are_what_is_found_wrongly(detector):
  [first, second, third] = cross_fitting.with_false_spans(
    detector, _always([0, 1]), _SENTENCES, 0.0
  )
  # Word 1 at once, word 0 once O is made less likely; the gold stays.
  assert set(first.spans) == {
    *_SENTENCES[0].spans, Span(0, 1, ""), Span(1, 2, ""),
  }  # fmt: skip
  assert set(second.spans) == {Span(0, 1, ""), Span(1, 2, "")}
  assert third.spans == _SENTENCES[2].spans  # Found rightly.


def test_no_detector_sees_the_sentences_of_its_fold(detector):
  sentences = [
    Sentence((f"a{i}", "is"), (Span(0, 1, "person"),)) for i in range(30)
  ]
  sentences.append(sentences[0])  # Equal texts stay together.
  outside: list[set[str]] = []

  def train_detector(rows, fold):
    assert fold == len(outside)
    outside.append({row.text for row in rows})
    return _always([1] if fold else [])

  result = cross_fitting.cross_fitted(
    sentences, 3, detector, train_detector, 0.0
  )
  assert len(outside) == 3
  assert [s.text for s in result] == [s.text for s in sentences]
  # Each sentence is outside of all folds but its own.
  for sentence in sentences:
    assert sum(sentence.text in texts for texts in outside) == 2
  # The detector of the first fold finds nothing.
  for sentence in result:
    wrong = [span for span in sentence.spans if span.label == ""]
    assert len(wrong) == (sentence.text in outside[0])


@pytest.mark.parametrize("folds", [2, 3, 5])
@pytest.mark.parametrize("seed", range(10))
def test_folds_are_of_one_size(folds, seed, monkeypatch):
  """Also of few sentences, and of some that are frequent."""

  def as_they_are(detector, forward, rows, outside_bias, *, counted):
    return rows

  monkeypatch.setattr(cross_fitting, "with_false_spans", as_they_are)
  for count in (folds, folds + 1, 12, 101):
    rows = [Sentence((f"s{seed}", f"w{i}")) for i in range(count)]
    rows += rows[:1] * 2 if count > 6 else []
    sizes = []

    def train_detector(outside, fold, rows=rows, sizes=sizes):
      sizes.append(len(rows) - len(outside))
      return _always([])

    assert rows == cross_fitting.cross_fitted(
      rows, folds, None, train_detector, 0.0
    )
    assert len(sizes) == folds
    assert max(sizes) - min(sizes) <= 1


def test_a_rejected_span_is_no_mention(tokenizer, detector):
  classifier = tiny_tasks.classifier(tokenizer, none_class=True)
  assert classifier.model.num_labels == 3
  false = Sentence(("is", "what"), (Span(0, 1, ""),))
  [example], _ = classifier.training_examples([false])
  assert example.labels.tolist() == [2]
  assert example.weights.tolist() == [1]

  def run(examples: Examples) -> np.ndarray:
    """Rejects the word x2."""
    texts = tiny_tasks.questions(tokenizer, examples)
    return 9.0 * np.eye(3)[[2 if "##2 ? [SEP]" in t else 1 for t in texts]]

  def predict(least: float) -> Prediction:
    return tiny_tasks.predict(
      SYSTEMS["splitner"],
      {"detector": detector, "classifier": classifier},
      {"detector": tiny_tasks.oracle(4), "classifier": run},
      _SENTENCES,
      Decoding(thresholds=Thresholds(least)),
    )

  assert [[s[:3] for s in row] for row in predict(0.0).mentions] == [
    [(1, 3, "person")],
    [],
    [(0, 1, "person")],
  ]
  # The paper's code scores a sentence with a span, whatever became of it.
  assert predict(1.1).by_reference == [[], None, []]
  # A gold mention that is rejected is missed, not false.
  scores = classifier.evaluate(run, _SENTENCES, Decoding())
  assert (scores["gold"], scores["predicted"], scores["correct"]) == (3, 2, 1)
