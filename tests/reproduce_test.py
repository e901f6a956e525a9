"""Tables of made-up reports, and one of real runs of a tiny model."""

import dataclasses
import json
import pathlib
import subprocess
import sys
import types

import pytest

from splitner_jax.experiment.run_folder import locked
from splitner_jax.experiment.settings import as_json
from splitner_jax.reproduce import pages, paper, runs, tables
from splitner_jax.runtime.errors import UserError


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


def _write(
  budget: runs.Budget,
  name: str,
  seed: int,
  value: float,
  dev: float | None = None,
  repeats: int = 1,
) -> None:
  """A report with this F1 over all sentences; single systems win."""
  config = as_json(runs.config_of(budget, name, seed))
  correct = "1 1 1 0 " if "single" in name else "1 0 0 0 "
  counts = {
    "gold": "1 1 1 1 " * repeats,
    "predicted": "1 1 1 1 " * repeats,
    "correct": correct * repeats,
  }
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
    "corpus": {"content_hash": "c0ffee"},
    "devices": ["cpu"],
    "machine": "2 cores",
    "seconds": {"a": {"epochs": [10.0, 20.0]}, "b": {"epochs": [5.0]}},
    "dev": scores | {"all_sentences": _f1(value if dev is None else dev)},
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
  # The best on test, but not on dev; of single steps it is the other way.
  _write(budget, "no_char_pattern", 1, 48.0, dev=10.0)
  _write(budget, "single_qa", 1, 30.0, dev=90.0)
  page = pages.page("table2", budget, {"seqtag_qa": ["no more time"]})
  assert _row(page, "SplitNER(QA-QA)")[1:] == [
    "57.25", "51.00 ± 1.41", "41.00 ± 1.41", "2",
  ]  # fmt: skip
  assert _row(page, "Single(SeqTag)")[1:] == ["44.97", "60.00", "50.00", "1"]
  row = _row(page, "SplitNER(SeqTag-QA)")
  assert row[1:] == ["56.10", "not run", "not run", "0"]
  assert "Not run, no more time: SplitNER(SeqTag-QA)." in page
  # Who wins stands before the table, be it the single-step system.
  first = page.split("\n\n")[1]
  assert first.startswith(
    "**Over all sentences a single-step system is ahead here, which may be "
    "chance: Single(SeqTag), "
  )
  # Of seed 1 alone, which both have.
  assert "50.00 against 40.00 of SplitNER(QA-QA)" in first
  assert "less one step, over the seeds that both have (1): " in first
  assert "-50.00" in first
  assert "--config.seed={1,2}" in page
  assert ":single_seqtag --config.backbone=minilm" in page
  assert ":seqtag_qa" not in page  # Nothing was run by that command.
  assert "`launch/reproduce.sh table2 wnut17`" in page


def test_who_wins_on_the_subset_is_said_apart(budget):
  budget = dataclasses.replace(budget, dataset="bionlp13cg")
  _write(budget, "qa_qa", 1, 70.0, repeats=20)
  _write(budget, "single_seqtag", 1, 60.0, repeats=20)
  _write(budget, "qa_qa_500", 1, 30.0, repeats=20)
  _write(budget, "single_qa_500", 1, 50.0, repeats=20)
  _, whole, subset, *_ = pages.page("table2", budget, {}).split("\n\n")
  assert whole.startswith("**Over all sentences a two-step system wins here")
  assert "70.00 against 60.00 of Single(SeqTag)" in whole
  assert "less one step, over the pooled seeds: " in whole
  assert subset.startswith("**Trained on 500 sentences a single-step system")
  assert "50.00 against 30.00 of SplitNER(QA-QA), 500" in subset


@pytest.mark.parametrize("name", tables.TABLES)
@pytest.mark.parametrize("dataset", paper.DATASETS)
def test_every_page_can_be_empty(name, dataset, budget):
  page = pages.page(name, dataclasses.replace(budget, dataset=dataset), {})
  assert page.count("not run") >= len(tables.TABLES[name].rows(dataset))


