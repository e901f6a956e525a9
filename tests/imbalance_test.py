"""Losses on imbalanced types: the subset, the page, what is not done twice."""

import json
from typing import Any

import pytest

from splitner_jax.data.sentences import Sentence, Span
from splitner_jax.reproduce import imbalance
from splitner_jax.runtime.errors import UserError
from splitner_jax.training import loop
from tests import tiny


def _sentences(counts: dict[str, int]) -> list[Sentence]:
  """Sentences of two words with one mention, and one without any."""
  rows = [
    Sentence((label, str(i)), (Span(0, 1, label),))
    for label, count in counts.items()
    for i in range(count)
  ]
  return [*rows, Sentence(("nothing",))]


def _count(sentences) -> dict[str, int]:
  labels = [span.label for s in sentences for span in s.spans]
  return {label: labels.count(label) for label in sorted(set(labels))}


def test_each_type_has_a_share_of_the_one_before():
  everyone = _sentences({"a": 900, "b": 800, "c": 700, "d": 60, "e": 2})

  kept = imbalance.imbalanced(everyone)

  assert imbalance.types_by_frequency(everyone) == list("abcde")
  # 600, 360, 216; of d fewer than 130, of e fewer than the least are there.
  assert _count(kept) == {"a": 600, "b": 360, "c": 216, "d": 60, "e": 2}
  assert all(s.spans for s in kept)


def test_the_commonest_type_sets_the_scale_and_three_stay():
  kept = imbalance.imbalanced(_sentences({"a": 20, "b": 19, "c": 18, "d": 17}))
  assert _count(kept) == {"a": 20, "b": 12, "c": 7, "d": 4}
  kept = imbalance.imbalanced(_sentences({"a": 5, "b": 5, "c": 5, "d": 5}))
  assert _count(kept) == {"a": 5, "b": 3, "c": 3, "d": 3}


def test_which_mentions_stay_is_decided_by_text_and_place_alone():
  everyone = _sentences({"a": 30, "b": 30})
  kept = imbalance.imbalanced(everyone)
  assert set(kept) == set(imbalance.imbalanced(everyone[::-1]))
  # Not just the first ones.
  assert kept != [s for s in everyone if s.spans][:48]
  few = imbalance.limited(everyone, 10)
  assert sum(_count(few).values()) == 10
  assert set(few) == set(imbalance.limited(everyone[::-1], 10))


def test_a_sentence_keeps_its_words_and_the_order_of_what_stays():
  words = tuple("abcdef")
  spans = tuple(Span(i, i + 1, "ab"[i % 2]) for i in range(6))
  [kept] = imbalance.imbalanced([Sentence(words, spans)])
  assert kept.words == words
  assert list(kept.spans) == sorted(kept.spans)
  assert imbalance.imbalanced([]) == []


def test_macro_f1_is_the_mean_of_types_with_gold_mentions():
  rows = {
    "a": {"f1": 90.0, "gold": 9},
    "b": {"f1": 30.0, "gold": 1},
    "never there": {"f1": 0.0, "gold": 0},
  }
  scores = {"per_type": rows}
  assert imbalance.macro_f1(scores) == 60.0
  assert imbalance.macro_f1(scores, ["b", "elsewhere"]) == 30.0
  assert imbalance.macro_f1(scores, ["never there"]) is None


def _run(tmp_path, **options):
  return imbalance.run(
    tmp_path / "results",
    tmp_path / "work",
    dataset="wnut17",
    backbone=str(tmp_path / "tiny-bert"),
    **{
      "data_dir": str(tmp_path / "data"),
      "epochs": 2,
      "learning_rate": 0.01,
    }
    | options,
  )


@pytest.fixture
def inputs(tmp_path, monkeypatch):
  # No relative data/ of whoever runs the tests.
  monkeypatch.chdir(tmp_path)
  tiny.make_backbone(tmp_path / "tiny-bert")
  tiny.make_wnut(tmp_path / "data")


@pytest.mark.slow
@pytest.mark.usefixtures("inputs")
def test_losses_are_compared_and_none_is_trained_twice(tmp_path, monkeypatch):
  trained = []
  given: list[Any] = []
  whole = loop.train

  def watched(programs, settings, splits, fill, folder):
    trained.append((settings.loss, folder.name))
    if not given:  # One training is enough of a test.
      given.append(whole(programs, settings, splits, fill, folder))
    return given[0]

  monkeypatch.setattr(loop, "train", watched)
  monkeypatch.setattr(imbalance, "COMPARED", ("dice",))
  page = _run(tmp_path)
  # The third run finds nothing to do, and needs no data for that.
  monkeypatch.setattr(imbalance, "COMPARED", ("focal", "dice"))
  _run(tmp_path)
  page.unlink()
  _run(tmp_path, data_dir=str(tmp_path / "gone"))
  assert trained == [("dice", "dice"), ("focal", "focal")]

  path = tmp_path / "results" / "runs" / "imbalance" / "report.json"
  report = json.loads(path.read_text())
  assert report["mentions"]["kept"] == {"location": 40, "person": 24}
  assert report["rare"] == ["person"]
  for row in report["losses"].values():
    assert len(row["dev"]) == 2
    assert row["test"]["rare"] == row["test"]["per_type"]["person"]
    best = max(row["dev"], key=lambda epoch: epoch["micro"])
    assert row["dev"][row["best_epoch"] - 1] == best

  text = page.read_text()
  micro = report["losses"]["dice"]["test"]["micro"]
  assert f" {micro:.2f} " in text
  assert "`launch/reproduce.sh imbalance`: backbone tiny-bert, 2" in text
  assert (tmp_path / "results" / "imbalance.png").read_bytes()[1:4] == b"PNG"
  for published in (text, path.read_text()):
    # Neither sentences nor folders.
    assert "oslo" not in published
    assert str(tmp_path) not in published


@pytest.mark.usefixtures("inputs")
def test_a_workdir_of_other_settings_is_refused(tmp_path, monkeypatch):
  def cut_off(programs, settings, splits, fill, folder):
    (folder / "checkpoints" / "latest" / "2").mkdir(parents=True)
    raise InterruptedError

  monkeypatch.setattr(loop, "train", cut_off)
  with pytest.raises(InterruptedError):
    _run(tmp_path)
  with pytest.raises(UserError, match="holds another run"):
    _run(tmp_path, epochs=3)


def test_data_that_is_not_there(tmp_path):
  with pytest.raises(UserError, match="conll03: no data set of this name"):
    imbalance.run(tmp_path, tmp_path, dataset="conll03")
  with pytest.raises(UserError, match="empty"):
    imbalance.run(tmp_path, tmp_path, data_dir=str(tmp_path / "empty"))
