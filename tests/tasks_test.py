"""Tasks and the system made of them, with made-up logits."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import common
from splitner_jax import losses, tasks
from splitner_jax.inputs.tokenizer import Example, Tokenizer
from splitner_jax.data.sentences import ScoredSpan, Sentence, Span
from splitner_jax.data.tags import LabelScheme
from splitner_jax.errors import UserError
from splitner_jax.models.bert import EncoderConfig
from splitner_jax.systems import SplitNER
from splitner_jax.tasks import tokens
from tests import tiny

# No model is run here.
_ENCODER = EncoderConfig(99, 16, 1, 2, 32, 512, 2)
_TYPES = ("location", "person")
# Of the tiny tokenizer: "what" and "is" are one sub-token, other words have
# one for each letter.
_WORDS = ("what", "Ada", "Bo", "is", "x2")
_SENTENCE = Sentence(_WORDS, (Span(1, 3, "person"), Span(4, 5, "location")))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
  folder = tiny.make_backbone(tmp_path_factory.mktemp("bert"))
  return Tokenizer(str(folder), is_roberta=False, max_length=160)


def _detector(tokenizer: Tokenizer, **fields: Any) -> tasks.TokenTask:
  settings: ConfigDict = common.get_config().detector
  settings.update(question="what is ?", **fields)
  return tasks.span_detection(settings, _ENCODER, tokenizer)


def _classifier(tokenizer: Tokenizer, **fields: Any) -> tasks.MentionTask:
  settings: ConfigDict = common.get_config().classifier
  settings.update(**fields)
  return tasks.span_classification(settings, _ENCODER, tokenizer, _TYPES)


def _random_sentences(count: int, longest: int) -> list[Sentence]:
  """Words of one to seven sub-tokens, mentions of one to four words."""
  rng = np.random.default_rng(count)
  sentences = []
  for _ in range(count):
    words = [
      "".join(rng.choice(list("abXY12"), rng.integers(1, 8)))
      for _ in range(rng.integers(1, longest))
    ]
    spans, end = [], 0
    while True:
      start = end + int(rng.integers(0, 6))
      end = start + int(rng.integers(1, 5))
      if end > len(words):
        break
      spans.append(Span(start, end, str(rng.choice(_TYPES))))
    sentences.append(Sentence(tuple(words), tuple(spans)))
  return sentences


def _texts(tokenizer: Tokenizer, example: Example) -> str:
  tokens = tokenizer.fast.convert_ids_to_tokens(example.ids.tolist())
  return " ".join(tokens)


def _from_labels(classes: int):
  """A model that says what the examples' labels say."""
  return lambda examples: [9.0 * np.eye(classes)[e.labels] for e in examples]


def _labels(task: tasks.TokenTask, example: Example) -> str:
  return " ".join(task.scheme.labels[i] for i in example.labels)


def test_labels_on_first_subtokens(tokenizer: Tokenizer) -> None:
  task = _detector(tokenizer, labels_on="first_subtoken")
  [example], lost = task.training_examples([_SENTENCE])
  assert lost == 0
  assert _texts(tokenizer, example) == (
    "[CLS] what is ? [SEP] what a ##d ##a b ##o is x ##2 [SEP]"
  )
  assert example.texts[5:9] == ["what", "A", "d", "a"]
  assert example.types.tolist() == [0] * 5 + [1] * 10
  assert (example.sentence, example.first_word) == (0, 0)
  assert example.positions.tolist() == [5, 6, 9, 11, 12]
  # Labels run over words: a mention of two words is B E, of one word B.
  assert _labels(task, example) == "O O O O O O B O O E O O B O O"
  assert np.flatnonzero(example.weights).tolist() == [5, 6, 9, 11, 12]
  assert set(example.weights.tolist()) == {0.0, 1.0}


def test_labels_on_all_tokens(tokenizer: Tokenizer) -> None:
  task = _detector(tokenizer, labels_on="all_tokens")
  [example], _ = task.training_examples([_SENTENCE])
  # Over sub-tokens; also the mention at the end of the sentence gets its E.
  assert _labels(task, example) == "O O O O O O B I I I E O B E O"
  assert example.weights.tolist() == [1.0] * 15
  assert example.positions.tolist() == [5, 6, 9, 11, 12]


@pytest.mark.parametrize("labels_on", tokens.LABELS_ON)
def test_mention_of_one_subtoken(tokenizer: Tokenizer, labels_on: str) -> None:
  task = _detector(tokenizer, labels_on=labels_on)
  sentence = Sentence(("Bo", "is"), (Span(1, 2, "person"),))
  [example], _ = task.training_examples([sentence])
  assert _labels(task, example) == "O O O O O O O B O"


