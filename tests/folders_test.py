import json
import os
import pathlib
import types
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors
from paper_checkpoints import CONFIG, fails, write

from splitner_jax import pretrained


def test_resolve_minilm(
  tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.setenv("SPLITNER_CACHE", str(tmp_path))
  fails(r"launch/setup\.sh", pretrained.resolve, "minilm")
  (tmp_path / "all-MiniLM-L6-v2").mkdir()
  assert pretrained.resolve("minilm") == str(tmp_path / "all-MiniLM-L6-v2")


def test_resolve_folder(tmp_path: pathlib.Path) -> None:
  assert pretrained.resolve(str(tmp_path)) == str(tmp_path)
  for name in (str(tmp_path / "none"), "./a/b/c", "two words", ""):
    fails("no folder", pretrained.resolve, name)


@pytest.mark.parametrize("weights", ["model.safetensors", "pytorch_model.bin"])
def test_resolve_hub(
  tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, weights: str
) -> None:
  asked: list[str] = []

  def download(name: str, allow_patterns: list[str]) -> str:
    assert name == "owner/model"
    asked.extend(allow_patterns)
    if weights in allow_patterns:
      (tmp_path / weights).touch()
    return str(tmp_path)

  monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
  assert pretrained.resolve("owner/model") == str(tmp_path)
  assert os.listdir(tmp_path) == [weights]
  assert "config.json" in asked
  assert ("pytorch_model.bin" in asked) == (weights == "pytorch_model.bin")
  assert not any(pattern.endswith((".py", "*")) for pattern in asked)


def test_minilm_is_on_the_hub_where_no_set_up_was(
  tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
  cache, hub = tmp_path / "cache", tmp_path / "hub"
  hub.mkdir()
  (hub / "model.safetensors").touch()
  monkeypatch.setenv("SPLITNER_CACHE", str(cache))

  def download(name: str, **_: Any) -> str:
    assert name == "sentence-transformers/all-MiniLM-L6-v2"
    return str(hub)

  monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
  assert pretrained.resolve("minilm") == str(hub)

  def offline(name: str, **_: Any) -> str:
    raise errors.LocalEntryNotFoundError("offline")

  monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
  fails(
    "minilm: is not in .*, where launch/setup.sh .*cannot be reached",
    pretrained.resolve,
    "minilm",
  )
  (cache / "all-MiniLM-L6-v2").mkdir(parents=True)
  assert pretrained.resolve("minilm") == str(cache / "all-MiniLM-L6-v2")


_RESPONSE: Any = types.SimpleNamespace(headers={}, request=None)


@pytest.mark.parametrize(
  ("error", "match"),
  [
    (errors.LocalEntryNotFoundError("offline"), "cannot be reached.*folder"),
    (RuntimeError("no\nroute"), "cannot be reached.*no route"),
    (
      errors.RepositoryNotFoundError("404", response=_RESPONSE),
      "no such model",
    ),
    (errors.GatedRepoError("403", response=_RESPONSE), "permission"),
  ],
)
def test_hub_errors(
  monkeypatch: pytest.MonkeyPatch, error: Exception, match: str
) -> None:
  def download(*args: Any, **kwargs: Any) -> str:
    raise error

  monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
  fails(match, pretrained.resolve, "owner/model")


def test_read_backbone(tmp_path: pathlib.Path) -> None:
  backbone = pretrained.read_backbone(write(tmp_path), dtype="bfloat16")
  encoder = backbone.encoder
  assert backbone.family is pretrained.FAMILIES["bert"]
  assert backbone.folder == str(tmp_path)
  assert (encoder.vocab_size, encoder.hidden_size) == (11, 6)
  assert (encoder.num_layers, encoder.num_heads) == (2, 2)
  assert (encoder.intermediate_size, encoder.max_positions) == (8, 9)
  assert (encoder.layer_norm_eps, encoder.activation) == (1e-12, "gelu")
  assert (encoder.position_offset, encoder.dtype) == (0, "bfloat16")


def test_read_roberta(tmp_path: pathlib.Path) -> None:
  folder = write(
    tmp_path, model_type="roberta", type_vocab_size=1, layer_norm_eps=1e-5
  )
  backbone = pretrained.read_backbone(folder)
  assert backbone.family is pretrained.FAMILIES["roberta"]
  assert backbone.encoder.position_offset == 2
  assert backbone.encoder.max_length == 7
  assert backbone.encoder.layer_norm_eps == 1e-5


def test_config_without_model_type(tmp_path: pathlib.Path) -> None:
  config = {k: v for k, v in CONFIG.items() if k != "model_type"}
  path = tmp_path / "config.json"
  path.write_text(json.dumps(config))
  assert pretrained.read_backbone(str(tmp_path)).family.name == "bert"
  path.write_text(json.dumps(config | {"architectures": ["RobertaModel"]}))
  assert pretrained.read_backbone(str(tmp_path)).family.name == "roberta"
  for odd in (5, {"a": 1}):
    path.write_text(json.dumps(config | {"architectures": odd}))
    fails("architectures is .*a list", pretrained.read_backbone, str(tmp_path))


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("model_type", "distilbert"),
    ("model_type", ["bert"]),
    ("model_type", {}),
    ("position_embedding_type", "relative_key"),
    ("is_decoder", True),
    ("hidden_act", "swish"),
    ("hidden_act", ["gelu"]),
    ("hidden_act", {}),
    ("hidden_size", None),
    ("hidden_size", 7),
    ("num_hidden_layers", "2"),
    ("type_vocab_size", 0),
    ("layer_norm_eps", "tiny"),
    ("hidden_dropout_prob", 1.5),
  ],
)
def test_unsupported_config(
  tmp_path: pathlib.Path, field: str, value: Any
) -> None:
  folder = write(tmp_path, **{field: value})
  fails(rf"config\.json: {field} is ", pretrained.read_backbone, folder)


def test_broken_config(tmp_path: pathlib.Path) -> None:
  fails("a folder with config.json", pretrained.read_backbone, str(tmp_path))
  for text in ("{", "[]", "\xff"):
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    fails("not ", pretrained.read_backbone, str(tmp_path))


def test_entity_types(tmp_path: pathlib.Path) -> None:
  folder = write(tmp_path, id2label={"1": "gene", "0": "cell"})
  assert pretrained.entity_types(folder, 2) == ("cell", "gene")
  given = ("gene", "cell")
  assert pretrained.entity_types(folder, 2, given) == given
  for call in (
    lambda: pretrained.entity_types(folder, 3),
    lambda: pretrained.entity_types(folder, 2, ("cell", "cell")),
  ):
    fails(r"--config\.classifier\.labels=", call)


@pytest.mark.parametrize(
  "config",
  [
    {},
    {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}},
    {"id2label": {"1": "cell", "2": "gene"}},
    {"id2label": ["cell", "gene"]},
  ],
)
def test_unnamed_entity_types(
  tmp_path: pathlib.Path, config: dict[str, Any]
) -> None:
  folder = write(tmp_path, **config)
  fails(r"--config\.classifier\.labels=", pretrained.entity_types, folder, 2)
