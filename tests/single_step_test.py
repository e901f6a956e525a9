"""The single-step systems and the joining of two steps, made-up logits."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from configs import common
from splitner_jax import joining, tasks
from splitner_jax.calibration import remembering
from splitner_jax.inputs.tokenizer import Example, LazyExamples, Tokenizer
from splitner_jax.data.sentences import ScoredSpan, Sentence, Span
from splitner_jax.errors import UserError
from splitner_jax.models.bert import EncoderConfig
from splitner_jax.systems import SingleQA, SingleSeqTag, SplitNER, with_o_bias
from splitner_jax.tasks.type_questions import first_listed, likeliest
from tests import tiny

_ENCODER = EncoderConfig(99, 16, 1, 2, 32, 512, 2)  # No model is run here.
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
  return Tokenizer(str(folder), is_roberta=False, max_length=160)


def _settings(name: str, **fields):
  settings = common.get_config()[name]
  settings.update(fields)
  return settings


@pytest.fixture
def task(tokenizer: Tokenizer) -> tasks.TypeQuestionTask:
  return tasks.type_questions(
    _settings("tagger", question="what is {type} ?"),
    _ENCODER,
    tokenizer,
    _TYPES,
    {"person": "a bo"},
  )


def _texts(tokenizer: Tokenizer, example: Example) -> str:
  return " ".join(tokenizer.fast.convert_ids_to_tokens(example.ids.tolist()))


def test_an_example_for_each_sentence_and_type(tokenizer, task):
  examples, lost = task.training_examples(_SENTENCES)
  assert isinstance(examples, LazyExamples)
  assert lost == 0
  assert len(examples) == 6
  assert examples.lengths.tolist() == [len(e) for e in examples]
  assert [e.sentence for e in examples] == [0, 0, 1, 1, 2, 2]
  assert _texts(tokenizer, examples[1]) == (
    "[CLS] what is a b ##o ? [SEP] what a ##d ##a b ##o is x ##2 [SEP]"
  )
  assert _texts(tokenizer, examples[4]).startswith("[CLS] what is c ##r")
  # Only the mentions of the type that is asked for.
  words = [e.labels[e.positions].tolist() for e in examples]
  assert words == [[0, 0, 0, 0, 1], [0, 1, 3, 0, 0], [0, 0], [0, 0], [1], [0]]
  assert task.evaluate(_oracle(task), _SENTENCES)["f1"] == 100


def _oracle(task: tasks.TypeQuestionTask):
  """Knows by its input what its labels would be."""
  examples, _ = task.training_examples(_SENTENCES)
  known = {e.ids.tobytes(): 5.0 * np.eye(4)[e.labels] for e in examples}
  return lambda asked: [known[e.ids.tobytes()] for e in asked]


def test_mentions_beyond_the_input_are_counted(task):
  long = Sentence(
    ("abcde",) * 60, (Span(2, 4, "person"), Span(55, 56, "person"))
  )
  examples, lost = task.training_examples([long])
  assert lost == 1
  assert examples.lengths.max() <= 160
  assert task.lost_to_length([long]) == 0  # Prediction reads all windows.


def test_conflicts_go_to_the_likeliest_or_to_the_first(task):
  found = [
    ScoredSpan(0, 2, "creative-work", 0.6),
    ScoredSpan(4, 5, "creative-work", 0.9),
    ScoredSpan(1, 3, "person", 0.7),
    ScoredSpan(3, 4, "person", 0.8),
  ]
  assert [s.start for s in likeliest(found)] == [1, 3, 4]
  assert [s.start for s in first_listed(found)] == [0, 3, 4]

  def run(examples: Sequence[Example]) -> list[np.ndarray]:
    """Both types at the second word; `person` is surer of it."""
    logits = []
    for example in examples:
      row = np.zeros((len(example), 4))
      sure = 9.0 if example.ids.tolist() in persons else 2.0
      row[example.positions[-1], 1] = sure
      logits.append(row)
    return logits

  sentences = [Sentence(("is", "Bo"))]
  examples, _ = task.training_examples(sentences)
  persons = [examples[1].ids.tolist()]
  system = SingleQA(task, run)
  honest, reference = system.answer(sentences)
  assert honest == system.predict(sentences)
  assert [s[:3] for s in honest[0]] == [(1, 2, "person")]
  assert [s[:3] for s in reference[0]] == [(1, 2, "creative-work")]


def test_what_has_too_low_a_score_is_dropped(task, tokenizer):
  system = SingleQA(task, _oracle(task))
  scores = [s.score for row in system.predict(_SENTENCES) for s in row]
  assert len(scores) == 3
  strict = dataclasses.replace(system, min_score=max(scores))
  kept = [s.score for row in strict.predict(_SENTENCES) for s in row]
  assert 0 < len(kept) < 3
  assert set(kept) == {max(scores)}
  for none in strict.answer(_SENTENCES):
    assert sum(map(len, none)) == len(kept)
  none = dataclasses.replace(system, min_score=1.1)
  assert none.predict(_SENTENCES) == [[], [], []]


def test_no_more_than_a_batch_is_in_memory(task):
  """Neither in training nor in prediction are there N x T inputs."""
  many = _SENTENCES * 500
  examples, _ = task.training_examples(many)
  made = []
  whole = tasks.TokenTask.example
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(
      tasks.TokenTask,
      "example",
      lambda self, *a: made.append(1) or whole(self, *a),
    )
    assert len(examples) == 3000
    assert not made
    assert len(examples[7]) == examples.lengths[7]
    assert len(made) == 1
  most = []

  def run(examples):
    most.append(len(examples))
    return [np.zeros((len(e), 4)) for e in examples]

  task.predict(run, many)
  assert most == [1500, 1500]


def test_questions_and_settings_of_single_qa(tokenizer, task):
  assert task.questions == (
    ("what", "is", "creative", "work", "?"),
    ("what", "is", "a", "bo", "?"),
  )
  settings = _settings("tagger", question="what ?")
  with pytest.raises(UserError, match=r"config.tagger.question: .*\{type\}"):
    tasks.type_questions(settings, _ENCODER, tokenizer, _TYPES, {})


def test_two_separators_of_roberta(task):
  """As the reference has it for Single(QA), and not for the detector."""
  tokenizer = task.tokenizer
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(tokenizer, "is_roberta", True)
    example = task.training_examples(_SENTENCES)[0][3]
    assert _texts(tokenizer, example).count("[SEP] [SEP]") == 1
    assert len(example) == task.training_examples(_SENTENCES)[0].lengths[3]
    detector = tasks.span_detection(_settings("detector"), _ENCODER, tokenizer)
    example = detector.training_examples(_SENTENCES)[0][0]
    assert _texts(tokenizer, example).count("[SEP] [SEP]") == 0


def test_sequence_tagger(tokenizer):
  task = tasks.sequence_tagging(
    _settings("tagger", scheme="BIO"), _ENCODER, tokenizer, _TYPES
  )
  assert task.labels == _TYPES
  assert task.question == ()
  assert task.model.num_labels == 5
  examples, _ = task.training_examples(_SENTENCES)
  assert examples[0].labels[examples[0].positions].tolist() == [0, 3, 4, 0, 1]

  def run(asked):
    return [9.0 * np.eye(5)[e.labels] for e in asked]

  predicted = SingleSeqTag(task, run).predict(_SENTENCES)
  assert [tuple(s.span for s in row) for row in predicted] == [
    s.spans for s in _SENTENCES
  ]


def test_parts_of_speech(tokenizer):
  task = tasks.span_detection(
    _settings("detector", question="what ?", features="both+pos"),
    _ENCODER,
    tokenizer,
    pos_tags=("NN", "VB"),
  )
  assert task.features == ("char", "pattern", "pos")
  assert task.model.pos_vocab_size == 3
  sentence = Sentence(("Ada", "is", "x2"), pos=("NN", "VB", "ODD"))
  [example], _ = task.training_examples([sentence])
  # [CLS] what ? [SEP] a ##d ##a is x ##2 [SEP]
  assert example.pos.tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 0, 0, 0]
  with pytest.raises(UserError, match=r"x.tsv:3: no parts of speech"):
    task.training_examples([Sentence(("Ada",), source="x.tsv:3")])
  with pytest.raises(UserError, match=r"needs parts of speech, which the tra"):
    tasks.span_detection(
      _settings("detector", features="pos"), _ENCODER, tokenizer
    )


def _detector(tokenizer) -> tasks.TokenTask:
  return tasks.span_detection(
    _settings("detector", question=""), _ENCODER, tokenizer
  )


def _always(places: Sequence[int]):
  """A detector that finds the words at these places, the later the surer."""

  def run(examples):
    rows = []
    for example in examples:
      row = np.zeros((len(example), 4))
      row[:, 0] = 4.0
      for k, place in enumerate(places):
        if place < len(example.positions):
          row[example.positions[place], 1] = 3.5 + k
      rows.append(row)
    return rows

  return run


def test_false_spans_are_what_is_found_wrongly(tokenizer):
  detector = _detector(tokenizer)
  [first, second, third] = joining.with_false_spans(
    detector, _always([0, 1]), _SENTENCES
  )
  # Word 1 at once, word 0 once O is made less likely; the gold stays.
  assert set(first.spans) == {
    *_SENTENCES[0].spans, Span(0, 1, ""), Span(1, 2, ""),
  }  # fmt: skip
  assert set(second.spans) == {Span(0, 1, ""), Span(1, 2, "")}
  assert third.spans == _SENTENCES[2].spans  # Found rightly.


def test_no_detector_sees_the_sentences_of_its_fold(tokenizer):
  sentences = [
    Sentence((f"a{i}", "is"), (Span(0, 1, "person"),)) for i in range(30)
  ]
  sentences.append(sentences[0])  # Equal texts stay together.
  outside: list[set[str]] = []

  def train_detector(rows, fold):
    assert fold == len(outside)
    outside.append({row.text for row in rows})
    return _detector(tokenizer), _always([1] if fold else [])

  result = joining.cross_fitted(sentences, 3, train_detector)
  assert len(outside) == 3
  assert [s.text for s in result] == [s.text for s in sentences]
  # Each sentence is outside of all folds but its own.
  for sentence in sentences:
    assert sum(sentence.text in texts for texts in outside) == 2
  # The detector of the first fold finds nothing.
  for sentence in result:
    wrong = [span for span in sentence.spans if span.label == ""]
    assert len(wrong) == (sentence.text in outside[0])


def test_a_rejected_span_is_no_mention(tokenizer):
  classifier = tasks.span_classification(
    _settings("classifier", none_class=True), _ENCODER, tokenizer, _TYPES
  )
  assert classifier.model.num_labels == 3
  false = Sentence(("is", "what"), (Span(0, 1, ""),))
  [example], _ = classifier.training_examples([false])
  assert example.labels == 2
  assert example.weights == 1

  def run(examples):
    """Rejects one-word spans of the first sentence."""
    return [
      9.0 * np.eye(3)[2 if e.sentence == 0 and "2" in e.texts[-3] else 1]
      for e in examples
    ]

  detector = _detector(tokenizer)

  def find(examples):
    return [9.0 * np.eye(4)[e.labels] for e in detector_examples]

  detector_examples, _ = detector.training_examples(_SENTENCES)
  system = SplitNER(detector, classifier, find, run)
  predicted = system.predict(_SENTENCES)
  assert [[s[:3] for s in row] for row in predicted] == [
    [(1, 3, "person")],
    [],
    [(0, 1, "person")],
  ]
  # The paper's code scores a sentence with a span, whatever became of it.
  strict = dataclasses.replace(system, min_score=1.1)
  assert strict.answer(_SENTENCES).by_reference == [[], None, []]
  # A gold mention that is rejected is missed, not false.
  scores = classifier.evaluate(run, _SENTENCES)
  assert (scores["gold"], scores["predicted"], scores["correct"]) == (3, 2, 1)


def test_what_is_remembered_is_not_computed_again(tokenizer):
  detector = _detector(tokenizer)
  examples, _ = detector.training_examples(_SENTENCES)
  asked = []

  def run(some):
    asked.append(len(some))
    return [np.full(1, len(e)) for e in some]

  remembered = remembering(run)
  assert remembered(examples[:2]) == run(examples[:2])
  assert remembered(examples) == run(examples)
  # Other letters are another input, though the ids are the same.
  shout = dataclasses.replace(examples[0], texts=["!"] * len(examples[0]))
  remembered([shout])
  assert asked == [2, 2, 1, 3, 1]


def test_o_bias_of_every_finder(task, tokenizer):
  assert with_o_bias(task, -2.0).o_bias == -2.0
  assert with_o_bias(_detector(tokenizer), -1.0).o_bias == -1.0
