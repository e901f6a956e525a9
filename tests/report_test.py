"""What a run leaves behind: reports and predictions."""

import json
import re

import pytest

from splitner_jax.data import corpora, formats
from splitner_jax.data.sentences import Span
from splitner_jax.evaluation import metrics
from splitner_jax.experiment import report
from tests import runs

_SPLITS = ("dev", "test")
_SCORES = (
  "all_sentences",
  "reference_protocol",
  "detection",
  "classification_on_gold",
)


@pytest.fixture(scope="module")
def run(session_cache):
  return runs.finished(session_cache / "tiny")


@pytest.fixture(scope="module")
def workdir(run):
  return run[0]


@pytest.fixture(scope="module")
def result(workdir):
  return json.loads((workdir / "report.json").read_text())


@pytest.fixture(scope="module")
def corpus(result):
  data = result["config"]["data"]
  return corpora.load(data["name"], data["dir"])


@pytest.mark.parametrize("split", _SPLITS)
def test_scores_of_a_split(result, corpus, split):
  scores = result[split]
  sentences = getattr(corpus, split)
  mentions = sum(len(s.spans) for s in sentences)
  assert scores["sentences"] == len(sentences) == 12
  assert scores["gold_mentions"] == mentions == 24
  # A sentence that is too long is read in parts: nothing is lost.
  assert "gold_lost_to_length" not in scores
  for name in _SCORES:
    rows = [scores[name], *scores[name].get("per_type", {}).values()]
    for row in rows:
      _check_figures(row)
    assert ("per_type" in scores[name]) == (name != "detection")
    if name != "reference_protocol":
      assert scores[name]["gold"] == mentions
  assert scores["all_sentences"]["per_type"].keys() == {"location", "person"}
  assert scores["classification_on_gold"]["predicted"] == mentions
  # The model has learnt something: nothing above is true of zeros only.
  assert scores["detection"]["correct"] > scores["all_sentences"]["correct"] > 0


def _check_figures(row):
  precision, recall = row["precision"], row["recall"]
  if row["predicted"]:
    share = row["correct"] / row["predicted"]
    assert precision == pytest.approx(100 * share)
  if row["gold"]:
    assert recall == pytest.approx(100 * row["correct"] / row["gold"])
  if row["correct"]:
    harmonic = 2 * precision * recall / (precision + recall)
    assert row["f1"] == pytest.approx(harmonic)
  else:
    assert row["f1"] == 0


def test_calibration(result, workdir):
  found = result["calibration"]
  assert found.keys() == {
    "temperature",
    "type_on_gold_dev",
    "entity_score_on_test",
  }
  model = json.loads((workdir / "model" / "config.json").read_text())
  stored = model["decoding"]["temperature"]
  # The detector finds too few of the 24 for another.
  assert stored == found["temperature"] == 1.0
  text = " ".join((workdir / "report.md").read_text().split())
  assert f"fitted on dev: {stored:.3f}." in text
  for key in ("type_on_gold_dev", "entity_score_on_test"):
    before, after = found[key]["before"], found[key]["after"]
    assert 0 <= after <= 100
    assert before == after
    assert f"{before:.2f} before, {after:.2f} after" in text


def test_seconds(result):
  for name in ("detector", "classifier"):
    seconds, training = result["seconds"][name], result["training"][name]
    assert len(seconds["epochs"]) == len(training["evaluations"])
    # Compiling takes seconds, such an epoch does not.
    assert 0 < max(seconds["epochs"]) < seconds["compile"]
  for split in _SPLITS:
    assert result[split]["seconds"]["inference"] > 0
    assert result[split]["seconds"]["compile"] >= 0


def test_training(result):
  # The classifier reads a sentence once, and counts its mentions.
  for name, items in (("detector", 40), ("classifier", 80)):
    training = result["training"][name]
    f1 = [e["f1"] for e in training["evaluations"]]
    assert training["examples"] == 40
    # Eight to a batch, or less: so few have much padding.
    assert 1 <= 8 * training["steps"] / (len(f1) * items) < 1.5
    assert training["best_dev_f1"] == max(f1)
    assert training["best_epoch"] == 1 + f1.index(max(f1))
    assert training["gold_lost_to_length"] == 0
    assert 0 <= training["padding"] < 1
    assert 0 <= training["inference_padding"] < 1
    assert training["shapes"]
  best = result["training"]["detector"]["best_dev_f1"]
  assert result["dev"]["detection"]["f1"] == best


