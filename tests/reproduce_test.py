"""Tables of made-up reports, and one of real runs of a tiny model."""

import dataclasses
import json
import pathlib

import pytest

from splitner_jax.errors import UserError
from splitner_jax.reproduce import pages, paper, runs
from splitner_jax.settings import as_json


@pytest.fixture
def budget(tmp_path: pathlib.Path) -> runs.Budget:
  return runs.Budget(
    "wnut17",
    "minilm",
    3,
    1e-4,
    (1, 2),
    tmp_path / "results",
    tmp_path / "work",
  )


def _f1(value: float) -> dict[str, float]:
  return {"precision": value, "recall": value, "f1": value}


def _write(budget: runs.Budget, name: str, seed: int, value: float) -> None:
  """A report with this F1 over all sentences; single systems win."""
  config = as_json(runs._config(budget, name, seed))
  counts = {"gold": "1 1 1 1", "predicted": "1 1 1 1", "correct": "1 0 0 0"}
  if "single" in name:
    counts["correct"] = "1 1 1 0"
  recall = {"gold": 4, "detected": 2, "correct": 1}
  scores = {
    "all_sentences": _f1(value),
    "reference_protocol": _f1(value + 10),
    "detection": _f1(value + 20),
    "classification_on_gold": _f1(value + 30),
    "per_sentence": counts,
    "seconds": {"inference": 2.5},
    "errors": {"recall": {"by_words": {"1": recall}, "by_seen": {"s": recall}}},
  }
  folder = runs._folder(budget, name, seed)
  folder.mkdir(parents=True)
  report = {
    "config": config,
    "devices": ["cpu"],
    "machine": "2 cores",
    "seconds": {"a": {"epochs": [10.0, 20.0]}, "b": {"epochs": [5.0]}},
    "dev": scores,
    "test": scores,
  }
  (folder / "report.json").write_text(json.dumps(report))


def _row(page: str, title: str) -> list[str]:
  [line] = [line for line in page.split("\n") if line.startswith(f"| {title} ")]
  return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_table_of_what_there_is(budget):
  _write(budget, "qa_qa", 1, 40.0)
  _write(budget, "qa_qa", 2, 42.0)
  _write(budget, "single_seqtag", 1, 50.0)
  page = pages.page("table2", budget, {"single_qa": ["no more time"]})
  assert _row(page, "SplitNER(QA-QA)")[1:] == [
    "57.25", "51.00 ± 1.41", "41.00 ± 1.41", "2",
  ]  # fmt: skip
  assert _row(page, "Single(SeqTag)")[1:] == ["44.97", "60.00", "50.00", "1"]
  assert _row(page, "Single(QA)")[1:] == ["43.45", "not run", "not run", "0"]
  assert "Not run, no more time: Single(QA)." in page
  assert "Not run, not yet: SplitNER(QA-NoCharPattern-QA), SplitNER(Seq" in page
  # Who wins stands before the table, be it the single-step system.
  first = page.split("\n\n")[1]
  assert first.startswith("**Over all sentences a single-step system wins")
  assert "50.00 against 41.00 of SplitNER(QA-QA)" in first
  assert "-50.00" in first
  assert "--config.seed={1,2}" in page
  assert "`launch/reproduce.sh table2 wnut17`" in page


def test_who_wins_on_the_subset_is_said_apart(budget):
  budget = dataclasses.replace(budget, dataset="bionlp13cg")
  _write(budget, "qa_qa", 1, 70.0)
  _write(budget, "single_seqtag", 1, 60.0)
  _write(budget, "qa_qa_500", 1, 30.0)
  _write(budget, "single_qa_500", 1, 50.0)
  _, whole, subset, *_ = pages.page("table2", budget, {}).split("\n\n")
  assert whole.startswith("**Over all sentences a two-step system wins here")
  assert "70.00 against 60.00 of Single(SeqTag)" in whole
  assert subset.startswith("**Trained on 500 sentences a single-step system")
  assert "50.00 against 30.00 of SplitNER(QA-QA), 500" in subset


@pytest.mark.parametrize("name", pages.TABLES)
@pytest.mark.parametrize("dataset", paper.DATASETS)
def test_every_page_can_be_empty(name, dataset, budget):
  page = pages.page(name, dataclasses.replace(budget, dataset=dataset), {})
  assert page.count("not run") >= len(pages.TABLES[name].rows(dataset))