def test_without_a_question(tokenizer: Tokenizer) -> None:
  task = dataclasses.replace(_detector(tokenizer), question=())
  [example], _ = task.training_examples([_SENTENCE])
  assert _texts(tokenizer, example) == (
    "[CLS] what a ##d ##a b ##o is x ##2 [SEP]"
  )
  assert not np.any(example.types)
  assert example.positions.tolist() == [1, 2, 5, 7, 8]


@pytest.mark.parametrize("labels_on", tokens.LABELS_ON)
def test_mentions_lost(tokenizer: Tokenizer, labels_on: str) -> None:
  task = _detector(tokenizer, labels_on=labels_on)
  # 160 less question and special tokens: 154 sub-tokens, 77 words.
  spans = [(0, 1), (75, 76), (76, 79), (80, 81), (99, 100)]
  long = Sentence(("ab",) * 100, tuple(Span(a, b, "person") for a, b in spans))
  short = Sentence(("ab",) * 77, (Span(75, 77, "person"),))
  examples, lost = task.training_examples([long, short])
  assert lost == 3
  assert [len(e) for e in examples] == [160, 160]
  assert [len(e.positions) for e in examples] == [77, 77]
  first, second = (e.labels[e.positions].tolist() for e in examples)
  # Of the mention across the edge nothing is left.
  assert np.flatnonzero(first).tolist() == [0, 75]
  assert np.flatnonzero(second).tolist() == [75, 76]
  assert task.lost_to_length([long, short]) == 0


@pytest.mark.parametrize("labels_on", tokens.LABELS_ON)
@pytest.mark.parametrize("scheme", ["BO", "BIO", "BIOE", "BIOES"])
def test_oracle_gives_the_gold_mentions(
  tokenizer: Tokenizer, scheme: str, labels_on: str
) -> None:
  """In windows, where each window knows only the mentions that it holds."""
  task = _detector(tokenizer, scheme=scheme, labels_on=labels_on)
  sentences = _random_sentences(30, longest=150)
  if scheme == "BO":  # It has no border between neighbours.
    sentences = [
      dataclasses.replace(s, spans=s.spans[:: len(s.spans) or 1])
      for s in sentences
    ]
  seen: list[Example] = []

  def run(examples: Sequence[Example]) -> list[np.ndarray]:
    seen.extend(examples)
    return _from_labels(len(task.scheme.labels))(examples)

  predicted = task.predict(run, sentences)
  assert [[(s.start, s.end) for s in row] for row in predicted] == [
    [(s.start, s.end) for s in sentence.spans] for sentence in sentences
  ]
  assert all(0.99 < s.score <= 1 and not s.label for r in predicted for s in r)
  assert max(len(e) for e in seen) <= tokenizer.max_length
  assert len(seen) > 2 * len(sentences)
  assert task.lost_to_length(sentences) == 0
  scores = task.evaluate(run, sentences)
  assert scores["f1"] == 100
  assert scores["gold"] == sum(len(s.spans) for s in sentences)
  assert all(row["recall"] == 100 for row in scores["per_type"].values())


def test_oracle_of_a_tagger(tokenizer: Tokenizer) -> None:
  """A scheme with types, as a single-step system would have."""
  task = dataclasses.replace(
    _detector(tokenizer), scheme=LabelScheme("BIOE", _TYPES), question=()
  )
  sentences = _random_sentences(20, longest=150)
  run = _from_labels(len(task.scheme.labels))
  predicted = task.predict(run, sentences)
  assert [tuple(s.span for s in row) for row in predicted] == [
    s.spans for s in sentences
  ]
  per_type = task.evaluate(run, sentences)["per_type"]
  assert [row["f1"] for row in per_type.values()] == [100, 100]


def _constant(first_subtokens: Sequence[Sequence[float]]):
  """A model with these logits for the words of every example."""

  def run(examples: Sequence[Example]) -> list[np.ndarray]:
    results = []
    for example in examples:
      # What the other tokens say is not asked for.
      logits = np.tile([0.0, 99.0, 0.0, 0.0], (len(example), 1))
      logits[example.positions] = first_subtokens
      results.append(logits)
    return results

  return run


def test_score_of_a_span(tokenizer: Tokenizer) -> None:
  task = _detector(tokenizer)
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
  [spans] = task.predict(run, [Sentence(_WORDS)])
  # The geometric mean of what was decoded: B I E, then B.
  assert [span.span for span in spans] == [Span(1, 4, ""), Span(4, 5, "")]
  assert spans[0].score == pytest.approx((0.8 * 0.4 * 0.6) ** (1 / 3))
  assert spans[1].score == pytest.approx(0.9)


