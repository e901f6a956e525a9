"""Temperature, calibration error, and thresholds with their command."""

import dataclasses
import functools
import json
import pathlib
from typing import Any
from unittest import mock

import numpy as np
import pytest
from absl import flags

from splitner_jax.commands import cli, tune
from splitner_jax.data import formats
from splitner_jax.data.sentences import ScoredSpan, Sentence, Span
from splitner_jax.evaluation import calibration, metrics
from splitner_jax.evaluation.metrics import Counts
from splitner_jax.evaluation.thresholds import (
  MatchedPredictions,
  Target,
  Thresholds,
  best_thresholds,
)
from splitner_jax.experiment import calibrate
from splitner_jax.inference import model_folder, tuning
from splitner_jax.inference.ner_model import NerModel
from splitner_jax.runtime import compilation
from splitner_jax.runtime.errors import UserError
from splitner_jax.tasks.decoding import Decoding
from tests import tiny_system


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_a_known_temperature_is_found(temperature: float):
  rng = np.random.default_rng(0)
  logits = rng.normal(0, 2, (20_000, 4))
  # The Gumbel trick: labels drawn from softmax(logits).
  labels = (logits + rng.gumbel(size=logits.shape)).argmax(axis=-1)
  found = calibration.fit_temperature(
    (temperature * logits).astype(np.float32), labels.tolist()
  )
  assert found == pytest.approx(temperature, rel=0.03)


def test_temperature_of_odd_examples():
  fit = calibration.fit_temperature
  assert fit(np.zeros((0, 3)), []) == 1.0
  few = calibration.ENOUGH - 1
  assert fit(np.eye(few), list(range(few))) == 1.0
  # One more decides.
  assert fit(np.eye(20), list(range(20))) < 1.0
  # Always right, always wrong, extreme logits: a bound, and no overflow.
  logits = np.tile([1e4, 0.0], (30, 1))
  assert fit(logits / 1e4, [0] * 30) == pytest.approx(1 / 20, rel=1e-4)
  assert fit(logits, [1] * 30) == pytest.approx(20, rel=1e-4)


def test_expected_calibration_error():
  error = calibration.expected_calibration_error
  assert error(np.array([]), np.array([], bool)) == 0.0
  scores = np.array([0.12, 0.18, 0.9, 0.98, 1.0])
  correct = np.array([False, True, True, True, False])
  # Two bins: 2/5 of |0.15 - 1/2| and 3/5 of |0.96 - 2/3|.
  assert error(scores, correct) == pytest.approx(14 + 17.6)
  # One bin: |0.636 - 3/5|.
  assert error(scores, correct, bins=1) == pytest.approx(3.6)


_F1 = Target("f1")
_SCORES = np.array([0.3, 0.9, 0.5, 0.7, 0.7])
_CORRECT = np.array([False, True, True, False, True])
# Kept from the top: 1 of 1, 2 of 3 (a tie), 3 of 4, 3 of 5 are correct.


@pytest.mark.parametrize(
  ("target", "threshold", "predicted", "correct"),
  [
    ("precision:0.95", 0.8, 1, 1),
    ("precision:0.75", 0.4, 4, 3),  # Better recall than 1 of 1.
    ("precision:0.6", 0.4, 4, 3),  # A fifth, wrong, adds nothing.
    ("recall:0.5", 0.4, 4, 3),  # Better precision than 2 of 3.
    ("recall:0.1", 0.8, 1, 1),
    ("recall:0.9", 0.4, 4, 3),  # Not reached: 3 of 4.
    ("f1", 0.4, 4, 3),
  ],
)
def test_threshold(target: str, threshold: float, predicted, correct):
  matched = _of(_SCORES, _CORRECT, 4)
  found = matched.best_threshold(Target.parse(target))
  assert found == pytest.approx(threshold)
  assert matched.counts(Thresholds(found)) == Counts(4, predicted, correct)


