"""Decodings that are chosen on a split."""

import dataclasses
import types
from collections.abc import Sequence

import numpy as np
import pytest

from splitner_jax.data.sentences import ScoredSpan, Sentence, Span
from splitner_jax.evaluation.thresholds import Target, Thresholds
from splitner_jax.inference import tuning
from splitner_jax.inputs.examples import Examples
from splitner_jax.inputs.tokenizer import PairStyle, Tokenizer
from splitner_jax.tasks.decoding import Decoding
from splitner_jax.tasks.systems import SYSTEMS
from tests import tiny, tiny_tasks

_WORDS = ("x", "y", "z")
_ONE = Sentence(_WORDS, (Span(0, 1, "a"),))
_TWO = Sentence(_WORDS, (Span(0, 1, "a"), Span(1, 2, "a")))
_F1 = Target("f1")


@dataclasses.dataclass
class _Predictor:
  """Finds more with a lower bias, ever less sure.

  Attributes:
    limits: the bias from which on each mention is found.
  """

  limits: tuple[float, ...] = (-0.5, -1.0, -2.0)
  decoding: Decoding = dataclasses.field(default_factory=Decoding)
  reads: int = 0

  def read(self, sentences: Sequence[Sentence], outside_biases) -> int:
    self.reads += 1
    return len(sentences)

  def decode(self, reading: int, decoding: Decoding):
    spans = [
      ScoredSpan(i, i + 1, "a", s) for i, s in enumerate((0.9, 0.4, 0.3))
    ]
    count = sum(decoding.outside_bias <= limit for limit in self.limits)
    mentions = [decoding.thresholds.keep(spans[:count])] * reading
    return types.SimpleNamespace(mentions=mentions)


def _tune(predictor: _Predictor, sentence: Sentence, *more) -> tuning.Tuned:
  return tuning.tune(predictor, [sentence], *more)  # type: ignore[arg-type]


def test_the_least_change_of_those_that_are_best():
  grid = tuning.OUTSIDE_BIASES, tuning.LEAST_SCORES
  predictor = _Predictor(decoding=Decoding(temperature=2.0))
  tuned = _tune(predictor, _TWO, _F1, *grid)
  assert tuned.decoding == Decoding(-1.0, 2.0, Thresholds(0.0))
  assert tuned.matched.counts().f1 == 100
  assert tuned.before.counts().f1 == 0
  # All are found at once, the second and third wrongly.
  tuned = _tune(_Predictor((-0.5, -0.5, -0.5)), _ONE, _F1, *grid)
  assert tuned.decoding == Decoding(-0.5, 1.0, Thresholds(0.45))
  assert tuned.matched.counts(tuned.decoding.thresholds).f1 == 100
  assert predictor.reads == 1


def test_a_recall_that_no_threshold_gives():
  predictor = _Predictor(decoding=Decoding(-0.5))
  tuned = _tune(predictor, _TWO, Target("recall", 100), tuning.RECALL_BIASES)
  # With the bias of -1.0 at once; a lower one would only find wrong ones.
  assert tuned.decoding.outside_bias == -1.0
  assert tuned.before.counts().recall == 50


def test_what_is_tuned_already_is_tuned_anew():
  """Thresholds that a model has do not hide mentions from the tuner."""
  predictor = _Predictor(decoding=Decoding(-1.0, 1.0, Thresholds(0.95)))
  tuned = _tune(predictor, _TWO, _F1, [-1.0])
  assert tuned.decoding.thresholds.of("a") == 0.0


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
  folder = tiny.make_backbone(tmp_path_factory.mktemp("bert"))
  return Tokenizer(str(folder), PairStyle(), max_length=160)


def test_one_reading_serves_all_biases(tokenizer: Tokenizer):
  """What is read for several is what is read for each, one by one."""
  parts = {
    "detector": tiny_tasks.detector(tokenizer),
    "classifier": tiny_tasks.classifier(tokenizer),
  }
  asked: list[int] = []

  def detect(examples: Examples) -> np.ndarray:
    asked.append(len(examples))
    return np.random.default_rng(7).normal(0, 2, (len(examples.targets), 4))

  def classify(examples: Examples) -> np.ndarray:
    asked.append(len(examples))
    ids = examples.ids[examples.target_tokens() + 3]
    return np.stack([np.sin(ids), np.cos(ids)], axis=1)

  forwards = {"detector": detect, "classifier": classify}
  kind = SYSTEMS["splitner"]
  sentences = tiny_tasks.random_sentences(10, longest=60)
  examples = kind.encode(parts, sentences)
  biases = (0.0, -2.0, 2.0)
  reading = kind.read(parts, forwards, sentences, examples, biases)
  assert len(asked) == 2
  found = set()
  for bias in biases:
    decoding = Decoding(bias, temperature=0.5)
    together = kind.decode(parts, reading, decoding)
    alone = tiny_tasks.predict(kind, parts, forwards, sentences, decoding)
    assert together == alone
    found.add(sum(map(len, together.mentions)))
  assert len(found) == 3
