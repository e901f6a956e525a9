"""Times by length: what is timed, what is reported, what is not done twice."""

import json
import time
import types

import numpy as np
import pytest

from splitner_jax.inputs.tokenizer import PairStyle, Tokenizer
from splitner_jax.reproduce import lengths
from splitner_jax.runtime.errors import UserError
from tests import tiny


@pytest.fixture
def backbone(tmp_path):
  return tiny.make_backbone(tmp_path / "tiny-bert")


def _figures(detector: float, classifier: float, tagger: float) -> dict:
  seconds = {"detector": detector, "classifier": classifier, "tagger": tagger}
  half = {name: each / 2 for name, each in seconds.items()}
  return {"batch": 16, "turns": 2, "training": seconds, "inference": half}


@pytest.mark.parametrize("length", [25, 40, 1000])
def test_sentences_have_exactly_so_many_sub_tokens_and_mentions(
  backbone, length
):
  tokenizer = Tokenizer(str(backbone), PairStyle(), 1100)

  sentences = lengths.synthetic(tokenizer, length, 3)

  for sentence in sentences:
    assert tokenizer([sentence.words]).sizes().tolist() == [length]
    assert len(sentence.spans) == length // 25
    assert sentence.spans[-1].end <= length
    assert {s.end - s.start for s in sentence.spans} == {2}
  assert sentences == lengths.synthetic(tokenizer, length, 3)


def test_all_tasks_are_measured(tmp_path, backbone, monkeypatch):
  # The features are slow to compile, and nothing here depends on them.
  monkeypatch.setattr(lengths, "FEATURES", {"none": "Without them"})
  monkeypatch.setattr(lengths, "TYPES", ("a", "b"))
  page = lengths.run(
    tmp_path / "results", lengths=(25,), seconds=0, backbone=str(backbone)
  )

  path = tmp_path / "results" / "runs" / "lengths" / "report.json"
  report = json.loads(path.read_text())
  assert report["settings"]["backbone"] == "tiny-bert"
  row = report["figures"]["none"]["25"]
  assert row["batch"] == 16
  for kind in ("training", "inference"):
    assert set(row[kind]) == {"detector", "classifier", "tagger"}
    assert min(row[kind].values()) > 0
  for text in (path.read_text(), page.read_text()):
    assert str(tmp_path) not in text


def test_words_of_several_sub_tokens_are_not_drawn():
  class Halving:
    fast = types.SimpleNamespace(get_vocab=lambda: {"half": 0, "whole": 1})

    def __call__(self, word_lists):
      assert word_lists == [["half", "whole"]]
      return types.SimpleNamespace(starts=[np.array([0, 2, 3])].__getitem__)

  [sentence] = lengths.synthetic(Halving(), 25, 1)

  assert sentence.words == ("whole",) * 25


@pytest.mark.parametrize(("seconds", "turns"), [(0, 5), (25, 6)])
def test_they_take_turns_until_the_time_is_used_up(monkeypatch, seconds, turns):
  clock, calls = [0.0], []
  monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

  def action(name, takes):
    def act(turn):
      calls.append((turn, name))
      # Something interrupts one turn of each; only the time is used up.
      clock[0] += takes + 4.0 * (turn == 1)

    return lengths._Action(act, 1)

  found = lengths._take_turns(
    {"slow": action("slow", 2.0), "fast": action("fast", 1.0)}, seconds
  )

  assert found == ({"slow": 2.0, "fast": 1.0}, turns)
  assert calls == [(i, n) for i in range(turns) for n in ("slow", "fast")]


def test_the_page_and_what_stands_is_not_measured_again(
  tmp_path, backbone, monkeypatch
):
  measured = []

  def fake(made, length, seconds):
    measured.append((made.detector.features, length))
    return _figures(10, 10 + length, 60)

  monkeypatch.setattr(lengths, "_measure", fake)

  def run(wanted, **options):
    measured.clear()
    page = lengths.run(
      tmp_path, lengths=wanted, backbone=str(backbone), **options
    )
    return page.read_text().replace(" ", "")

  text = run((100,))
  assert measured == [(("char", "pattern"), 100), ((), 100)]
  # 10 + 110 against 60, and half of them.
  assert "|100|16|2|120.0|110.0|60.0|0.50|60.0|55.0|30.0|0.50|" in text
  assert "`launch/reproduce.shlengths`" in text
  assert "|OntoNotes5|18|24.54|12.17|" in text

  text = run((50, 100))
  assert measured == [(("char", "pattern"), 50), ((), 50)]
  assert text.count("|70.0|60.0|60.0|0.86|") == 2

  run((50, 100))
  assert measured == []

  run((50,), seconds=1)
  assert len(measured) == 2


@pytest.mark.parametrize("length", [24, 1001])
def test_a_length_that_cannot_be_measured(tmp_path, length):
  with pytest.raises(UserError, match=f"lengths: {length} is not from 25 to"):
    lengths.run(tmp_path, lengths=(50, length))


def test_a_broken_report(tmp_path, backbone):
  path = tmp_path / "runs" / "lengths" / "report.json"
  path.parent.mkdir(parents=True)
  path.write_text("[]")
  with pytest.raises(UserError, match=r"report\.json: cannot be read"):
    lengths.run(tmp_path, lengths=(50,), backbone=str(backbone))
