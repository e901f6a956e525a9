"""The task that names the type of a mention, with made-up logits."""

import numpy as np
import pytest

from configs import common
from splitner_jax.data.sentences import ScoredSpan, Sentence, Span
from splitner_jax.experiment.settings import task_settings
from splitner_jax.inputs.examples import Examples
from splitner_jax.inputs.tokenizer import PairStyle, Tokenizer
from splitner_jax.tasks.decoding import Decoding
from splitner_jax.training import loop
from tests import tiny, tiny_tasks
from tests.tiny_tasks import SENTENCE, WORDS


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
  folder = tiny.make_backbone(tmp_path_factory.mktemp("bert"))
  return Tokenizer(str(folder), PairStyle(), max_length=160)


def test_an_example_for_each_mention(tokenizer: Tokenizer) -> None:
  """As in the paper; what shares a context is in mention_examples_test."""
  task = tiny_tasks.classifier(tokenizer, context="own")
  unknown = Sentence(("is", "Bo"), (Span(1, 2, "thing"),))
  examples, lost = task.training_examples(
    [SENTENCE, Sentence(("is",)), unknown]
  )
  assert lost == 0
  sentence = "[CLS] what a ##d ##a b ##o is x ##2 [SEP]"
  assert [tiny_tasks.text(tokenizer, e) for e in examples] == [
    f"{sentence} what is a ##d ##a b ##o ? [SEP]",
    f"{sentence} what is x ##2 ? [SEP]",
    "[CLS] is b ##o [SEP] what is b ##o ? [SEP]",
  ]
  assert examples[0].texts[11:14] == ["What", "is", "A"]
  assert examples[0].types.tolist() == [0] * 11 + [1] * 9
  assert examples[0].positions.tolist() == list(range(20))
  assert examples.sentences.tolist() == [0, 0, 2]
  # Each has one target, its first token.
  assert examples.target_counts.tolist() == [1, 1, 1]
  assert examples.targets.tolist() == [0, 0, 0]
  assert examples.labels.tolist() == [1, 0, 0]
  # A type that the model does not have teaches it nothing.
  assert examples.weights.tolist() == [1.0, 1.0, 0.0]
  assert examples.ranges is None


