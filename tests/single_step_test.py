"""The single-step systems, with made-up logits."""

import dataclasses
import sys
import tracemalloc

import numpy as np
import pytest

from splitner_jax import tasks
from splitner_jax.data.sentences import ScoredSpan, Sentence, Span
from splitner_jax.evaluation.thresholds import Thresholds
from splitner_jax.inputs.examples import Examples
from splitner_jax.inputs.tokenizer import PairStyle, Tokenizer
from splitner_jax.runtime.errors import UserError
from splitner_jax.tasks.decoding import Decoding
from splitner_jax.tasks.overlaps import (
  resolve_overlaps_by_order,
  resolve_overlaps_by_score,
)
from splitner_jax.tasks.systems import SYSTEMS, Prediction
from tests import tiny, tiny_tasks
from tests.tiny_tasks import ENCODER, settings, text

_TYPES = ("creative-work", "person")
_SENTENCES = [
  Sentence(
    ("what", "Ada", "Bo", "is", "x2"),
    (Span(1, 3, "person"), Span(4, 5, "creative-work")),
  ),
  Sentence(("is", "what")),
  Sentence(("Bo",), (Span(0, 1, "creative-work"),)),
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
  folder = tiny.make_backbone(tmp_path_factory.mktemp("bert"))
  return Tokenizer(str(folder), PairStyle(), max_length=160)


@pytest.fixture
def task(tokenizer: Tokenizer) -> tasks.TokenTask:
  return tasks.type_questions(
    settings("tagger", question="what is {type} ?"),
    ENCODER,
    tokenizer,
    _TYPES,
    {"person": "a bo"},
  )


def _predict(
  task: tasks.TokenTask,
  run: tasks.ForwardFn,
  sentences: list[Sentence],
  decoding: Decoding | None = None,
) -> Prediction:
  """What Single(QA) says."""
  return tiny_tasks.predict(
    SYSTEMS["single_qa"], {"tagger": task}, {"tagger": run}, sentences, decoding
  )


def test_an_example_for_each_sentence_and_type(tokenizer, task):
  examples, lost = task.training_examples(_SENTENCES)
  assert lost == 0
  assert len(examples) == 6
  assert examples.sentences.tolist() == [0, 0, 1, 1, 2, 2]
  assert text(tokenizer, examples[1]) == (
    "[CLS] what is a b ##o ? [SEP] what a ##d ##a b ##o is x ##2 [SEP]"
  )
  assert examples[1].types.tolist() == [0] * 8 + [1] * 10
  assert text(tokenizer, examples[4]).startswith("[CLS] what is c ##r")
  # Only the mentions of the type that is asked for.
  words = [e.labels.tolist() for e in examples]
  assert words == [[0, 0, 0, 0, 1], [0, 1, 3, 0, 0], [0, 0], [0, 0], [1], [0]]
  assert task.labels == _TYPES
  assert (
    task.evaluate(tiny_tasks.oracle(4), _SENTENCES, Decoding())["f1"] == 100
  )


def test_all_tokens_of_a_question_and_its_sentence_are_labelled(tokenizer):
  task = tasks.type_questions(
    settings("tagger", question="what is {type} ?", labels_on="all_tokens"),
    ENCODER,
    tokenizer,
    _TYPES,
    {"person": "a bo"},
  )
  examples, _ = task.training_examples(_SENTENCES)
  np.testing.assert_array_equal(examples.target_counts, examples.lengths)
  # Eight tokens before the sentence; there "Ada Bo" is B I I I E.
  assert examples[1].labels.tolist() == [0] * 9 + [1, 2, 2, 2, 3, 0, 0, 0, 0]


def test_mentions_beyond_the_input_are_counted(task):
  long = Sentence(
    ("abcde",) * 60, (Span(2, 4, "person"), Span(55, 56, "person"))
  )
  examples, lost = task.training_examples([long])
  assert lost == 1
  assert examples.lengths.max() <= 160


def test_several_windows_of_several_questions(tokenizer, task):
  """Each question's windows are joined, whatever their number."""
  # The questions leave room for 142 and 151 subwords; this one has 144.
  between = Sentence(("abcdef",) * 24, (Span(0, 2, "person"),))
  sentences = [
    _SENTENCES[0],
    between,
    *(
      dataclasses.replace(
        s,
        spans=tuple(
          x._replace(label=_TYPES[i % 2]) for i, x in enumerate(s.spans)
        ),
      )
      for s in tiny_tasks.random_sentences(12, longest=150)
    ),
    _SENTENCES[2],
  ]
  seen: list[Examples] = []

  def run(examples: Examples) -> np.ndarray:
    seen.append(examples)
    return tiny_tasks.oracle(4)(examples)

  candidates = tiny_tasks.detect(task, run, sentences)
  # Question by question, and all mentions of each.
  assert [[s.span for s in row] for row in candidates] == [
    [span for label in _TYPES for span in s.spans if span.label == label]
    for s in sentences
  ]
  predicted = _predict(task, run, sentences).mentions
  assert [tuple(s.span for s in row) for row in predicted] == [
    s.spans for s in sentences
  ]
  examples = seen[0]
  assert examples.lengths.max() <= tokenizer.max_length
  windows = np.bincount(examples.sentences)
  assert windows[0] == windows[-1] == 2
  assert windows[1] == 3
  assert windows.max() > 8


def test_conflicts_go_to_the_likeliest_or_to_the_first(task):
  found = [
    ScoredSpan(0, 2, "creative-work", 0.6),
    ScoredSpan(4, 5, "creative-work", 0.9),
    ScoredSpan(1, 3, "person", 0.7),
    ScoredSpan(3, 4, "person", 0.8),
  ]
  assert [s.start for s in resolve_overlaps_by_score(found)] == [1, 3, 4]
  assert [s.start for s in resolve_overlaps_by_order(found)] == [0, 3, 4]

  def run(examples: Examples) -> np.ndarray:
    """Both types at the second word; `person` is surer of it."""
    logits = np.zeros((len(examples), 2, 4))
    logits[:, 1, 1] = [2.0, 9.0]
    return logits.reshape(-1, 4)

  sentences = [Sentence(("is", "Bo"))]
  honest, reference = _predict(task, run, sentences)
  assert [s[:3] for s in honest[0]] == [(1, 2, "person")]
  assert [s[:3] for s in reference[0]] == [(1, 2, "creative-work")]


def test_what_has_too_low_a_score_is_dropped(task):
  def run(examples: Examples) -> np.ndarray:
    """The less sure, the further back the word is."""
    sure = 9.0 - examples.target_tokens()[:, None] / 50
    return sure * np.eye(4)[examples.labels]

  def predict(least: float):
    return _predict(
      task, run, _SENTENCES, Decoding(thresholds=Thresholds(least))
    )

  scores = [s.score for row in predict(0.0).mentions for s in row]
  assert len(scores) == 3
  kept = [s.score for row in predict(max(scores)).mentions for s in row]
  assert 0 < len(kept) < 3
  assert set(kept) == {max(scores)}
  for answers in predict(max(scores)):
    assert sum(map(len, answers)) == len(kept)
  assert predict(1.1).mentions == [[], [], []]


def test_overlaps_are_resolved_before_thresholds(task):
  """As thresholds are chosen: what they drop lets nothing else in."""

  def run(examples: Examples) -> np.ndarray:
    logits = np.zeros((len(examples), 2, 4))
    logits[:, 1, 1] = [2.0, 9.0]
    return logits.reshape(-1, 4)

  thresholds = Thresholds(per_type={"person": 1.1})
  found = _predict(
    task, run, [Sentence(("is", "Bo"))], Decoding(thresholds=thresholds)
  )
  assert found.mentions == [[]]


@pytest.mark.parametrize("training", [True, False])
def test_sentences_times_types_are_columns(task, training):
  """N x T examples are in memory at once: they had better be small."""
  task.encode(_SENTENCES, training=training)
  before = sys.getallocatedblocks()
  examples, _ = task.encode(_SENTENCES * 1000, training=training)
  objects = sys.getallocatedblocks() - before
  assert len(examples) == 6000
  assert len(examples.ids) > 100_000
  # No Python object for each token, nor for each example.
  assert objects < 1000
  columns = {
    field.name: getattr(examples, field.name)
    for field in dataclasses.fields(examples)
  }
  assert len(columns.pop("distinct")) < 100
  for name in ("ranges", "pos", "asked", "words", "patterns"):
    assert columns.pop(name) is None
  assert sum(column.nbytes for column in columns.values()) < 500 * 6000


@pytest.mark.parametrize("types", [1, 2])
def test_no_objects_while_they_are_made(task, types):
  """Neither for the tokens of sentences nor for those of examples."""
  task = dataclasses.replace(
    task, questions=task.questions[:types], asked=task.asked[:types]
  )
  sentences = [Sentence(("abcdefghijk",) * 12)] * 1500
  tracemalloc.start()
  examples, _ = task.encode(sentences)
  _, most = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert len(examples.ids) > 200_000 * types
  # A string of one letter has 50 bytes.
  assert most < 50 * len(examples.ids)


def test_questions_and_settings_of_single_qa(tokenizer, task):
  assert task.questions == (
    ("what", "is", "creative", "work", "?"),
    ("what", "is", "a", "bo", "?"),
  )
  assert task.asked == _TYPES
  wrong = settings("tagger", question="what ?")
  with pytest.raises(UserError, match=r"config.tagger.question: .*\{type\}"):
    tasks.type_questions(wrong, ENCODER, tokenizer, _TYPES, {})


def test_types_of_the_same_question(tokenizer):
  def asked(*types: str, **names: str) -> list[str]:
    task = tasks.type_questions(
      settings("tagger", question="what is {type} ?"),
      ENCODER,
      tokenizer,
      types,
      names,
    )
    return [" ".join(question) for question in task.questions]

  with pytest.raises(UserError) as caught:
    asked("ORG", "PER", "person")
  assert str(caught.value) == (
    "config.data.type_names: the types PER and person have the same question, "
    "'what is person ?'; name one of them otherwise, such as 'person=another "
    "name'"
  )
  with pytest.raises(UserError, match="types B and A have the same question"):
    asked("B", "A", A="name", B="name")
  assert asked("PER", "person", person="a person") == [
    "what is person ?",
    "what is a person ?",
  ]


def test_the_longest_question_must_leave_room(tokenizer):
  """Longest in subwords, which here are letters."""
  of_one_word = {"person": "x" * 40, "creative-work": "is is is"}
  with pytest.raises(UserError, match="160 is too short for the question"):
    tasks.type_questions(
      settings("tagger", question="{type}"),
      ENCODER,
      tokenizer,
      _TYPES,
      of_one_word,
    )


def test_two_separators_of_roberta(tokenizer, task, monkeypatch):
  """As the reference has it for Single(QA), and not for the detector."""
  pairs = PairStyle(separators=2, second_type=0)
  monkeypatch.setattr(tokenizer, "pairs", pairs)
  example = task.training_examples(_SENTENCES)[0][1]
  assert text(tokenizer, example) == (
    "[CLS] what is a b ##o ? [SEP] [SEP] what a ##d ##a b ##o is x ##2 [SEP]"
  )
  assert example.targets.tolist() == [9, 10, 13, 15, 16]
  assert not example.types.any()
  detector = tasks.span_detection(settings("detector"), ENCODER, tokenizer)
  example = detector.training_examples(_SENTENCES)[0][0]
  assert text(tokenizer, example).count("[SEP] [SEP]") == 0
  # The window has one word less.
  long = [Sentence(("a",) * 200)]
  assert task.encode(long)[0].lengths.max() == tokenizer.max_length


def test_sequence_tagger(tokenizer):
  task = tasks.sequence_tagging(
    settings("tagger", scheme="BIO"), ENCODER, tokenizer, _TYPES
  )
  assert task.labels == _TYPES
  assert task.questions == ((),)
  assert task.asked == ()
  assert task.model.num_labels == 5
  examples, _ = task.training_examples(_SENTENCES)
  assert examples[0].labels.tolist() == [0, 3, 4, 0, 1]
  run = tiny_tasks.oracle(5)
  predicted = tiny_tasks.predict(
    SYSTEMS["single_seqtag"], {"tagger": task}, {"tagger": run}, _SENTENCES
  ).mentions
  assert [tuple(s.span for s in row) for row in predicted] == [
    s.spans for s in _SENTENCES
  ]


def test_parts_of_speech(tokenizer):
  task = tasks.span_detection(
    settings("detector", question="what ?", features="both+pos"),
    ENCODER,
    tokenizer,
    sentences=[Sentence(("a", "b"), pos=("VB", "NN"))],
  )
  assert task.features == ("char", "pattern", "pos")
  assert task.model.pos_vocab_size == 3
  sentence = Sentence(("Ada", "is", "x2"), pos=("NN", "VB", "ODD"))
  long = Sentence(("ab",) * 200, pos=("NN",) * 100 + ("VB",) * 100)
  examples, _ = task.encode([sentence, long])
  # [CLS] what ? [SEP] a ##d ##a is x ##2 [SEP]
  assert examples[0].pos.tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 0, 0, 0]
  # In windows too.
  assert len(examples) > 3
  for example in list(examples)[1:]:
    words = example.first_word + np.arange(len(example.targets))
    assert example.pos[example.targets].tolist() == (1 + words // 100).tolist()
  with pytest.raises(UserError, match=r"x.tsv:3: no parts of speech"):
    task.training_examples([Sentence(("Ada",), source="x.tsv:3")])
  with pytest.raises(UserError, match=r"needs parts of speech, which the tra"):
    tiny_tasks.detector(tokenizer, features="pos")