def _of(scores: Any, correct: Any, gold: int) -> MatchedPredictions:
  """Predictions of one type."""
  scores = np.asarray(scores, float)
  labels = np.array(["a"] * len(scores), str)
  return MatchedPredictions(
    scores, np.asarray(correct, bool), labels, {"a": gold}
  )


def test_threshold_of_odd_scores():
  assert _of([], [], 3).best_threshold(Target("precision")) == 0.0
  matched = _of([0.5, 0.4], [False, True], 1)
  assert matched.best_threshold(Target("recall")) == 0.0
  # Of equal F1 the one that keeps more.
  assert _of([0.5, 0.4, 0.3], [True, False, True], 4).best_threshold(_F1) == 0.0
  # No float is between them; their mean is rounded to the lower one.
  scores = np.array([1 - 2**-52, 1 - 2**-53])
  found = _of(scores, [False, True], 1).best_threshold(Target("precision"))
  assert (scores >= found).tolist() == [False, True]


def test_counts():
  counts = Counts(gold=8, predicted=4, correct=3)
  assert (counts.precision, counts.recall, counts.f1) == (75.0, 37.5, 50.0)
  assert Counts(0, 0, 0)[:] == (0, 0, 0)
  assert Counts(0, 0, 0).f1 == Counts(0, 0, 0).precision == 0


@pytest.mark.parametrize(
  "text", ["", "f2", "f1:0.5", "recall", "recall:x", "recall:0", "recall:80"]
)
def test_no_target(text: str):
  with pytest.raises(UserError, match="is none of precision:P") as caught:
    Target.parse(text)
  assert "\n" not in str(caught.value)


def test_matched_as_the_scorer_does():
  sentences = [
    Sentence(("a", "b", "c"), (Span(0, 1, "x"), Span(1, 3, "y"))),
    Sentence(("a",), (Span(0, 1, "x"),)),
  ]
  predicted = [
    [ScoredSpan(0, 1, "y", 0.9), ScoredSpan(1, 3, "y", 0.8)],
    [ScoredSpan(0, 1, "x", 0.7)],
  ]
  matched = MatchedPredictions.of(sentences, predicted)
  scores = metrics.score([s.spans for s in sentences], predicted)
  for mine, theirs in (
    (matched, scores),
    *((matched.of_type(x), scores["per_type"][x]) for x in "xy"),
  ):
    counts = mine.counts()
    for measure in ("precision", "recall", "f1"):
      assert getattr(counts, measure) == theirs[measure]
  kept = matched.counts(Thresholds(0.85, {"x": 0.0}))
  assert kept == Counts(3, 2, 1)


def _matched(
  **types: tuple[int, list[tuple[float, bool]]],
) -> MatchedPredictions:
  rows = [(label, *row) for label, (_, x) in types.items() for row in x]
  labels, scores, correct = map(np.array, zip(*rows, strict=True))
  gold = {label: n for label, (n, _) in types.items()}
  return MatchedPredictions(scores, correct, labels, gold)


def test_types_with_enough_mentions_have_thresholds():
  good = [(0.4, True)] * 20 + [(0.3, False)] * 20
  bad = [(0.8, True)] * 20 + [(0.6, False)] * 20
  matched = _matched(
    good=(20, good), bad=(20, bad), rare=(19, [(0.6, False)]), never=(20, [])
  )
  found = best_thresholds(matched, _F1)
  assert found.per_type == pytest.approx({"good": 0.35, "bad": 0.7})
  alike = matched.counts(Thresholds(found.default))
  assert matched.counts(found).f1 > alike.f1


def test_one_threshold_where_it_is_better():
  # Apart, `many` would keep all: 27 of 30. Together with the two mentions that
  # are above any threshold, that would be 27 of 32.
  matched = _matched(
    many=(30, [(0.9, True)] * 20 + [(0.5, True)] * 7 + [(0.5, False)] * 3),
    rare=(10, [(0.95, False)] * 2),
  )
  found = best_thresholds(matched, Target("precision", 90))
  assert found.per_type == {}
  assert matched.counts(found) == Counts(40, 22, 20)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> NerModel:
  return tiny_system.make(tmp_path_factory.mktemp("backbones"))