def test_two_separators_of_roberta(
  tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
  pairs = PairStyle(separators=2, second_type=0)
  monkeypatch.setattr(tokenizer, "pairs", pairs)
  task = tiny_tasks.classifier(tokenizer, context="own", pooling="mention")
  examples, _ = task.training_examples([SENTENCE])
  text = tiny_tasks.text(tokenizer, examples[1])
  assert text.endswith("##2 [SEP] [SEP] what is x ##2 ? [SEP]")
  assert not examples.types.any()
  start, end = examples.ranges[1]
  assert text.split()[start:end] == ["x", "##2"]


def test_context(tokenizer: Tokenizer) -> None:
  task = tiny_tasks.classifier(tokenizer, context="own", max_context=10)
  words = tuple("abcdefghijklmnopqrstuvwxyz")
  for start, first, context in ((12, 7, "hijklmnopq"), (0, 0, "abcdefghij")):
    sentence = Sentence(words, (Span(start, start + 1, "person"),))
    # The first word counts from the sentence's own.
    examples, _ = task.training_examples([SENTENCE, sentence])
    assert tiny_tasks.text(tokenizer, examples[2]) == (
      f"[CLS] {' '.join(context)} [SEP] what is {words[start]} ? [SEP]"
    )
    assert examples.first_words.tolist() == [0, 0, first]


def test_inputs_are_never_too_long(tokenizer: Tokenizer) -> None:
  rng = np.random.default_rng(0)
  for limit in (1, 40, 128, 400):
    task = tiny_tasks.classifier(tokenizer, context="own", max_context=limit)
    for _ in range(15):
      words = ["x" * int(n) for n in rng.integers(1, 90, 30)]
      start = int(rng.integers(0, 30))
      end = int(rng.integers(start, 30)) + 1
      sentence = Sentence(tuple(words), (Span(start, end, "person"),))
      [example], _ = task.training_examples([sentence])
      assert len(example.ids) <= tokenizer.max_length
      text = tiny_tasks.text(tokenizer, example)
      assert text.count("[SEP] what is x") == 1
      # The context has a part of the mention, at least.
      assert example.first_word < end
      assert (example.types == 0).sum() > 2


def test_answers(tokenizer: Tokenizer) -> None:
  task = tiny_tasks.classifier(tokenizer)
  given = {0: [0.2, 0.8], 2: [0.6, 0.4]}
  asked: list[str] = []

  def run(examples: Examples) -> np.ndarray:
    texts = tiny_tasks.questions(tokenizer, examples)
    asked.extend(text.split("what is ")[-1] for text in texts)
    owners = np.repeat(examples.sentences, examples.target_counts).tolist()
    return np.reshape([np.log(given[i]) for i in owners], (-1, 2))

  mentions = [
    [ScoredSpan(4, 5, "", 0.5), ScoredSpan(0, 1, "", 0.5)],
    [],
    [Span(1, 2, "person")],
  ]
  answers = tiny_tasks.types(task, run, [SENTENCE] * 3, mentions)
  assert asked == ["x ##2 ? [SEP]", "what ? [SEP]", "a ##d ##a ? [SEP]"]
  assert [[label for label, _ in row] for row in answers] == [
    ["person", "person"],
    [],
    ["location"],
  ]
  scores = [score for row in answers for _, score in row]
  assert scores == pytest.approx([0.8, 0.8, 0.6])
  assert tiny_tasks.types(task, run, [SENTENCE], [[]]) == [[]]
  assert tiny_tasks.types(task, run, [], []) == []


def test_evaluation(tokenizer: Tokenizer) -> None:
  task = tiny_tasks.classifier(tokenizer)
  sentences = tiny_tasks.random_sentences(10, longest=30)
  assert task.evaluate(tiny_tasks.oracle(2), sentences, Decoding())["f1"] == 100
  scores = task.evaluate(
    lambda examples: np.tile([0.0, 1.0], (len(examples.targets), 1)),
    sentences,
    Decoding(),
  )
  labels = [span.label for s in sentences for span in s.spans]
  share = 100 * labels.count("person") / len(labels)
  assert scores["f1"] == pytest.approx(share)
  assert 0 < share < 100


def test_the_mention_is_marked_in_the_question(tokenizer: Tokenizer) -> None:
  task = tiny_tasks.classifier(tokenizer, context="own", pooling="mention")
  assert task.model.pooling == "mention"
  examples, _ = task.training_examples([SENTENCE])
  assert [
    tiny_tasks.text(tokenizer, e).split()[slice(*e.ranges[0])] for e in examples
  ] == [["a", "##d", "##a", "b", "##o"], ["x", "##2"]]
  # There, and not in the sentence.
  first = tiny_tasks.text(tokenizer, examples[0]).split("[SEP]")[0]
  assert examples[0].ranges[0, 0] > len(first.split())
  # A mention longer than the input is marked as far as it is read.
  long = Sentence(("abcde",) * 40, (Span(0, 40, "person"),))
  [example], _ = task.training_examples([long])
  assert len(example.ids) <= 160
  assert example.ranges[0, 1] == len(example.ids) - 1
  words = tiny_tasks.text(tokenizer, example).split()
  assert words[example.ranges[0, 0] :][:2] == ["a", "##b"]


def test_answers_are_in_the_order_of_the_mentions(
  tokenizer: Tokenizer,
) -> None:
  """Though they are asked for window by window."""
  task = tiny_tasks.classifier(tokenizer, max_context=10)
  sentence = Sentence(tuple("abcdefghijklmnopqrstuvwxyz"))
  starts = (25, 0, 12, 2)
  mentions = [[Span(i, i + 1, "") for i in starts], [Span(3, 4, "")]]

  def run(examples: Examples) -> np.ndarray:
    texts = tiny_tasks.questions(tokenizer, examples)
    asked = [text.split()[3] for text in texts]
    assert sorted(asked) == ["a", "c", "d", "m", "z"]
    assert asked != ["z", "a", "m", "c", "d"]
    return 9.0 * np.eye(2)[[int(letter > "k") for letter in asked]]

  answers = tiny_tasks.types(task, run, [sentence] * 2, mentions)
  labels = [[label for label, _ in row] for row in answers]
  assert labels == [
    ["person", "location", "person", "location"],
    ["location"],
  ]


@pytest.mark.parametrize("context", ["own", "shared"])
def test_batch_size_counts_mentions(context: str, tokenizer: Tokenizer) -> None:
  """However many of them share an example."""
  task = tiny_tasks.classifier(tokenizer, context=context)
  spans = tuple(Span(i, i + 1, "person") for i in (1, 2, 4))
  sentences = [Sentence(WORDS, spans)] * 200
  config = common.get_config()
  config.batch_size = 48
  setup = loop.prepare(task, task_settings(config, "classifier"), sentences)
  assert setup.plan.count == (600 if context == "own" else 200)
  # Examples of one length fill no row quite.
  assert 32 < 600 / setup.plan.batches < 52