def test_figures_of_the_other_columns(budget):
  for seed in (1, 2):
    _write(budget, "qa_qa", seed, 40.0)
    _write(budget, "dice", seed, 30.0)
  assert _row(pages.page("table4", budget, {}), "SplitNER(QA-QA)")[2] == (
    "60.00 ± 0.00"
  )
  assert _row(pages.page("table6", budget, {}), "dice")[1:3] == [
    "73.40", "60.00 ± 0.00",
  ]  # fmt: skip
  joined = pages.page("joined", budget, {})
  # Found, and of the right type too.
  assert joined.count("50.0 (25.0)") == 2


def test_differences_are_of_the_seeds_that_both_have(budget):
  for seed, dev, test in ((1, 50.0, 40.0), (2, 52.0, 44.0), (3, 90.0, 90.0)):
    _write(budget, "tuned", seed, test, dev=dev, repeats=20)
  for seed, dev, test in ((1, 51.0, 50.0), (2, 52.0, 56.0)):
    _write(budget, "capitals", seed, test, dev=dev, repeats=20)
  page = pages.page("features", budget, {})
  _, _, differences = page.partition("## Differences to SplitNER")
  row = _row(differences, "both, capitals of the sentence")
  assert row[1:4] == ["1, 2", "+0.50", "+11.00"]
  assert "| none |" not in differences  # Nothing to compare.


def test_reports_of_other_settings_are_not_mixed_in(budget):
  _write(budget, "qa_qa", 1, 40.0)
  assert _count(budget) == 1
  other = dataclasses.replace(budget, epochs=4)
  with pytest.raises(UserError, match=r"seed-1/report.json: is of other set"):
    _count(other)
  # Where the data lay on that machine is no setting.
  path = runs._folder(budget, "qa_qa", 1) / "report.json"
  report = json.loads(path.read_text())
  report["config"]["data"]["dir"] = "elsewhere"
  path.write_text(json.dumps(report))
  assert _count(budget) == 1
  path.write_text("{")
  with pytest.raises(UserError, match=r"report.json: cannot be read"):
    _count(budget)


def test_what_is_set_for_all_runs(budget):
  budget = dataclasses.replace(budget, more={"row_length": 64})
  _write(budget, "qa_qa", 1, 40.0)
  assert _count(budget) == 1
  # The other runs are apart.
  assert _count(dataclasses.replace(budget, more={})) == 0
  page = pages.page("table2", budget, {})
  assert "`launch/reproduce.sh table2 wnut17 --set=row_length=64`" in page
  assert "--config.row_length=64" in page
  assert "`runs/wnut17-row_length=64`" in page


@pytest.mark.parametrize(
  ("given", "said"),
  [
    ("row_lengt=64", "is not FIELD=VALUE with a field of the config"),
    ("row_length", "is not FIELD=VALUE with a field of the config"),
    ("row_length=many", "row_length is a number"),
  ],
)
def test_what_cannot_be_set(given, said):
  process = _command("table2", f"--set={given}", "--norun")
  assert process.returncode == 1
  assert process.stderr.startswith(f"error: --set={given}: ")
  assert said in process.stderr


