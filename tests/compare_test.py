"""Comparison of two runs by their report.json."""

import json

import numpy as np
import pytest

from splitner_jax.evaluation import metrics, significance
from splitner_jax.experiment import compare
from splitner_jax.runtime.errors import UserError

SENTENCES = 60
GOLD = np.arange(SENTENCES) % 3


def counts(right: float, seed: int = 0) -> np.ndarray:
  correct = np.random.default_rng(seed).binomial(GOLD, right)
  return np.stack([GOLD, np.maximum(correct, 1), correct])


def report(per_sentence, *, split="test", content="c0ffee", system="splitner"):
  packed = significance.pack(per_sentence)
  return {
    "config": {"system": system},
    "corpus": {"name": "wnut17", "content_hash": content},
    split: {"per_sentence": packed},
  }


def put(path, result) -> str:
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(result))
  return str(path)


def test_pack_and_unpack():
  packed = significance.pack(counts(0.5))
  assert packed.keys() == {"gold", "predicted", "correct"}
  assert packed["gold"].startswith("0 1 2 0 1 2 ")
  assert json.loads(json.dumps(packed)) == packed
  np.testing.assert_array_equal(significance.unpack(packed), counts(0.5))
  nothing = np.zeros((3, 0), np.int64)
  assert significance.unpack(significance.pack(nothing)).shape == (3, 0)


@pytest.mark.parametrize(
  "change",
  [
    {"gold": "1 2"},
    {"gold": "1 x 1"},
    {"gold": None},
    {"correct": "2 0 0"},
    {"correct": "-1 0 0"},
    {"predicted": "-1 1 1"},
  ],
)
def test_unpack_of_nonsense(change):
  packed = {"gold": "1 1 1", "predicted": "1 1 1", "correct": "1 0 1"}
  assert significance.unpack(packed).sum() == 8
  with pytest.raises(ValueError, match="counts"):
    significance.unpack(packed | change)
  del packed["gold"]
  with pytest.raises(ValueError, match="gold"):
    significance.unpack(packed)


def cells(line: str) -> list[str]:
  return [cell.strip() for cell in line.split("|")[1:-1]]


def test_a_clear_difference(tmp_path, capsys):
  a, b = counts(0.3), counts(0.9)
  file_a = put(tmp_path / "a.json", report(a, system="single_qa"))
  put(tmp_path / "b" / "report.json", report(b))
  folder_b = str(tmp_path / "b")
  compare.run(file_a, folder_b)
  printed = capsys.readouterr().out
  head, table, conclusion = printed.strip().split("\n\n")
  assert head == "wnut17, test split: 60 sentences, drawn 10000 times."
  _, _, *rows = map(cells, table.splitlines())
  found = metrics.paired_bootstrap(a, b)
  low, high = metrics.bootstrap_interval(b, 10_000)
  assert rows[0][:5] == ["A", file_a, "single_qa", "1", f"{found['f1_a']:.2f}"]
  assert rows[1][:4] == ["B", folder_b, "splitner", "1"]
  assert rows[1][4:] == [f"{found['f1_b']:.2f}", f"{low:.2f} to {high:.2f}"]
  low, high = found["interval"]
  assert rows[2][4:] == [
    f"+{found['difference']:.2f}",
    f"+{low:.2f} to +{high:.2f}",
  ]
  assert conclusion == (
    f"B is better than A by {found['difference']:.2f} F1, more than the choice "
    "of sentences explains (p at most 0.0001)."
  )
  assert compare.compare(folder_b, file_a).splitlines()[-1] == (
    conclusion.replace("B is better than A", "A is better than B")
  )


def test_a_difference_that_may_be_chance(tmp_path):
  a = put(tmp_path / "a.json", report(counts(0.6)))
  b = put(tmp_path / "b.json", report(counts(0.6, seed=1)))
  text = compare.compare(a, b)
  p = metrics.paired_bootstrap(counts(0.6), counts(0.6, seed=1))["p_value"]
  assert "may be chance" in text
  assert f"(p = {p:.2g})" in text


