"""ELECTRA's published folders: what is read of them, and what is not."""

import json
import pathlib
from typing import Any

import pytest
from paper_checkpoints import fails

from splitner_jax import pretrained
from splitner_jax.models.electra import ElectraConfig
from splitner_jax.models.heads import PooledClassifier
from splitner_jax.models.shapes import parameter_shapes
from tests import tiny_families


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
  return tiny_families.make("electra", tmp_path / "backbone")


def _edit(folder: pathlib.Path, **fields: Any) -> None:
  path = folder / "config.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_config(folder: pathlib.Path) -> None:
  backbone = pretrained.read_backbone(str(folder))
  config = backbone.encoder
  assert isinstance(config, ElectraConfig)
  assert backbone.family.name == config.family == "electra"
  assert (config.embedding_size, config.hidden_size) == (8, 16)
  assert config.max_length == config.max_positions == 512
  # One separator, two token types.
  assert backbone.family.pairs == pretrained.FAMILIES["bert"].pairs


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("embedding_size", 0),
    ("is_decoder", True),
    ("position_embedding_type", "relative_key"),
    ("hidden_act", "swish"),
  ],
)
def test_unsupported_config(
  folder: pathlib.Path, field: str, value: Any
) -> None:
  _edit(folder, **{field: value})
  fails(f"json: {field} is ", pretrained.read_backbone, str(folder))


@pytest.mark.parametrize("embedding_size", [8, 16])
def test_a_projection_only_where_sizes_differ(
  folder: pathlib.Path, embedding_size: int
) -> None:
  _edit(folder, embedding_size=embedding_size)
  encoder = pretrained.read_backbone(str(folder)).encoder
  shapes = parameter_shapes(PooledClassifier(encoder, 3))
  found = shapes.get("encoder/projection/kernel")
  assert found == ((8, 16) if embedding_size == 8 else None)
  assert shapes["encoder/embeddings/position"] == (512, embedding_size)
