import functools
import json
import os
import pathlib
import shutil
from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors
from paper_checkpoints import (
  CONFIG,
  cnn_tensors,
  detector_tensors,
  encoder_tensors,
  fails,
  linear_tensors,
  random_array,
  write,
)
from safetensors import numpy as safetensors_numpy

from splitner_jax import pretrained
from splitner_jax.inputs.packing import Group
from splitner_jax.models import heads
from splitner_jax.runtime import files


def _start(model: heads.PooledClassifier | heads.TokenClassifier) -> Any:
  """Parameters of ones: nothing that a checkpoint has."""
  ids = np.zeros(2, np.int32)
  names = ("input_ids", "token_types", "positions", "segments", "parts")
  batch = dict.fromkeys((*names, "targets"), ids)
  for feature in ("char", "pattern"):
    for table in ("short", "long"):
      batch[f"{feature}_{table}"] = np.zeros((1, 8), np.int32)
    batch[f"{feature}_index"] = ids
  shapes = jax.eval_shape(
    functools.partial(model.init, layout=(Group(1, 2),)),
    jax.random.key(0),
    batch,
  )["params"]
  return jax.tree.map(lambda x: np.ones(x.shape, np.float32), shapes)


def _tagger(folder: str, features: tuple[str, ...] = (), rows: int = 0) -> Any:
  encoder = pretrained.read_backbone(folder).encoder
  return _start(heads.TokenClassifier(encoder, 4, features, rows, rows))


def _classifier(folder: str) -> Any:
  encoder = pretrained.read_backbone(folder).encoder
  return _start(heads.PooledClassifier(encoder, 3))


def test_fill(tmp_path: pathlib.Path) -> None:
  tensors = encoder_tensors()
  folder = write(tmp_path, tensors)
  params = pretrained.fill(_classifier(folder), folder)
  encoder = params["encoder"]
  for ours, theirs in (
    (encoder["embeddings"]["word"], "embeddings.word_embeddings.weight"),
    (encoder["embeddings"]["norm"]["scale"], "embeddings.LayerNorm.weight"),
    (
      encoder["layer_1"]["intermediate"]["kernel"].T,
      "encoder.layer.1.intermediate.dense.weight",
    ),
    (params["pooler"]["dense"]["kernel"].T, "pooler.dense.weight"),
  ):
    np.testing.assert_array_equal(ours, tensors[theirs])
    assert ours.dtype == np.float32
  assert (params["classifier"]["kernel"] == 1).all()


def test_fill_is_total(tmp_path: pathlib.Path) -> None:
  folder = write(tmp_path, encoder_tensors())
  params = pretrained.fill(_classifier(folder), folder)
  back = pretrained.to_hf(params, pretrained.FAMILIES["bert"])
  expected = {
    f"bert.{name}": value for name, value in encoder_tensors().items()
  }
  for name, tensor in expected.items():
    np.testing.assert_array_equal(back.pop(name), tensor, err_msg=name)
  assert back.keys() == {"classifier.weight", "classifier.bias"}


@pytest.mark.parametrize("prefix", ["", "bert.", "roberta."])
def test_old_names(tmp_path: pathlib.Path, prefix: str) -> None:
  folder = write(tmp_path, encoder_tensors())
  expected = pretrained.fill(_classifier(folder), folder)
  old = {
    prefix
    + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
      "LayerNorm.bias", "LayerNorm.beta"
    ): tensor
    for name, tensor in encoder_tensors().items()
  }
  old |= {
    f"{prefix}embeddings.position_ids": np.arange(9)[None],
    "cls.predictions.bias": random_array(11),
    "lm_head.dense.weight": random_array(6, 6),
  }
  params = pretrained.fill(_classifier(folder), write(tmp_path, old))
  jax.tree.map(np.testing.assert_array_equal, params, expected)


def test_pooler_is_optional(tmp_path: pathlib.Path) -> None:
  folder = write(tmp_path, encoder_tensors())
  assert "pooler" not in pretrained.fill(_tagger(folder), folder)
  tensors = encoder_tensors()
  del tensors["pooler.dense.weight"], tensors["pooler.dense.bias"]
  params = pretrained.fill(_classifier(folder), write(tmp_path, tensors))
  assert (params["pooler"]["dense"]["kernel"] == 1).all()


