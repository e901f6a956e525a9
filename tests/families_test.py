"""Each family of backbones from a folder to entities."""

import json
import logging
import pathlib

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from configs import wnut17
from splitner_jax import SplitNER, pretrained
from splitner_jax.experiment import run
from splitner_jax.models.heads import PooledClassifier
from tests import tiny, tiny_families


def test_all_families_are_tried() -> None:
  tried = {"bert", "roberta", *tiny_families.CONFIGS}
  assert tried == pretrained.FAMILIES.keys()


# The class of transformers; names of heads of the pretraining, and of buffers
# of older versions.
_ARCHITECTURES = {
  "electra": "ElectraModel",
  "modernbert": "ModernBertModel",
  "t5": "T5EncoderModel",
}
_UNUSED = {
  "electra": (
    "discriminator_predictions.dense.weight",
    "generator_predictions.dense.weight",
    "generator_lm_head.bias",
    "electra.embeddings.position_ids",
  ),
  "modernbert": ("head.dense.weight", "head.norm.weight", "decoder.bias"),
  "t5": (
    "encoder.embed_tokens.weight",
    "decoder.final_layer_norm.weight",
    "lm_head.weight",
  ),
}


@pytest.mark.parametrize("family", tiny_families.CONFIGS)
def test_from_a_published_folder_and_back(
  family: str, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
  """What nobody needs is dropped; a pooler, which they lack, is new."""
  folder = tiny_families.make(family, tmp_path / "backbone")
  backbone = pretrained.read_backbone(str(folder))
  assert backbone.family.name == backbone.encoder.family == family
  path = folder / "model.safetensors"
  prefix = backbone.family.prefix
  tensors = {prefix + name: t for name, t in load_file(path).items()}
  unused = {name: np.ones(3, np.float32) for name in _UNUSED[family]}
  save_file(tensors | unused, path)
  zeros = tiny_families.zeros(PooledClassifier(backbone.encoder, 3))
  with caplog.at_level(logging.INFO):
    params = pretrained.fill(zeros, str(folder))
  assert f"new, not in {folder}: classifier, pooler" in caplog.text
  assert not any(x.any() for x in jax.tree.leaves(params["pooler"]))
  back = pretrained.to_hf({"encoder": params["encoder"]}, backbone.family)
  assert back.keys() == tensors.keys()
  for name, tensor in back.items():
    np.testing.assert_array_equal(tensor, tensors[name], err_msg=name)

  pretrained.export(params, str(tmp_path / "exported"), backbone)
  # Of the pooler transformers has none.
  written = load_file(tmp_path / "exported" / "model.safetensors")
  assert {prefix + name for name in written} == tensors.keys()
  config = json.loads((tmp_path / "exported" / "config.json").read_text())
  assert config["architectures"] == [_ARCHITECTURES[family]]
  assert config["model_type"] == family


def _train(
  family: str, folder: pathlib.Path, variant: str | None, epochs: int
) -> pathlib.Path:
  """The run's folder."""
  config = wnut17.get_config(variant)
  config.update_from_flattened_dict(
    {
      "backbone": str(tiny_families.make(family, folder / "backbone")),
      "data.dir": str(tiny.make_wnut(folder / "data")),
      "epochs": epochs,
      "batch_size": 8,
      # The detector's question is long in the letters of a tiny tokenizer.
      "max_length": 200,
      "learning_rate": 0.01,
    }
  )
  for part in (config.detector, config.tagger):
    part.features = "none"
    if epochs == 1:
      # It finds nothing by itself; and of BIOE it may know no B.
      part.update(o_bias=-6.0, scheme="BO")
  run.run(config, folder / "run")
  return folder / "run"


@pytest.mark.parametrize(
  ("family", "variant", "epochs"),
  [
    # The one that is least like BERT.
    ("t5", "single_seqtag", 1),
    *(
      pytest.param(family, None, 8, marks=pytest.mark.slow)
      for family in tiny_families.CONFIGS
    ),
  ],
)
def test_from_training_to_use(
  family: str, variant: str | None, epochs: int, tmp_path: pathlib.Path
) -> None:
  workdir = _train(family, tmp_path, variant, epochs)
  report = json.loads((workdir / "report.json").read_text())
  if epochs > 1:
    assert report["test"]["detection"]["f1"] > 30
  config = json.loads((workdir / "model" / "config.json").read_text())
  for task in config["tasks"].values():
    assert task["encoder"]["family"] == family

  ner = SplitNER.from_pretrained(str(workdir / "model"))
  text = (workdir / "predictions" / "test.jsonl").read_text()
  rows = [json.loads(line) for line in text.splitlines()]
  found = [
    [(e.first_word, e.end_word, e.label) for e in entities]
    for entities in ner.predict([row["tokens"] for row in rows])
  ]
  assert [sorted(row) for row in found] == [
    sorted((s["start"], s["end"], s["label"]) for s in row["predicted"])
    for row in rows
  ]
  assert any(found)