def test_seeds_are_added(tmp_path):
  seeds = [counts(0.5, seed) for seed in range(3)]
  for i, one in enumerate(seeds):
    put(tmp_path / "a" / f"seed-{i}" / "report.json", report(one))
  # The summary of the seeds is no run of its own.
  put(tmp_path / "a" / "report.json", {"seeds": [0, 1, 2]})
  b = counts(0.8, 3)
  file_b = put(tmp_path / "b.json", report(b))
  _, _, *rows = map(
    cells,
    compare.compare(str(tmp_path / "a"), file_b).split("\n\n")[1].splitlines(),
  )
  found = metrics.paired_bootstrap(sum(seeds), b)
  assert rows[0][3:5] == ["3", f"{found['f1_a']:.2f}"]
  assert rows[1][3:5] == ["1", f"{found['f1_b']:.2f}"]
  assert rows[2][4] == f"{found['difference']:+.2f}"


def test_dev_stands_in_for_test(tmp_path):
  both = report(counts(0.5)) | report(counts(0.9), split="dev")
  a = put(tmp_path / "a.json", both)
  b = put(tmp_path / "b.json", report(counts(0.9), split="dev"))
  text = compare.compare(a, b)
  assert "dev split, as there is no test split in all reports: 60" in text
  assert "+0.00" in text
  assert "no test split" not in compare.compare(a, a)
  only_test = put(tmp_path / "c.json", report(counts(0.5)))
  with pytest.raises(UserError, match=r"c\.json: has no dev split"):
    compare.compare(b, only_test)


def without(result, *keys):
  *parents, last = keys
  part = result
  for key in parents:
    part = part[key]
  del part[last]
  return result


@pytest.mark.parametrize(
  ("result", "message"),
  [
    ([], "not the report.json of a run; give one"),
    ({}, "not the report.json of a run; give one"),
    ({"config": {}, "seeds": [1, 2]}, "only sums up the runs of several seeds"),
    ({"config": [], "corpus": {}}, "not the report.json of a run"),
    (report(counts(0.5), system=5), "not the report.json of a run"),
    (report(counts(0.5), content=None), "not the report.json of a run"),
    (
      without(report(counts(0.5)), "corpus", "content_hash"),
      "not the report.json of a run",
    ),
    (
      without(report(counts(0.5)), "test", "per_sentence"),
      "test has no per_sentence, .*; run the command again",
    ),
    # As older versions wrote it.
    (
      report(counts(0.5)) | {"config": {}, "test": {}},
      "test has no per_sentence",
    ),
    (
      report(counts(0.5)) | {"test": {"per_sentence": {"gold": "1"}}},
      "test.per_sentence is damaged",
    ),
    (
      report(counts(0.5), content="beef"),
      r"is on wnut17 \(content beef\), but .*/a.json on wnut17 \(content c0ff",
    ),
    (
      report(counts(0.5)[:, :-1]),
      "its 59 test sentences with 58 mentions are not the 60 with 60 of ",
    ),
    (report(counts(0.5)[:, ::-1]), "its 60 test sentences with 60 mentions"),
  ],
)
def test_what_cannot_be_compared(tmp_path, result, message):
  a = put(tmp_path / "a.json", report(counts(0.5)))
  b = put(tmp_path / "b.json", result)
  with pytest.raises(UserError, match=f"^{b}: .*{message}") as caught:
    compare.run(a, b)
  assert "\n" not in str(caught.value)


def test_seeds_on_other_corpora(tmp_path):
  for i, content in enumerate(["c0ffee", "beef"]):
    path = tmp_path / "a" / f"seed-{i}" / "report.json"
    put(path, report(counts(0.5), content=content))
  folder = str(tmp_path / "a")
  with pytest.raises(UserError, match=r"seed-1/report.json: is on .*beef.*,"):
    compare.run(folder, folder)


def test_what_is_not_there(tmp_path):
  with pytest.raises(UserError, match="no such file"):
    compare.run(str(tmp_path / "nowhere"), str(tmp_path))
  a = put(tmp_path / "a.json", report(counts(0.5)))
  with pytest.raises(UserError, match=r"neither report\.json nor seed-"):
    compare.run(a, str(tmp_path))
  broken = tmp_path / "b.json"
  broken.write_text("{")
  with pytest.raises(UserError, match=r"not the report\.json of a run"):
    compare.run(a, str(broken))