def test_says_what_was_run(result, workdir, corpus):
  kept = json.loads((workdir / "config.json").read_text())
  assert kept.pop("content_hash") == corpus.content_hash
  assert set(kept.pop("sources")) == {"detector", "classifier"}
  assert result["config"] == kept
  assert len(result["devices"]) == 2
  assert result["corpus"]["content_hash"] == corpus.content_hash
  assert result["corpus"]["sentences"] == {"train": 40, "dev": 12, "test": 12}


def test_the_readable_report(result, run):
  workdir, printed = run
  text = (workdir / "report.md").read_text()
  assert text == report.markdown(result)
  headings = re.findall("^#+ (.*)$", text, flags=re.M)
  assert headings == [
    "SplitNER on wnut17",
    "Scores",
    "Dev by type",
    "Test by type",
    "Training",
  ]
  scores, dev, test = _tables(text)
  assert scores in printed
  rows = [(key, split) for key in _SCORES for split in _SPLITS]
  rows.insert(4, ("raw_text", "test"))
  assert len(scores.splitlines()) == 2 + 9
  for line, (key, split) in zip(scores.splitlines()[2:], rows, strict=True):
    row = result[split][key]
    figures = [f"{row[k]:.2f}" for k in ("precision", "recall", "f1")]
    assert [cell.strip() for cell in line.split("|")[2:-1]] == [split, *figures]
  for table, split in ((dev, "dev"), (test, "test")):
    by_type = result[split]["all_sentences"]["per_type"]
    for line, (label, row) in zip(
      table.splitlines()[2:], by_type.items(), strict=True
    ):
      assert line.split()[1:4] == [label, "|", str(row["gold"])]


def _tables(text):
  """The tables, each a valid one in Markdown."""
  tables = re.findall(r"(?:^\|.*\n)+", text, flags=re.M)
  for table in tables:
    _, rule, *_ = lines = table.splitlines()
    assert re.fullmatch(r"\|( -+:? \|)+", rule)
    assert len({(len(line), line.count("|")) for line in lines}) == 1
  return [table.strip() for table in tables]


def test_a_corpus_without_test(result):
  calibrated = dict(result["calibration"])
  del calibrated["entity_score_on_test"]
  rest = {k: v for k, v in result.items() if k != "test"}
  text = report.markdown(rest | {"calibration": calibrated})
  assert "## Dev by type" in text
  assert "Test by type" not in text
  assert "on test" not in text
  assert not re.search(r"\| test +\|", text)


@pytest.mark.parametrize("split", _SPLITS)
def test_predictions_hold_gold_and_what_was_scored(
  result, corpus, workdir, split
):
  stem = workdir / "predictions" / split
  sentences = getattr(corpus, split)
  gold = [(s.words, s.spans) for s in sentences]

  rows = formats.read(stem.with_suffix(".tsv"), tag_column=1)
  assert [(s.words, s.spans) for s in rows] == gold
  rows = formats.read(stem.with_suffix(".jsonl"))
  assert [(s.words, s.spans) for s in rows] == gold

  in_columns = [s.spans for s in formats.read(stem.with_suffix(".tsv"))]
  in_json = []
  for line in stem.with_suffix(".jsonl").read_text().splitlines():
    predicted = json.loads(line)["predicted"]
    assert all(0 < p["score"] <= 1 for p in predicted)
    in_json.append(
      tuple(Span(p["start"], p["end"], p["label"]) for p in predicted)
    )
  assert in_columns == in_json
  scores = metrics.score([s.spans for s in sentences], in_columns)
  assert scores == result[split]["all_sentences"]


def test_no_temporary_file_is_left(workdir):
  files = [path.name for path in workdir.rglob("*")]
  assert len(files) > 10
  assert not [name for name in files if "tmp" in name]


def test_json_has_no_nan(workdir):
  def refuse(constant):
    raise AssertionError(constant)

  json.loads((workdir / "report.json").read_text(), parse_constant=refuse)