def test_f1_against_time(budget):
  for name, epochs in (
    ("tuned", 3),
    ("tuned_10", 5),
    ("single_seqtag_tuned", 3),
  ):
    _write(budget, name, 1, 40.0 + epochs)
    path = runs._folder(budget, name, 1) / "report.json"
    report = json.loads(path.read_text())
    report["corpus"]["sentences"] = {"train": 1200}
    report["training"] = {"a": {"evaluations": [{}] * epochs}}
    path.write_text(json.dumps(report))
  assert "minutes" not in pages.page("budget", budget, {})  # Not measured.
  folder = budget.results / "throughput-wnut17"
  folder.mkdir()
  speeds = {"splitner": 20.0, "single_seqtag": 60.0}
  measured = {
    "machine": {"name": "1 x cpu"},
    "systems": {
      name: {"train": {"sentences_per_s": v}} for name, v in speeds.items()
    },
  }
  (folder / "benchmark.json").write_text(json.dumps(measured))
  page = pages.page("budget", budget, {})
  times, _, scores = page.partition("Beyond the paper")
  assert _row(times, "SplitNER, at most 10 epochs")[1:] == ["5.0", "5.0"]
  assert _row(times, "Single(SeqTag), at most 3 epochs")[1:] == ["3.0", "1.0"]
  assert _row(scores, "SplitNER, at most 10 epochs")[1] == "45.00"
  assert "SplitNER 20.0, Single(SeqTag) 60.0 sentences a second" in page
  picture = (budget.results / "budget-wnut17.png").read_bytes()
  assert picture.startswith(b"\x89PNG")


def _count(budget: runs.Budget) -> int:
  return len(runs.reports(budget, ["qa_qa"])["qa_qa"])


def test_a_page_is_of_one_corpus(budget):
  _write(budget, "qa_qa", 1, 40.0)
  _write(budget, "dice", 1, 40.0)
  path = runs._folder(budget, "dice", 1) / "report.json"
  path.write_text(path.read_text().replace("c0ffee", "decaf"))
  with pytest.raises(UserError, match=r"dice/seed-1: is of other data \(conte"):
    runs.reports(budget, ["qa_qa", "dice"])
  # Of a part of the data, it is another anyway.
  other = dataclasses.replace(budget, dataset="bionlp13cg")
  _write(other, "qa_qa", 1, 40.0)
  _write(other, "qa_qa_500", 1, 40.0)
  path = runs._folder(other, "qa_qa_500", 1) / "report.json"
  path.write_text(path.read_text().replace("c0ffee", "decaf"))
  found = runs.reports(other, ["qa_qa", "qa_qa_500"])
  assert [len(rows) for rows in found.values()] == [1, 1]


def test_a_task_is_trained_once_for_all_runs(budget):
  workdir = budget.workdirs / "qa_qa" / "seed-1"
  for task in ("detector", "classifier"):
    (workdir / task).mkdir(parents=True)
    (workdir / task / "state").write_text(task)
  config = as_json(runs.config_of(budget, "qa_qa", 1)) | {"content_hash": "a"}
  (workdir / "config.json").write_text(json.dumps(config))

  def taken(name: str, seed: int = 1, content: str = "a") -> set[str]:
    target = budget.workdirs / name / f"seed-{seed}"
    runs._take_finished_tasks(budget, name, seed, target, content)
    return {path.parent.name for path in target.glob("*/state")}

  assert taken("dice") == set()  # That run is not finished.
  (workdir / "report.json").write_text("{}")
  assert taken("dice", content="b") == set()
  assert taken("dice") == {"detector"}
  # The command goes on there: the folder says what is in it.
  own = budget.workdirs / "dice" / "seed-1"
  with locked(runs.config_of(budget, "dice", 1), own, "a"):
    pass
  assert taken("no_char_pattern") == {"classifier"}
  assert taken("mention") == {"detector"}
  assert taken("none_class") == {"detector"}
  assert taken("groups_wnut17") == {"classifier"}
  assert taken("single_seqtag") == set()
  assert taken("seqtag_qa", seed=2) == set()
  assert taken("qa_qa_500") == set()  # Other data.

  # The detectors of the folds belong to such a classifier.
  source = budget.workdirs / "none_class" / "seed-1"
  for task in ("classifier", "detector-fold0"):
    (source / task).mkdir(parents=True)
    (source / task / "state").write_text(task)
  config = as_json(runs.config_of(budget, "none_class", 1))
  config["content_hash"] = "a"
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
  workdir = budget.workdirs / "qa_qa" / "seed-1"
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
  corpus = types.SimpleNamespace(content_hash="a")
  monkeypatch.setattr(runs, "load_corpus", lambda data: corpus)
  monkeypatch.setattr(
    runs.sys, "executable", str(_script(budget.work, "error: a.tsv:3: odd", 1))
  )
  workdir = budget.workdirs / "qa_qa" / "seed-1"
  assert runs._run(budget, "qa_qa", 1, workdir) == "a.tsv:3: odd"
  assert "working" in (workdir.parent / "seed-1.log").read_text()
  monkeypatch.setattr(runs.sys, "executable", str(_script(budget.work, "", 0)))
  assert runs._run(budget, "qa_qa", 1, workdir) == ""
  # The end of a traceback has nothing to tell to readers of the page.
  monkeypatch.setattr(
    runs.sys, "executable", str(_script(budget.work, "KeyError: /home/me", 1))
  )
  assert runs._run(budget, "qa_qa", 1, workdir) == runs._FAILED

  def missing(data):
    raise UserError("no such file")

  monkeypatch.setattr(runs, "load_corpus", missing)
  assert runs._run(budget, "qa_qa", 1, workdir) == "no such file"


