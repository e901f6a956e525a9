"""The page of backbones: what it measures, what is done, what it says."""

import json
import pathlib

import pytest

from splitner_jax import pretrained
from splitner_jax.reproduce import backbones
from splitner_jax.throughput import training
from splitner_jax.throughput.backbones import SIZES


def test_every_family_is_on_it() -> None:
  families = [SIZES[name]["model_type"] for name in backbones.PUBLISHED]
  assert sorted(families) == sorted(pretrained.FAMILIES)
  # The tests that the page names try it.
  twins = pathlib.Path(__file__).with_name("parity_twins.py").read_text()
  for family in families:
    assert f'"model_type": "{family}"' in twins


@pytest.mark.slow
@pytest.mark.usefixtures("minilm")
def test_measures_each_beside_bert(
  tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  small = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1}
  monkeypatch.setitem(SIZES, "t5-base", SIZES["t5-base"] | small)
  small = {
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "intermediate_size": 32,
  }
  monkeypatch.setitem(SIZES, "bert-base", SIZES["bert-base"] | small)
  monkeypatch.setattr(backbones, "MEASURED", ("bert-base", "t5-base"))
  monkeypatch.setattr(backbones, "_SECONDS", 0.0)
  monkeypatch.setattr(training, "TURN_SECONDS", 0.0)
  results = tmp_path / "results"
  for seed, f1 in (1, 40.0), (2, 41.0):
    path = results / "runs" / "wnut17" / "qa_qa" / f"seed-{seed}"
    path.mkdir(parents=True)
    (path / "report.json").write_text(
      json.dumps({"test": {"all_sentences": {"f1": f1}}})
    )
  page = backbones.run(results, tmp_path / "work")
  text = page.read_text()
  cells = " ".join(text.split())
  [path] = (results / "runs" / "backbones").glob("*.json")
  report = json.loads(path.read_bytes())
  assert [*report["backbones"]] == ["bert-base", "t5-base"]
  bert, t5 = report["backbones"].values()
  assert bert["train"]["of_base"] == bert["inference"]["of_base"] == 1
  # Embeddings, distances, four projections, two of the feed-forward, norms.
  assert t5["parameters"] == (
    32_128 * 16 + 32 * 12 + 4 * 16 * 12 * 8 + 2 * 16 * 32 + 3 * 16
  )
  for row in bert, t5:
    for phase in backbones.PHASES:
      assert row[phase]["tokens_per_s"] > 0
    # Training holds parameters, gradients and two moments.
    assert row["train"]["peak_bytes"] > 3 * row["inference"]["peak_bytes"] / 2
    assert row["inference"]["peak_bytes"] > 4 * row["parameters"]
  assert f"| {t5['train']['of_base']:.2f} |" in cells
  assert "| minilm | 40.50 | not run |" in cells
  assert text.count("not run") == 2 * 5 + 4 + 1

  # What is measured is not measured again.
  monkeypatch.setattr(backbones, "_sides", None)
  assert backbones.run(results, tmp_path / "work").read_text() == text
