"""Nested mentions and relations: the sentences, the runs, the pages."""

import collections
import json
import pathlib
from typing import Any

import pytest

from splitner_jax.inference import model_folder
from splitner_jax.reproduce import generated, nested, other_tasks, relations
from splitner_jax.training import loop
from tests import tiny


def _tokens(path: pathlib.Path) -> set[str]:
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  return {word for row in rows for word in row["tokens"]}


@pytest.mark.parametrize("task", other_tasks.TASKS)
def test_sentences(task: str, tmp_path: pathlib.Path) -> None:
  """Always the same, none twice; names of test are not in train."""
  files = generated.write(tmp_path / "a", task)
  again = generated.write(tmp_path / "b", task)
  other = generated.write(tmp_path / "c", task, seed=1)
  for split, count in generated.SIZES.items():
    rows = files[split].read_text().splitlines()
    assert len(rows) == len(set(rows)) == count
    assert rows == again[split].read_text().splitlines()
    assert rows != other[split].read_text().splitlines()
  names = set(generated.all_names(task))
  train, test = _tokens(files["train"]), _tokens(files["test"])
  assert len(train & names) > 50
  assert not train & test & names
  # Some of what dev and test say is said in no sentence of train.
  assert test - train - names


def test_types_do_not_tell_relations(tmp_path: pathlib.Path) -> None:
  train = relations.read(generated.write(tmp_path, "relations")["train"])
  seen: dict[tuple[str, str], set[str]] = collections.defaultdict(set)
  for row in relations.gold_pairs(train):
    for pair in row:
      seen[pair.head.label, pair.tail.label].add(pair.label)
  assert seen["PERSON", "COMPANY"] == {"works_for", "founded", ""}
  assert seen["COMPANY", "COMPANY"] == {"part_of", ""}
  assert seen["PERSON", "PERSON"] == {"reports_to", ""}


def test_names_do_not_tell_types(tmp_path: pathlib.Path) -> None:
  train = nested.read(generated.write(tmp_path, "nested")["train"])
  types: dict[str, set[str]] = collections.defaultdict(set)
  depths: collections.Counter[int] = collections.Counter()
  for sentence in train:
    depths.update(nested.depths(sentence.spans))
    for start, end, label in sentence.spans:
      if end == start + 1:
        types[sentence.words[start]].add(label)
  of_both = [name for name, of in types.items() if len(of) == 2]
  assert len(of_both) > len(types) / 2
  assert set(depths) == {0, 1, 2}


def _run(name: str, folder: pathlib.Path, **options: Any) -> str:
  page = other_tasks.run(
    name,
    folder / "results",
    folder / "work",
    backbone=str(folder / "backbone"),
    epochs=1,
    learning_rate=0.01,
    seeds=(1,),
    **options,
  )
  return page.read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("name", other_tasks.TASKS)
def test_trains_scores_and_keeps(
  name: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  sizes = {"train": 24, "dev": 6, "test": 8}
  monkeypatch.setattr(generated, "SIZES", sizes)
  tiny.make_backbone(tmp_path / "backbone")
  page = _run(name, tmp_path)
  path = tmp_path / "results" / "runs" / name / "report.json"
  report = json.loads(path.read_text())
  systems = report["seeds"]["1"]["systems"]
  assert "24 of train, 6 of dev, 8 of test" in page
  if name == "nested":
    assert systems["nested"]["gold"] == systems["splitner"]["gold"]
    levels = systems["nested"]["levels"]
    assert sum(row["gold"] for row in levels) == systems["nested"]["gold"]
    assert all(row["gold"] for row in levels)
    shown = [systems["nested"]["f1"], systems["splitner"]["f1"]]
    model = tmp_path / "work" / name / "seed-1" / "nested" / "model"
    test = nested.read(tmp_path / "work" / name / "sentences" / "test.jsonl")
    found = model_folder.load(str(model)).predictor().predict(test)
    assert sum(map(len, found)) == systems["nested"]["predicted"]
  else:
    assert systems["pairs"]["gold"]["gold"] == systems["types"]["gold"]["gold"]
    shown = [
      systems[s]["gold"]["f1"] for s in ("pairs", "one mention", "types")
    ]
    assert systems["types"]["gold"]["f1"] > 0
    model = tmp_path / "work" / name / "seed-1" / "pairs" / "model"
    test = relations.read(tmp_path / "work" / name / "sentences" / "test.jsonl")
    predictor = model_folder.load(str(model)).predictor()
    found = predictor.tasks["relations"].evaluate(
      predictor.forwards["relations"], test, predictor.decoding
    )
    assert found == systems["pairs"]["gold"]
  for figure in shown:
    assert f" {figure:.2f} |" in page

  # What is done is not done again.
  monkeypatch.setattr(loop, "train", None)
  assert _run(name, tmp_path) == page