def test_a_task_is_taken_whole_or_not_at_all(budget, monkeypatch):
  """Also where there are no hard links, and after a copy that was cut off."""
  source = budget.workdirs / "qa_qa" / "seed-1"
  for name in ("a", "b"):
    (source / "detector" / name).mkdir(parents=True)
    (source / "detector" / name / "state").write_text(name)
  config = as_json(runs.config_of(budget, "qa_qa", 1)) | {"content_hash": "a"}
  (source / "config.json").write_text(json.dumps(config))
  (source / "report.json").write_text("{}")
  target = budget.workdirs / "dice" / "seed-1"

  def cut_off(source, target):
    if pathlib.Path(source).parent.name == "b":
      raise KeyboardInterrupt
    raise OSError("no links here")

  monkeypatch.setattr(runs.os, "link", cut_off)
  with pytest.raises(KeyboardInterrupt):
    runs._take_finished_tasks(budget, "dice", 1, target, "a")
  assert not (target / "detector").exists()

  def no_links(source, target):
    raise OSError("no links here")

  monkeypatch.setattr(runs.os, "link", no_links)
  runs._take_finished_tasks(budget, "dice", 1, target, "a")
  kept = sorted(p.read_text() for p in target.glob("detector/*/state"))
  assert kept == ["a", "b"]


def _script(folder: pathlib.Path, last_words: str, status: int) -> pathlib.Path:
  folder.mkdir(parents=True, exist_ok=True)
  path = folder / f"python{status}"
  path.write_text(
    f"#!/bin/sh\necho working >&2\necho '{last_words}' >&2\nexit {status}\n"
  )
  path.chmod(0o755)
  return path


def _command(*arguments: str) -> subprocess.CompletedProcess[str]:
  return subprocess.run(
    [sys.executable, "-m", "splitner_jax.reproduce", *arguments],
    cwd=pathlib.Path(__file__).parents[1],
    capture_output=True,
    text=True,
    check=False,
  )


def test_pages_with_settings_of_their_own():
  process = _command("imbalance", "--epochs=4")
  assert process.returncode == 1
  assert process.stderr == (
    "error: --epochs: imbalance has settings of its own and takes none of a "
    "table; leave it out\n"
  )
  process = _command("annotate", "mean", "--seeds=1", "--learning_rate=1")
  assert process.stderr.startswith("error: --learning_rate: annotate has")


def test_a_run_that_failed_is_told_apart_from_success(tmp_path):
  process = _command(
    "table4",
    "ctireports",
    f"--results={tmp_path / 'results'}",
    f"--work={tmp_path / 'work'}",
  )
  assert process.returncode == 1
  last = process.stderr.splitlines()[-1]
  assert last == "error: these failed, see the page: qa_qa, no_char_pattern"
  page = (tmp_path / "results" / "table4-ctireports.md").read_text()
  assert "Not run, " in page
  assert "config.data" in page