def test_bias_of_o(tokenizer: Tokenizer) -> None:
  run = _constant([[1.0, 0.4, 0, 0], *[[3.0, 0, 0, 0]] * 3, [0, 0.5, 0, 0]])
  expected = {0.0: [4], -0.5: [4], -0.7: [0, 4], 0.6: []}
  for o_bias, starts in expected.items():
    task = _detector(tokenizer, o_bias=o_bias)
    for _ in range(2):  # The logits stay as they are.
      [spans] = task.predict(run, [Sentence(_WORDS)])
      assert [span.start for span in spans] == starts
      assert all(0.25 < span.score < 1 for span in spans)


def test_nothing_found_and_nothing_asked(tokenizer: Tokenizer) -> None:
  task = _detector(tokenizer)
  run = _constant([[1.0, 0, 0, 0]] * 5)
  assert task.predict(run, [_SENTENCE] * 2) == [[], []]
  scores = task.evaluate(run, [_SENTENCE])
  assert (scores["f1"], scores["gold"], scores["predicted"]) == (0, 2, 0)
  assert task.predict(run, []) == []


@pytest.mark.parametrize(
  "setting", ["features=all", "labels_on=words", "loss=hinge", "scheme=XYZ"]
)
def test_wrong_settings(tokenizer: Tokenizer, setting: str) -> None:
  field, value = setting.split("=")
  with pytest.raises(UserError, match=value) as caught:
    _detector(tokenizer, **{field: value})
  assert str(caught.value).startswith(f"config.detector.{field}: ")
  assert "\n" not in str(caught.value)


def test_settings_reach_the_task(tokenizer: Tokenizer) -> None:
  task = _detector(tokenizer, features="pattern", loss="dice", scheme="BIO")
  assert task.features == task.model.features == ("pattern",)
  assert task.model.num_labels == 3
  assert task.loss is losses.LOSSES["dice"]
  classifier = _classifier(tokenizer, loss="cross_entropy")
  assert classifier.model.num_labels == 2
  assert classifier.loss is losses.LOSSES["cross_entropy"]


def test_too_short_for_two_words(tokenizer: Tokenizer) -> None:
  # A question of one word that has 34 sub-tokens.
  settings = common.get_config().detector
  settings.question = "x" * 34
  with pytest.raises(UserError, match=r"160 is too short.* at least 165"):
    tasks.span_detection(settings, _ENCODER, tokenizer)
  settings.question = "x" * 29
  tasks.span_detection(settings, _ENCODER, tokenizer)
  short = Tokenizer(tokenizer.fast.name_or_path, False, max_length=131)
  with pytest.raises(UserError, match=r"131 is too short.* at least 132"):
    _classifier(short)


def test_examples_of_the_classifier(tokenizer: Tokenizer) -> None:
  task = _classifier(tokenizer)
  unknown = Sentence(("is", "Bo"), (Span(1, 2, "thing"),))
  examples, lost = task.training_examples(
    [_SENTENCE, Sentence(("is",)), unknown]
  )
  assert lost == 0
  sentence = "[CLS] what a ##d ##a b ##o is x ##2 [SEP]"
  assert [_texts(tokenizer, e) for e in examples] == [
    f"{sentence} what is a ##d ##a b ##o ? [SEP]",
    f"{sentence} what is x ##2 ? [SEP]",
    "[CLS] is b ##o [SEP] what is b ##o ? [SEP]",
  ]
  assert examples[0].texts[11:14] == ["What", "is", "A"]
  assert examples[0].types.tolist() == [0] * 11 + [1] * 9
  assert [e.sentence for e in examples] == [0, 0, 2]
  assert [(e.labels.tolist(), e.weights.tolist()) for e in examples] == [
    (1, 1.0),
    (0, 1.0),
    # A type that the model does not have teaches it nothing.
    (0, 0.0),
  ]
  assert all(e.labels.shape == e.weights.shape == () for e in examples)


def test_context_of_the_classifier(tokenizer: Tokenizer) -> None:
  task = _classifier(tokenizer, context=10)
  words = tuple("abcdefghijklmnopqrstuvwxyz")
  for start, context in ((12, "hijklmnopq"), (0, "abcdefghij")):
    sentence = Sentence(words, (Span(start, start + 1, "person"),))
    [example], _ = task.training_examples([sentence])
    assert _texts(tokenizer, example) == (
      f"[CLS] {' '.join(context)} [SEP] what is {words[start]} ? [SEP]"
    )


