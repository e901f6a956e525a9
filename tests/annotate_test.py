"""What to annotate: the choice, the curves, what is not done twice."""

import json
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import pytest

from splitner_jax.data.sentences import Sentence, Span
from splitner_jax.reproduce import annotate
from splitner_jax.reproduce.annotate_page import STRATEGIES
from splitner_jax.runtime.errors import UserError
from splitner_jax.tasks.base import Decision
from tests import tiny

# Chosen sentences of the corpus of `tiny.make_wnut`.
_STEP, _MOST = 8, 24


class _Unsure:
  """Is the less sure of a sentence, the more often it has the word "so"."""

  def __init__(self):
    self.asked: list[Sequence[Sentence]] = []

  def decisions(self, sentences: Sequence[Sentence]) -> list[list[Decision]]:
    self.asked.append(sentences)
    return [
      [
        Decision("detector", i, i + 1, "O", 0.5 if word == "so" else 1.0)
        for i, word in enumerate(s.words)
      ]
      for s in sentences
    ]


_TRAIN = [
  Sentence(("so", "no", "no"), (Span(0, 1, "x"),)),  # By words 1/3, in all 1.
  Sentence(("so", "so", "no", "no", "no")),  # 2/5, 2.
  Sentence(("no",)),
  Sentence(("so",)),  # 1, 1.
  Sentence(("no", "no")),
]


@pytest.mark.parametrize(
  ("strategy", "chosen"),
  [
    ("mean", [3, 1, 0, 4, 2]),
    ("sum", [1, 3, 0, 4, 2]),
    ("max", [3, 1, 0, 4, 2]),
    ("random", [4, 3, 2, 1, 0]),
  ],
)
def test_the_least_sure_come_first(strategy: str, chosen: list[int]):
  order = [4, 3, 2, 1, 0]  # That of equals.

  def choose(known: list[int], count: int) -> list[int]:
    given: Any = _Unsure()
    found = annotate._choose(given, _TRAIN, known, order, strategy, count)
    for sentences in given.asked:  # Nobody has annotated them.
      assert not any(sentence.spans for sentence in sentences)
    return found

  assert choose([], 5) == chosen
  assert choose([], 2) == chosen[:2]
  assert choose(chosen[:2], 2) == chosen[2:4]


