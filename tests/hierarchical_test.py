"""The system whose detector says the group of a mention; made-up logits."""

import dataclasses

import numpy as np
import pytest

from configs import common
from splitner_jax.data.sentences import Sentence, Span
from splitner_jax.evaluation.thresholds import Thresholds
from splitner_jax.experiment import settings
from splitner_jax.inference.ner_model import NerModel
from splitner_jax.runtime.errors import UserError
from splitner_jax.tasks.decoding import Decoding
from splitner_jax.tasks.systems import SYSTEMS
from splitner_jax.tasks.systems.hierarchical import GroupTask, parse_groups
from tests import tiny_system, tiny_tasks

_KIND = SYSTEMS["hierarchical"]
_SENTENCES = [
  Sentence(
    ("what", "Ada", "Bo", "is", "x2"),
    (Span(1, 3, "person"), Span(4, 5, "location")),
  ),
  Sentence(("a", "what", "b"), (Span(0, 1, "thing"), Span(1, 3, "location"))),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> NerModel:
  return tiny_system.make(tmp_path_factory.mktemp("tiny"), kind="hierarchical")


def test_groups_in_the_config() -> None:
  assert parse_groups(" a, b ;c;", "abc") == ("a,b", "c")
  assert parse_groups("a,b,c", "abc") == ("a,b,c",)
  for wrong in ("", "a,b", "a,b;c;d", "a,b;b,c", "a,b;c,", "a b;c"):
    with pytest.raises(UserError, match=r"config.detector.groups: '.* a, b, c"):
      parse_groups(wrong, "abc")


def test_labels_are_of_groups(model: NerModel) -> None:
  detector = model.tasks["detector"]
  assert isinstance(detector, GroupTask)
  assert detector.logit_names == (
    *("O", "B-location,thing", "I-location,thing", "E-location,thing"),
    *("B-person", "I-person", "E-person"),
  )
  examples, _ = detector.training_examples(_SENTENCES)
  assert examples.labels.tolist() == [0, 4, 6, 0, 1, 1, 1, 3]
  # Entity types are the classifier's, and dev scores are of spans alone.
  assert model.labels == tiny_system.TYPES
  scores = detector.evaluate(tiny_tasks.oracle(7), _SENTENCES, Decoding())
  assert scores["f1"] == 100
  wrong = [
    dataclasses.replace(
      s, spans=tuple(x._replace(label="person") for x in s.spans)
    )
    for s in _SENTENCES
  ]
  scores = detector.evaluate(tiny_tasks.oracle(7), wrong, Decoding())
  assert scores["f1"] == 100


def _likes(scores: tuple[float, ...]):
  """A classifier that says the same of all: of location, person, thing."""

  def run(examples):
    return np.tile(np.array(scores, np.float32), (len(examples.targets), 1))

  return run


def test_types_of_other_groups_are_left_out(model: NerModel) -> None:
  forwards = {
    "detector": tiny_tasks.oracle(7),
    "classifier": _likes((1.0, 4.0, 2.0)),
  }
  # A person is likeliest, but only one is found as such.
  found = tiny_tasks.predict(_KIND, model.tasks, forwards, _SENTENCES).mentions
  assert [[span.span for span in row] for row in found] == [
    [Span(1, 3, "person"), Span(4, 5, "thing")],
    [Span(0, 1, "thing"), Span(1, 3, "thing")],
  ]
  # The probability is that of the type within its group.
  span = 1 / (1 + 6 * np.exp(-9.0))
  within = 1 / (1 + np.exp(-1.0))
  assert found[0][0].score == pytest.approx(span)
  assert found[0][1].score == pytest.approx(span * within)


def test_no_mention_is_of_every_group(model: NerModel) -> None:
  classifier = model.tasks["classifier"]
  tasks = {
    **model.tasks,
    "classifier": dataclasses.replace(classifier, none_class=True),
  }
  forwards = {
    "detector": tiny_tasks.oracle(7),
    "classifier": _likes((1.0, 4.0, 2.0, 3.0)),
  }
  found = tiny_tasks.predict(_KIND, tasks, forwards, _SENTENCES).mentions
  assert [[span.span for span in row] for row in found] == [
    [Span(1, 3, "person")],
    [],
  ]


def test_every_bias_reads_the_group(model: NerModel) -> None:
  """Of the same place, found with several biases, it is the same."""
  rng = np.random.default_rng(0)

  def detector(examples):
    return rng.normal(0, 3, (len(examples.targets), 7)).astype(np.float32)

  forwards = {"detector": detector, "classifier": _likes((1.0, 4.0, 2.0))}
  sentences = tiny_tasks.random_sentences(60, 20)
  examples = _KIND.encode(model.tasks, sentences)
  biases = (0.0, -2.0, 2.0)
  reading = _KIND.read(model.tasks, forwards, sentences, examples, biases)
  for bias in biases:
    decoding = Decoding(bias, thresholds=Thresholds())
    spans = _KIND.detect(model.tasks, reading, decoding)
    found = _KIND.decode(model.tasks, reading, decoding).mentions
    assert sum(map(len, spans)) > 50
    for groups, mentions in zip(spans, found, strict=True):
      assert [
        m.label in g.label.split(",")
        for g, m in zip(groups, mentions, strict=True)
      ] == [True] * len(groups)


def test_temperature_is_of_right_groups(model: NerModel) -> None:
  forwards = {
    "detector": tiny_tasks.oracle(7),
    "classifier": _likes((1.0, 4.0, 2.0)),
  }
  examples = _KIND.encode(model.tasks, _SENTENCES)
  reading = _KIND.read(model.tasks, forwards, _SENTENCES, examples, [0.0])
  known = _KIND.type_logits(model.tasks, reading, Decoding())
  assert known.classes.tolist() == [1, 0, 2, 0]
  # The first sentence's person is a thing by now.
  first = dataclasses.replace(
    _SENTENCES[0], spans=(Span(1, 3, "thing"), Span(4, 5, "location"))
  )
  reading = dataclasses.replace(reading, sentences=[first, _SENTENCES[1]])
  known = _KIND.type_logits(model.tasks, reading, Decoding())
  assert known.classes.tolist() == [0, 2, 0]
  assert known.logits.max() == 2


def test_groups_are_read_by_this_system_alone() -> None:
  config = common.get_config()
  with pytest.raises(UserError, match=r"detector.groups: is not read"):
    settings.check_given(config, ["detector.groups"])
  config.system = "hierarchical"
  settings.check_given(config, ["detector.groups"])