def test_heads_of_another_task_are_dropped(tmp_path: pathlib.Path) -> None:
  tensors = (
    encoder_tensors()
    | cnn_tensors("char_cnn", 95, 5)
    | linear_tensors("classifier", 6, 9)
  )
  folder = write(tmp_path, tensors)
  params = pretrained.fill(_tagger(folder), folder)
  assert (params["classifier"]["kernel"] == 1).all()
  assert (params["encoder"]["embeddings"]["word"] != 1).all()


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_dtypes(tmp_path: pathlib.Path, dtype: Any) -> None:
  tensors = {name: t.astype(dtype) for name, t in encoder_tensors().items()}
  folder = write(tmp_path, tensors)
  params = pretrained.fill(_tagger(folder), folder)
  word = params["encoder"]["embeddings"]["word"]
  assert word.dtype == np.float32
  np.testing.assert_array_equal(
    word, tensors["embeddings.word_embeddings.weight"].astype(np.float32)
  )


def test_missing_tensor(tmp_path: pathlib.Path) -> None:
  tensors = encoder_tensors()
  del tensors["encoder.layer.1.attention.self.key.bias"]
  folder = write(tmp_path, tensors)
  fails(
    r"needs encoder\.layer\.1\.attention\.self\.key\.bias; .* has none",
    pretrained.fill,
    _tagger(folder),
    folder,
  )


def test_extra_tensors(tmp_path: pathlib.Path) -> None:
  layer = {
    name.replace("layer.1", "layer.2"): tensor
    for name, tensor in encoder_tensors().items()
  }
  folder = write(tmp_path, encoder_tensors() | layer)
  fails(
    r"needs none; .* has encoder\.layer\.2\..* and 12 more",
    pretrained.fill,
    _tagger(folder),
    folder,
  )


def test_wrong_shape(tmp_path: pathlib.Path) -> None:
  name = "bert.encoder.layer.0.output.dense.weight"
  tensors = {f"bert.{k}": v for k, v in encoder_tensors().items()}
  folder = write(tmp_path, tensors | {name: random_array(6, 9)})
  fails(
    r"bert\.encoder\.layer\.0\.output\.dense\.weight has shape \(6, 9\), but "
    r"the model has \(6, 8\)",
    pretrained.fill,
    _tagger(folder),
    folder,
  )


def test_unusable_tensors(tmp_path: pathlib.Path) -> None:
  name = "encoder.layer.0.output.dense.bias"
  folder = write(tmp_path, encoder_tensors() | {name: np.ones(6, np.int8)})
  fails(f"{name} is int8", pretrained.fill, _tagger(folder), folder)
  for value in (np.nan, np.inf):
    array = np.array([0, 1, value, 0, 1, 2], np.float32)
    write(tmp_path, encoder_tensors() | {name: array})
    fails(f"{name} is not finite", pretrained.fill, _tagger(folder), folder)
  write(tmp_path, encoder_tensors() | {f"bert.{name}": random_array(6)})
  fails("the same tensor", pretrained.fill, _tagger(folder), folder)


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_detector(tmp_path: pathlib.Path, family: str) -> None:
  tensors = detector_tensors(family)
  folder = write(tmp_path, tensors, model_type=family)
  head = pretrained.read_head(folder)
  assert head == pretrained.CheckpointHead(4, ("pattern",), 0, 42)
  params = pretrained.fill(
    _tagger(folder, head.features, 42), folder, complete=True
  )
  back = pretrained.to_hf(params, pretrained.FAMILIES[family])
  for name, tensor in back.items():
    expected = tensors[name]
    if "bias_ih" in name:
      expected = expected + tensors[name.replace("_ih_", "_hh_")]
    if "bias_hh" in name:
      expected = np.zeros_like(expected)
    np.testing.assert_array_equal(tensor, expected, err_msg=name)
  unused = {f"{family}.pooler.dense.weight", f"{family}.pooler.dense.bias"}
  assert tensors.keys() - back.keys() == unused


def test_larger_alphabet(tmp_path: pathlib.Path) -> None:
  """Ours has one character more, which stays as it is."""
  tensors = detector_tensors()
  folder = write(tmp_path, tensors)
  params = pretrained.fill(_tagger(folder, ("pattern",), 43), folder)
  table = params["pattern"]["cnn"]["embedding"]
  np.testing.assert_array_equal(table[:42], tensors["pattern_emb.emb.weight"])
  assert (table[42] == 1).all()
  fails(
    r"pattern_emb\.emb\.weight has shape \(42, 50\)",
    pretrained.fill,
    _tagger(folder, ("pattern",), 44),
    folder,
  )