@pytest.fixture
def trained(
  tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> list[Sequence[Sentence]]:
  """The sentences of each training, none of which is a real one."""
  monkeypatch.chdir(tmp_path)
  tiny.make_backbone(tmp_path / "tiny-bert")
  tiny.make_wnut(tmp_path / "data" / "wnut17")
  rounds: list[Sequence[Sentence]] = []

  def train(experiment, sentences, dev, folder, size):
    assert len(sentences) == size
    assert 0 < len(dev) <= 12
    (folder / f"detector-{size}").mkdir(exist_ok=True)
    rounds.append(sentences)
    return _Unsure()

  def score(predictor, test, sentences):
    assert len(test) == 12
    words = sum(len(s.words) for s in sentences)
    return {
      "sentences": len(sentences),
      "words": words,
      "mentions": 2 * len(sentences),
      "types": 2,
      # Words alone help, and a seed has an accident of its own.
      "f1": words / 10,
      "detection": 80.0,
      "classification": 70.0,
    }

  monkeypatch.setattr(annotate, "_train", train)
  monkeypatch.setattr(annotate, "_score", score)
  return rounds


def _run(tmp_path: pathlib.Path, **options) -> pathlib.Path:
  return annotate.run(
    tmp_path / "results",
    tmp_path / "work",
    **{
      "dataset": "wnut17",
      "backbone": str(tmp_path / "tiny-bert"),
      "epochs": 1,
      "step": _STEP,
      "most": _MOST,
    }
    | options,
  )


def _report(tmp_path: pathlib.Path, strategy: str, seed: int) -> dict:
  folder = tmp_path / "results" / "runs" / "annotate" / strategy
  return json.loads((folder / f"seed-{seed}" / "report.json").read_text())


def test_curves(tmp_path: pathlib.Path, trained: list[Sequence[Sentence]]):
  page = _run(tmp_path, strategies=("random", "sum"), seeds=(1, 2))
  assert [len(row) for row in trained] == [8, 16, 24] * 4
  reports = {
    (strategy, seed): _report(tmp_path, strategy, seed)
    for strategy in ("random", "sum")
    for seed in (1, 2)
  }
  for report in reports.values():
    chosen = report["chosen"]
    assert len(set(chosen)) == len(chosen) == _MOST
    assert [r["sentences"] for r in report["rounds"]] == [8, 16, 24]
  # All strategies begin alike, and seeds do not.
  first = {key: report["chosen"][:8] for key, report in reports.items()}
  assert first["random", 1] == first["sum", 1] != first["sum", 2]
  # What is unsure was chosen.
  random, unsure = trained[1], trained[7]
  assert trained[0] == trained[6]
  assert sum(s.words.count("so") for s in unsure) > sum(
    s.words.count("so") for s in random
  )
  text = page.read_text()
  gained = [
    reports["sum", seed]["rounds"][2]["f1"]
    - reports["random", seed]["rounds"][2]["f1"]
    for seed in (1, 2)
  ]
  assert f"({sum(gained) / 2:+.2f})" in text
  assert "(+0.00)" in text  # The first round.
  by_seed = ", ".join(f"{value:+.2f}" for value in gained)
  assert f"({sum(gained) / 2:+.2f}; by seed {by_seed})" in text
  words = [
    sum(reports[strategy, seed]["rounds"][2]["words"] for seed in (1, 2))
    for strategy in ("sum", "random")
  ]
  assert f"They have {words[0] / words[1]:.2f} of the words" in text
  assert "seeds 1, 2" in text
  assert (tmp_path / "results" / "annotate.png").read_bytes()[1:4] == b"PNG"
  for published in (text, json.dumps(reports["sum", 1])):
    # Neither sentences nor folders.
    assert "oslo" not in published
    assert str(tmp_path) not in published
  # Checkpoints of all rounds would fill a disk.
  assert not list((tmp_path / "work").rglob("detector-*"))


def test_nothing_is_done_twice(
  tmp_path: pathlib.Path,
  trained: list[Sequence[Sentence]],
  monkeypatch: pytest.MonkeyPatch,
):
  whole = annotate._score

  def cut_off(predictor, test, sentences):
    if len(sentences) == 16:
      raise InterruptedError
    return whole(predictor, test, sentences)

  monkeypatch.setattr(annotate, "_score", cut_off)
  with pytest.raises(InterruptedError):
    _run(tmp_path, strategies=("mean",), seeds=(3,))
  page = tmp_path / "results" / "annotate.md"
  assert re.search(r"\n\| +16 \| +- \|\n", page.read_text())
  monkeypatch.setattr(annotate, "_score", whole)
  _run(tmp_path, strategies=("mean",), seeds=(3,))
  assert [len(row) for row in trained] == [8, 16, 16, 24]
  assert trained[1] == trained[2]
  text = page.read_text()
  page.unlink()
  # Neither data nor work is needed for the page.
  (tmp_path / "data").rename(tmp_path / "gone")
  assert _run(tmp_path, train=False).read_text() == text
  assert _run(tmp_path, strategies=("mean",), seeds=(3,)).read_text() == text
  assert len(trained) == 4


@pytest.mark.usefixtures("trained")
def test_mistakes(tmp_path: pathlib.Path):
  with pytest.raises(UserError, match=r"^best: no strategy .* random, mean"):
    _run(tmp_path, strategies=("best",))
  with pytest.raises(UserError, match="has 40 training sentences, fewer"):
    _run(tmp_path, most=48)
  _run(tmp_path, strategies=("max",), seeds=(1,))
  with pytest.raises(UserError, match="is of other settings"):
    _run(tmp_path, strategies=("max",), seeds=(1,), epochs=2)
  tiny.make_wnut(tmp_path / "data" / "wnut17", train=50)
  path = tmp_path / "results/runs/annotate/max/seed-1/report.json"
  report = json.loads(path.read_text())
  report["rounds"].pop()
  path.write_text(json.dumps(report))
  with pytest.raises(UserError, match="is of other data"):
    _run(tmp_path, strategies=("max",), seeds=(1,))


@pytest.mark.slow
def test_a_real_round(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch):
  monkeypatch.chdir(tmp_path)
  tiny.make_backbone(tmp_path / "tiny-bert")
  tiny.make_wnut(tmp_path / "data" / "wnut17")
  _run(
    tmp_path,
    strategies=("mean",),
    seeds=(1,),
    step=32,
    most=32,
    epochs=4,
    learning_rate=0.01,
  )
  [found] = _report(tmp_path, "mean", 1)["rounds"]
  assert (found["sentences"], found["mentions"]) == (32, 64)
  assert 0 < found["f1"] <= found["detection"] <= 100
  assert 0 < found["classification"] <= 100


@pytest.mark.usefixtures("trained")
def test_a_page_of_nothing_yet(tmp_path: pathlib.Path):
  page = _run(tmp_path, train=False)
  assert page.read_text().startswith("# What to annotate next, on WNUT17\n")


def test_strategies_are_the_measures():
  assert STRATEGIES == ("random", "mean", "sum", "max")