@pytest.fixture(scope="module")
def sentences(trained: NerModel) -> list[Sentence]:
  """What the system itself says, partly; half of its types are wrong."""
  rng = np.random.default_rng(5)
  letters = list("abcdefghijklmnopqrstuvwxyz")
  texts = [
    Sentence(tuple(map(str, rng.choice(letters, 12)))) for _ in range(40)
  ]
  found = trained.predictor().predict(texts)
  assert sum(map(len, found)) > 60
  return [
    dataclasses.replace(
      s,
      spans=tuple(
        span.span if rng.random() < 0.5 else span.span._replace(label="person")
        for span in row[::2]
      ),
    )
    for s, row in zip(texts, found, strict=True)
  ]


def test_calibration_of_a_model(trained: NerModel, sentences):
  predictor = trained.predictor()

  def calibrated(sentences):
    known = predictor.kind.type_logits(
      predictor.tasks, predictor.read(sentences), Decoding()
    )
    assert known is not None
    return calibrate.calibrate(known)

  temperature, found = calibrated(sentences)
  assert found["temperature"] == temperature != 1.0
  reading = predictor.read(sentences)
  decoding = Decoding(temperature=temperature, thresholds=Thresholds(0.3))
  plain = predictor.decode(reading, Decoding()).mentions
  warm = predictor.decode(reading, decoding).mentions
  assert 0 < sum(map(len, warm)) < sum(map(len, plain))
  # The same mentions, as likely as they would be with a temperature of 1.
  kept = [
    [s for s in row if s.span in [x.span for x in other]]
    for row, other in zip(plain, warm, strict=True)
  ]

  def error(predicted) -> float:
    matched = MatchedPredictions.of(sentences, predicted)
    return calibration.expected_calibration_error(
      matched.scores, matched.correct
    )

  errors = calibrate.score_errors(predictor, reading, decoding, sentences)
  assert errors == {"before": error(kept), "after": error(warm)}
  assert errors["before"] != errors["after"]
  assert (
    found["type_on_gold_dev"]["after"] < found["type_on_gold_dev"]["before"]
  )

  # Mentions of a type that the classifier does not know count nothing.
  detected = predictor.predict(sentences)
  more = []
  for s, row in zip(sentences, detected, strict=True):
    places = {(x.start, x.end) for x in s.spans}
    others = (Span(*x[:2], "unknown") for x in row if x[:2] not in places)
    more.append(dataclasses.replace(s, spans=(*s.spans, *others)))
  assert more != sentences
  assert calibrated(more)[1] == {
    key: pytest.approx(value) for key, value in found.items()
  }

  unlabelled = [dataclasses.replace(s, spans=()) for s in sentences]
  temperature, found = calibrated(unlabelled)
  assert temperature == 1.0
  assert found["type_on_gold_dev"] == {"before": 0.0, "after": 0.0}


def test_recall_is_bought(trained: NerModel, sentences):
  # At first the detector says O too often.
  timid = dataclasses.replace(trained, decoding=Decoding(1.0))
  tuned, text = tune.tune(timid, sentences, Target("recall", 40))
  assert tuned.decoding.outside_bias in tuning.RECALL_BIASES
  assert "o_bias of the detector: 1 before" in text
  assert "recall 40.00 is reached" in text
  predicted = tuned.predictor().predict(sentences)
  counts = MatchedPredictions.of(sentences, predicted).counts()
  assert counts.recall >= 40
  assert f"{counts.recall:.2f}" in text.split("| after")[1]


@pytest.fixture
def model(trained: NerModel, tmp_path: pathlib.Path) -> pathlib.Path:
  model_folder.save(tmp_path / "model", trained)
  return tmp_path / "model"