def test_complete(tmp_path: pathlib.Path) -> None:
  folder = write(tmp_path, detector_tensors())
  fails(
    r"needs char_cnn\..* has none",
    pretrained.fill,
    _tagger(folder, ("char", "pattern"), 42),
    folder,
    complete=True,
  )
  tensors = (
    encoder_tensors()
    | cnn_tensors("char_cnn", 95, 5)
    | linear_tensors("classifier", 6, 4)
  )
  write(tmp_path, tensors)
  fails(
    r"needs none; .* has char_cnn\.",
    pretrained.fill,
    _tagger(folder),
    folder,
    complete=True,
  )
  write(tmp_path, encoder_tensors())
  fails(
    r"needs classifier\.bias",
    pretrained.fill,
    _tagger(folder),
    folder,
    complete=True,
  )
  fails("it is a backbone", pretrained.read_head, folder)


def test_incomplete_part(tmp_path: pathlib.Path) -> None:
  """A part of a checkpoint is taken whole or not at all."""
  tensors = detector_tensors()
  del tensors["pattern_lstm.bias_hh_l0_reverse"]
  folder = write(tmp_path, tensors)
  fails(
    r"needs pattern_lstm\.bias_hh_l0_reverse",
    pretrained.fill,
    _tagger(folder, ("pattern",), 42),
    folder,
  )


def test_export(tmp_path: pathlib.Path) -> None:
  source = tmp_path / "backbone"
  source.mkdir()
  folder = write(
    source,
    encoder_tensors(),
    architectures=["BertForMaskedLM"],
    torch_dtype="float16",
    auto_map={"AutoModel": "code.Model"},
  )
  (source / "vocab.txt").write_text("[PAD]\n")
  (source / "code.py").write_text("")
  params = pretrained.fill(_classifier(folder), folder)
  backbone = pretrained.read_backbone(folder)
  target = tmp_path / "models" / "exported"
  pretrained.export(params, str(target), backbone)
  assert sorted(os.listdir(target.parent)) == ["exported"]
  assert sorted(os.listdir(target)) == [
    "config.json",
    "model.safetensors",
    "vocab.txt",
  ]
  config = json.loads((target / "config.json").read_text())
  assert config == CONFIG | {
    "architectures": ["BertModel"],
    "dtype": "float32",
  }
  found = safetensors_numpy.load_file(target / "model.safetensors")
  assert found.keys() == encoder_tensors().keys()
  for name, tensor in encoder_tensors().items():
    np.testing.assert_array_equal(found[name], tensor, err_msg=name)
  fails("is not empty", pretrained.export, params, str(target), backbone)


@pytest.mark.parametrize(
  ("owner", "name", "error"),
  [
    (os, "replace", OSError(28, "No space left on device")),
    (
      safetensors_numpy,
      "save",
      safetensors.SafetensorError(
        "Error while serializing: I/O error: No space left on device (os "
        "error 28)"
      ),
    ),
  ],
)
def test_failed_export_leaves_nothing(
  owner: Any,
  name: str,
  error: Exception,
  tmp_path: pathlib.Path,
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  source = tmp_path / "backbone"
  source.mkdir()
  folder = write(source, encoder_tensors())
  params = pretrained.fill(_classifier(folder), folder)

  def fail(*args: Any, **kwargs: Any) -> None:
    raise error

  monkeypatch.setattr(owner, name, fail)
  fails(
    r"exported: cannot be written \(No space left on device\)",
    pretrained.export,
    params,
    str(tmp_path / "exported"),
    pretrained.read_backbone(folder),
  )
  assert os.listdir(tmp_path) == ["backbone"]


def test_export_of_a_process_that_leaves(
  tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  (source := tmp_path / "backbone").mkdir()
  folder = write(source, encoder_tensors())
  (source / "vocab.txt").write_text("[PAD]\n")
  params = pretrained.fill(_classifier(folder), folder)
  backbone = pretrained.read_backbone(folder)

  def leave(*args: object) -> None:
    assert len(os.listdir(tmp_path)) == 2
    files.remove_unfinished()
    assert os.listdir(tmp_path) == ["backbone"]
    raise KeyboardInterrupt

  monkeypatch.setattr(shutil, "copyfile", leave)
  with pytest.raises(KeyboardInterrupt):
    pretrained.export(params, str(tmp_path / "exported"), backbone)
