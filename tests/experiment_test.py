"""Checkpoints of the paper's authors, scored and trained on, end to end."""

import json
import pathlib

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from configs import wnut17
from splitner_jax import pretrained
from splitner_jax.data import formats
from splitner_jax.data.sentences import Sentence
from splitner_jax.experiment import run, task_specs
from splitner_jax.inference import forward
from splitner_jax.inputs.text_tables import TableRows
from splitner_jax.models.heads import PooledClassifier, TokenClassifier
from splitner_jax.runtime import devices
from splitner_jax.runtime.errors import UserError
from splitner_jax.training import loop
from tests import random_examples, tiny

# The reference's alphabet has no id for other characters.
_CHARS = 95


def _publish(folder: pathlib.Path, model, **config) -> pathlib.Path:
  """Writes a random model as the paper's authors would publish it."""
  tiny.make_backbone(folder)
  examples = random_examples.make([4])
  [batch] = random_examples.pack(examples, ((1, 4),), ("char", "pattern"))
  arrays = {name: values[0] for name, values in batch.arrays.items()}
  init = jax.jit(model.init, static_argnums=2)
  params = init(jax.random.key(1), arrays, batch.layout)["params"]
  # The second label everywhere: a detector that says B to each word.
  bias = params["classifier"]["bias"]
  params["classifier"]["bias"] = bias.at[1].set(9.0)
  tensors = load_file(folder / "model.safetensors")
  tensors = {f"bert.{name}": value for name, value in tensors.items()}
  tensors |= pretrained.to_hf(
    {k: v for k, v in params.items() if k not in ("encoder", "pooler")},
    pretrained.FAMILIES["bert"],
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
    _publish(tmp_path / "classifier", PooledClassifier(encoder, 2), **labels)
  )
  config.epochs = 0
  config.max_length = 150
  return config


def test_a_pair_is_scored_as_it_is(config, tmp_path):
  result = run.run(config, tmp_path / "run")

  assert result["training"]["detector"]["steps"] == 0
  assert result["test"]["all_sentences"]["predicted"] > 0
  # The order of the types is the checkpoint's, not the corpus's.
  prepared = task_specs.prepare(config)
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
  part = task_specs.prepare(config).parts["detector"]

  assert part.task.features == ("char",)
  assert not part.task.model.mask_char_padding
  assert part.task.tokenizer.reference


@pytest.mark.parametrize("features", [("char",)])
def test_characters_outside_its_alphabet_are_left_out(config, monkeypatch):
  """In training, and in inference as well."""
  part = task_specs.prepare(config).parts["detector"]
  sentences = [Sentence(("é", "a"))]
  setup = loop.prepare(part.task, part.settings, sentences)
  batch, _ = next(setup.batches(0))
  device, at = np.divmod(batch.places, batch.arrays["targets"].shape[1])
  learnt = batch.arrays["char_short"][
    device, batch.arrays["char_index"][device, at]
  ]
  read: dict[str, np.ndarray] = {}
  whole = TableRows.find

  def watched(self, texts, distinct):
    rows, fills = whole(self, texts, distinct)
    # All are new and short.
    [fill] = fills
    ids = dict(zip(fill["rows"].tolist(), fill["short"], strict=False))
    read.update((distinct[t], ids[r]) for t, r in zip(texts, rows, strict=True))
    return rows, fills

  monkeypatch.setattr(TableRows, "find", watched)
  params = devices.replicate(setup.init_state(part.fill).params)
  run = forward.Forward(forward.Programs(part.task, 8), params)
  run(part.task.encode(sentences)[0])

  for first, second in (learnt, (read["é"], read["a"])):
    np.testing.assert_array_equal(first, 0)
    assert second.any()
  for ids in (batch.arrays["char_short"], *read.values()):
    assert ids.max() < _CHARS


@pytest.mark.slow
def test_training_goes_on_from_a_checkpoint(config, tmp_path):
  config.epochs = 1
  result = run.run(config, tmp_path / "run")
  assert result["training"]["detector"]["steps"] > 0


def test_types_are_never_guessed(config, tmp_path):
  path = tmp_path / "classifier/config.json"
  unnamed = {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}
  path.write_text(json.dumps(json.loads(path.read_text()) | unnamed))
  with pytest.raises(UserError, match=r"config.classifier.labels=A,B"):
    task_specs.prepare(config)
  config.classifier.labels = "person,thing"
  with pytest.raises(UserError, match="the corpus has location"):
    task_specs.prepare(config)
  config.classifier.labels = "person,location"
  labels = task_specs.prepare(config).parts["classifier"].task.labels
  assert labels == ("person", "location")


def test_a_checkpoint_of_another_scheme_is_refused(config):
  config.detector.scheme = "BIO"
  with pytest.raises(UserError, match=r"config.detector.scheme: BIO has 3"):
    task_specs.prepare(config)


@pytest.mark.slow
def test_its_encoder_serves_as_a_backbone(config, tmp_path):
  config.backbone = config.detector.checkpoint
  config.detector.checkpoint = config.classifier.checkpoint = None
  result = run.run(config, tmp_path / "run")
  assert result["config"]["backbone"] == config.backbone