@pytest.fixture
def dev(sentences, tmp_path: pathlib.Path) -> pathlib.Path:
  formats.write_jsonl(tmp_path / "dev.jsonl", sentences)
  return tmp_path / "dev.jsonl"


def _command(monkeypatch: pytest.MonkeyPatch, **values) -> int | str | None:
  """Runs the command; its status."""
  own = flags.FlagValues()
  monkeypatch.setattr(flags, "FLAGS", own)
  for name in ("DEFINE_string", "DEFINE_integer"):
    define = functools.partial(getattr(flags, name), flag_values=own)
    monkeypatch.setattr(flags, name, define)
  monkeypatch.setattr(compilation, "use_compilation_cache", lambda: 0)
  monkeypatch.setattr(tune, "absl_logging", mock.Mock())
  tune.define_flags()
  argv = ["tune", *(f"--{k}={v}" for k, v in values.items())]
  try:
    tune.main(cli.parse_flags(argv, tune.check_flags))
  except SystemExit as e:
    return e.code
  return 0


def test_command(model, dev, sentences, monkeypatch, capsys):
  target = "precision:0.999"
  assert not _command(monkeypatch, model=model, data=dev, target=target)
  out = capsys.readouterr().out
  loaded = model_folder.load(str(model))
  assert loaded.decoding.thresholds != Thresholds()
  config = json.loads((model / "config.json").read_text())
  assert config["decoding"]["thresholds"]["default"] == (
    loaded.decoding.thresholds.default
  )
  rows = [r.split() for r in out.splitlines() if r.startswith("| all")]
  assert [row[3] for row in rows] == ["before", "after"]
  predictor = loaded.predictor()
  predicted = predictor.predict(sentences, decoding=Decoding())
  kept = predictor.predict(sentences)
  for row, found in zip(rows, (predicted, kept), strict=True):
    scores = metrics.score([s.spans for s in sentences], found)
    figures = [f"{scores[k]:.2f}" for k in ("precision", "recall", "f1")]
    assert row[9::2][:3] == figures
  precision = scores["precision"]
  if precision < 99.9:
    short = f"{precision:.2f}, {99.9 - precision:.2f} too low"
    assert (
      f"cannot be reached on this data: the nearest found is {short}" in out
    )
  else:
    assert "precision 99.90 is reached" in out


def test_other_columns_and_a_home(model, tmp_path, monkeypatch, capsys):
  monkeypatch.setenv("HOME", str(model.parent))
  data = tmp_path / "dev.tsv"
  data.write_text("1 ada B-person N\n2 ran O V\n")
  columns = {"word_column": 1, "tag_column": 2}
  assert not _command(
    monkeypatch, model="~/model", data=data, target="f1", **columns
  )
  assert "| person |" in capsys.readouterr().out


def test_mistakes_are_one_line(model, dev, tmp_path, monkeypatch, capsys):
  (other := tmp_path / "other").mkdir()
  empty = tmp_path / "empty.tsv"
  empty.write_text("a O\n")
  (strange := tmp_path / "strange.tsv").write_text("a B-person\n\nb B-odd\n")
  good = {"model": model, "data": dev, "target": "f1"}
  before = (model / "config.json").read_bytes()
  for message, change in {
    "--model is missing": {"model": ""},
    "no such file": {"data": tmp_path / "no.tsv"},
    "has no mentions": {"data": empty},
    f"{strange}:3: type 'odd' is none of the model's, loc": {"data": strange},
    "no/folder is no folder": {"model": "no/folder"},
    f"{other}: no model of splitner_jax": {"model": other},
    "--target: 'best' is none of": {"target": "best"},
  }.items():
    status = _command(monkeypatch, **good | change)
    monkeypatch.undo()
    shown = capsys.readouterr()
    assert (status, shown.out) == (1, ""), message
    assert message in shown.err
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
  assert (model / "config.json").read_bytes() == before