def test_figures_of_the_other_columns(budget):
  for seed in (1, 2):
    _write(budget, "qa_qa", seed, 40.0)
    _write(budget, "dice", seed, 30.0)
  assert _row(pages.page("table3", budget, {}), "SplitNER(QA-QA)")[1:] == [
    "122.90", "26.00", "20.00 ± 0.00", "2.50 ± 0.00", "2",
  ]  # fmt: skip
  assert _row(pages.page("table4", budget, {}), "SplitNER(QA-QA)")[2] == (
    "60.00 ± 0.00"
  )
  assert _row(pages.page("table6", budget, {}), "dice")[1:3] == [
    "73.40", "60.00 ± 0.00",
  ]  # fmt: skip
  joined = pages.page("joined", budget, {})
  # Found, and of the right type too.
  assert joined.count("50.0 (25.0)") == 2


def test_reports_of_other_settings_do_not_count(budget):
  _write(budget, "qa_qa", 1, 40.0)
  assert len(runs.reports(budget, "qa_qa")) == 1
  other = dataclasses.replace(budget, epochs=4)
  assert runs.reports(other, "qa_qa") == []
  # Where the data lay on that machine is no setting.
  path = runs._folder(budget, "qa_qa", 1) / "report.json"
  report = json.loads(path.read_text())
  report["config"]["data"]["dir"] = "elsewhere"
  path.write_text(json.dumps(report))
  assert len(runs.reports(budget, "qa_qa")) == 1
  path.write_text("{")
  with pytest.raises(UserError, match=r"report.json: cannot be read"):
    runs.reports(budget, "qa_qa")


def test_a_task_is_trained_once_for_all_runs(budget):
  workdir = budget.work / "wnut17" / "qa_qa" / "seed-1"
  for task in ("detector", "classifier"):
    (workdir / task).mkdir(parents=True)
    (workdir / task / "state").write_text(task)
  config = as_json(runs._config(budget, "qa_qa", 1))
  (workdir / "config.json").write_text(json.dumps(config))

  def taken(name: str, seed: int = 1) -> set[str]:
    target = budget.work / "wnut17" / name / f"seed-{seed}"
    runs._take_finished_tasks(budget, name, seed, target)
    return {path.parent.name for path in target.glob("*/state")}

  assert taken("dice") == set()  # That run is not finished.
  (workdir / "report.json").write_text("{}")
  assert taken("dice") == {"detector"}
  assert taken("no_char_pattern") == {"classifier"}
  assert taken("mention") == {"detector"}
  assert taken("none_class") == {"detector"}
  assert taken("single_seqtag") == set()
  assert taken("seqtag_qa", seed=2) == set()
  assert taken("qa_qa_500") == set()  # Other data.

  # The detectors of the folds belong to such a classifier.
  source = budget.work / "wnut17" / "none_class" / "seed-1"
  for task in ("classifier", "detector-fold0"):
    (source / task).mkdir(parents=True)
    (source / task / "state").write_text(task)
  config = as_json(runs._config(budget, "none_class", 1))
  (source / "config.json").write_text(json.dumps(config))
  (source / "report.json").write_text("{}")
  assert taken("joined") == {"detector", "classifier", "detector-fold0"}


def test_what_is_done_is_only_copied(budget, monkeypatch):
  """From the workdir to the results, and then not even that."""
  started = []
  monkeypatch.setattr(
    runs, "_run", lambda *a: started.append(a[1:3]) or "config.x: wrong"
  )
  _write(budget, "qa_qa", 1, 40.0)
  report = runs._folder(budget, "qa_qa", 1)
  workdir = budget.work / "wnut17" / "qa_qa" / "seed-1"
  workdir.parent.mkdir(parents=True)
  report.rename(workdir)
  assert runs.make(budget, "qa_qa") == ["config.x: wrong"]
  assert started == [("qa_qa", 2)]
  assert (report / "report.json").read_text() == (
    workdir / "report.json"
  ).read_text()
  (workdir / "report.json").unlink()
  assert runs.make(budget, "qa_qa") == ["config.x: wrong"]
  assert started == [("qa_qa", 2)] * 2
  assert runs.make(budget, "both_pos") == ["the data has no parts of speech"]


def test_why_a_run_failed(budget, monkeypatch):
  monkeypatch.setattr(
    runs.sys, "executable", str(_script(budget.work, "error: a.tsv:3: odd", 1))
  )
  workdir = budget.work / "wnut17" / "qa_qa" / "seed-1"
  assert runs._run(budget, "qa_qa", 1, workdir) == "a.tsv:3: odd"
  assert "working" in (workdir.parent / "seed-1.log").read_text()
  monkeypatch.setattr(runs.sys, "executable", str(_script(budget.work, "", 0)))
  assert runs._run(budget, "qa_qa", 1, workdir) == ""


def _script(folder: pathlib.Path, last_words: str, status: int) -> pathlib.Path:
  folder.mkdir(parents=True, exist_ok=True)
  path = folder / f"python{status}"
  path.write_text(
    f"#!/bin/sh\necho working >&2\necho '{last_words}' >&2\nexit {status}\n"
  )
  path.chmod(0o755)
  return path
