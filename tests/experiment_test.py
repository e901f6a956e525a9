"""Checkpoints of the paper's authors, scored and trained on, end to end."""

import json
import pathlib

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from configs import wnut17
from splitner_jax import experiment, pretrained
from splitner_jax.data import formats
from splitner_jax.inputs.batches import Batcher, Shape
from splitner_jax.inputs.tokenizer import Example
from splitner_jax.errors import UserError
from splitner_jax.models.heads import SequenceClassifier, TokenClassifier
from tests import tiny

# The reference's alphabet has no id for other characters.
_CHARS = 95


def _publish(folder: pathlib.Path, model, **config) -> pathlib.Path:
  """Writes a random model as the paper's authors would publish it."""
  tiny.make_backbone(folder)
  token = np.zeros((1, 4), np.int32)
  table = np.zeros((8, 8), np.int32)
  batch = {
    "input_ids": token,
    "token_types": token,
    "mask": token == 0,
    "char_index": token,
    "pattern_index": token,
    **{
      f"{n}_{w}": table for n in ("char", "pattern") for w in ("short", "long")
    },
  }
  params = jax.jit(model.init)(jax.random.key(1), batch)["params"]
  # The second label everywhere: a detector that says B to each word.
  bias = params["classifier"]["bias"]
  params["classifier"]["bias"] = bias.at[1].set(9.0)
  tensors = load_file(folder / "model.safetensors")
  tensors = {f"bert.{name}": value for name, value in tensors.items()}
  tensors |= pretrained.foreign_tensors(
    {k: v for k, v in params.items() if k not in ("encoder", "pooler")}, False
  )
  save_file(tensors, folder / "model.safetensors")
  path = folder / "config.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | config))
  return folder


@pytest.fixture
def features():
  return ()


@pytest.fixture
def config(tmp_path, features):
  encoder = pretrained.read_backbone(
    str(tiny.make_backbone(tmp_path / "backbone"))
  ).encoder
  detector = TokenClassifier(encoder, 4, features, _CHARS, 0, False)
  labels = {"id2label": {"0": "person", "1": "location"}}
  config = wnut17.get_config()
  config.data.dir = str(tiny.make_wnut(tmp_path / "data"))
  config.detector.checkpoint = str(_publish(tmp_path / "detector", detector))
  config.classifier.checkpoint = str(
    _publish(tmp_path / "classifier", SequenceClassifier(encoder, 2), **labels)
  )
  config.epochs = 0
  config.max_length = 150
  return config


def test_a_pair_is_scored_as_it_is(config, tmp_path):
  result = experiment.run(config, tmp_path / "run")

  assert result["training"]["detector"]["steps"] == 0
  assert result["test"]["all_sentences"]["predicted"] > 0
  # The order of the types is the checkpoint's, not the corpus's.
  prepared = experiment.prepare(config)
  assert prepared.corpus.types == ["location", "person"]
  assert prepared.parts["classifier"].task.labels == ("person", "location")
  predictions = formats.read(tmp_path / "run/predictions/test.jsonl")
  assert len(predictions) == 12
  # The detector says B to every word, the classifier its second type.
  rows = (tmp_path / "run/predictions/test.jsonl").read_text().splitlines()
  for row in map(json.loads, rows):
    assert len(row["predicted"]) == len(row["tokens"])
    assert {entity["label"] for entity in row["predicted"]} == {"location"}


@pytest.mark.parametrize("features", [("char",)])
def test_the_reference_reads_texts_by_its_own_rules(config):
  part = experiment.prepare(config).parts["detector"]

  assert part.task.features == ("char",)
  assert not part.task.model.mask_char_padding
  assert part.task.tokenizer.reference


@pytest.mark.parametrize("features", [("char",)])
def test_characters_outside_its_alphabet_are_left_out(config):
  part = experiment.prepare(config).parts["detector"]
  tokenizer = part.task.tokenizer
  ids, types, texts, _ = tokenizer.join(None, tokenizer([["é", "a"]])[0])

  zeros = np.zeros(len(ids), np.int32)
  example = Example(
    ids, types, texts, 0, 0, zeros[:2], zeros, zeros.astype(np.float32)
  )
  shape = Shape(8, (8, 8), (8, 8))
  batcher = Batcher([example], ("char",), tokenizer.pad_id, 1, True)
  _, batch = batcher.assemble(np.array([0]), 8, [shape])
  row = batch["char_index"][0, 0, 1]
  assert texts[1] == "é"
  np.testing.assert_array_equal(batch["char_short"][0, row], 0)
  assert batch["char_short"].max() < _CHARS


def test_training_goes_on_from_a_checkpoint(config, tmp_path):
  config.epochs = 1
  result = experiment.run(config, tmp_path / "run")
  assert result["training"]["detector"]["steps"] == 3


def test_types_are_never_guessed(config, tmp_path):
  path = tmp_path / "classifier/config.json"
  unnamed = {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}
  path.write_text(json.dumps(json.loads(path.read_text()) | unnamed))
  with pytest.raises(UserError, match=r"config.classifier.labels=A,B"):
    experiment.prepare(config)
  config.classifier.labels = "person,thing"
  with pytest.raises(UserError, match="the corpus has location"):
    experiment.prepare(config)
  config.classifier.labels = "person,location"
  labels = experiment.prepare(config).parts["classifier"].task.labels
  assert labels == ("person", "location")


def test_a_checkpoint_of_another_scheme_is_refused(config):
  config.detector.scheme = "BIO"
  with pytest.raises(UserError, match=r"config.detector.scheme: BIO has 3"):
    experiment.prepare(config)


def test_its_encoder_serves_as_a_backbone(config, tmp_path):
  config.backbone = config.detector.checkpoint
  config.detector.checkpoint = config.classifier.checkpoint = None
  result = experiment.run(config, tmp_path / "run")
  assert result["config"]["backbone"] == config.backbone