def test_classifier_inputs_are_never_too_long(tokenizer: Tokenizer) -> None:
  rng = np.random.default_rng(0)
  for context in (1, 40, 128, 400):
    task = _classifier(tokenizer, context=context)
    for _ in range(15):
      words = ["x" * int(n) for n in rng.integers(1, 90, 30)]
      start = int(rng.integers(0, 30))
      end = int(rng.integers(start, 30)) + 1
      sentence = Sentence(tuple(words), (Span(start, end, "person"),))
      [example], _ = task.training_examples([sentence])
      assert len(example) <= tokenizer.max_length
      assert _texts(tokenizer, example).count("[SEP] what is x") == 1
      # The context has a part of the mention, at least.
      assert example.first_word < end
      assert (example.types == 0).sum() > 2


def test_answers_of_the_classifier(tokenizer: Tokenizer) -> None:
  task = _classifier(tokenizer)
  given = {0: [0.2, 0.8], 2: [0.6, 0.4]}
  asked: list[str] = []

  def run(examples: Sequence[Example]) -> list[np.ndarray]:
    asked.extend(_texts(tokenizer, e).split("what is ")[-1] for e in examples)
    return [np.log(given[e.sentence]) for e in examples]

  mentions = [
    [ScoredSpan(4, 5, "", 0.5), ScoredSpan(0, 1, "", 0.5)],
    [],
    [Span(1, 2, "person")],
  ]
  answers = task.predict(run, [_SENTENCE] * 3, mentions)
  assert asked == ["x ##2 ? [SEP]", "what ? [SEP]", "a ##d ##a ? [SEP]"]
  assert [[label for label, _ in row] for row in answers] == [
    ["person", "person"],
    [],
    ["location"],
  ]
  scores = [score for row in answers for _, score in row]
  assert scores == pytest.approx([0.8, 0.8, 0.6])
  assert task.predict(run, [_SENTENCE], [[]]) == [[]]
  assert task.predict(run, [], []) == []


def test_evaluation_of_the_classifier(tokenizer: Tokenizer) -> None:
  task = _classifier(tokenizer)
  sentences = _random_sentences(10, longest=30)
  oracle = task.evaluate(_from_labels(2), sentences)
  assert oracle["f1"] == 100
  scores = task.evaluate(
    lambda examples: [np.array([0.0, 1.0])] * len(examples), sentences
  )
  labels = [span.label for s in sentences for span in s.spans]
  share = 100 * labels.count("person") / len(labels)
  assert scores["f1"] == pytest.approx(share)
  assert 0 < share < 100


def test_system(tokenizer: Tokenizer) -> None:
  detector, classifier = _detector(tokenizer), _classifier(tokenizer)
  sentences = [Sentence(("is",)), *_random_sentences(20, longest=100)]

  types = [_TYPES.index(span.label) for s in sentences for span in s.spans]

  def run_classifier(examples: Sequence[Example]) -> list[np.ndarray]:
    # The gold types, since the mentions that it is asked about are gold.
    return [
      np.log(0.1 + 0.8 * np.eye(2)[types[i]]) for i in range(len(examples))
    ]

  def run_detector(examples: Sequence[Example]) -> list[np.ndarray]:
    # 0.7 for the label, 0.1 for each of the others.
    return [np.log(0.1 + 0.6 * np.eye(4)[e.labels]) for e in examples]

  system = SplitNER(detector, classifier, run_detector, run_classifier)
  predicted = system.predict(sentences)
  assert predicted[0] == []
  assert [tuple(s.span for s in row) for row in predicted] == [
    s.spans for s in sentences
  ]
  scores = [s.score for row in predicted for s in row]
  assert scores == pytest.approx([0.7 * 0.9] * len(scores))
  assert system.predict([]) == []
  # No mention anywhere.
  assert system.predict([Sentence(("is",))] * 2) == [[], []]


def test_the_mention_is_marked_in_the_question(tokenizer: Tokenizer) -> None:
  task = _classifier(tokenizer, pooling="mention")
  assert task.features == ("mention",)
  assert task.model.pooling == "mention"
  examples, _ = task.training_examples([_SENTENCE])
  assert [
    [_texts(tokenizer, e).split()[p] for p in e.positions] for e in examples
  ] == [["a", "##d", "##a", "b", "##o"], ["x", "##2"]]
  assert examples[0].positions[0] > len(
    _texts(tokenizer, examples[0]).split("[SEP]")[0].split()
  )
  # A mention longer than the input is marked as far as it is read.
  long = Sentence(("abcde",) * 40, (Span(0, 40, "person"),))
  [example], _ = task.training_examples([long])
  assert len(example) <= 160
  assert example.positions[-1] == len(example) - 2
