"""T5's published folders, its distances and its tokens."""

import json
import pathlib
from typing import Any

import numpy as np
import pytest
from paper_checkpoints import fails

from splitner_jax import pretrained
from splitner_jax.inputs.tokenizer import Tokenizer
from splitner_jax.models.heads import PooledClassifier
from splitner_jax.models.shapes import parameter_shapes
from splitner_jax.models.t5 import T5Config, bucket_table
from tests import tiny_families


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
  return tiny_families.make("t5", tmp_path / "backbone")


def _edit(folder: pathlib.Path, **fields: Any) -> None:
  path = folder / "config.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_config(folder: pathlib.Path) -> None:
  config = pretrained.read_backbone(str(folder)).encoder
  assert config == T5Config(
    *(88, 16, 2, 2, 32, 512),
    layer_norm_eps=1e-6,
    activation="gelu_new",
    head_size=6,
    gated=True,
  )
  _edit(folder, feed_forward_proj="relu", n_positions=64, dropout_rate=0.2)
  config = pretrained.read_backbone(str(folder)).encoder
  assert (config.activation, config.max_length) == ("relu", 64)
  assert config.hidden_dropout == config.attention_dropout == 0.2
  shapes = parameter_shapes(PooledClassifier(config, 3))
  assert shapes["encoder/layer_1/intermediate/kernel"] == (16, 32)
  assert not any("gate" in name for name in shapes)
  assert not any(
    name.startswith("encoder") and name.endswith("bias") for name in shapes
  )


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("feed_forward_proj", "gated-silu"),
    ("d_kv", 0),
    ("relative_attention_num_buckets", 6),
    ("relative_attention_max_distance", 8),
  ],
)
def test_unsupported_config(
  folder: pathlib.Path, field: str, value: Any
) -> None:
  _edit(folder, **{field: value})
  fails(f"json: {field} is ", pretrained.read_backbone, str(folder))


def test_buckets() -> None:
  """Near distances have their own, to either side; far ones share."""
  table = bucket_table(T5Config(*(9, 8, 1, 2, 8, 64)))
  assert len(table) == 257
  middle = 128
  assert table[middle - 7 : middle + 8].tolist() == [
    *(7, 6, 5, 4, 3, 2, 1, 0),
    *(17, 18, 19, 20, 21, 22, 23),
  ]
  assert (table[0], table[-1]) == (15, 31)
  assert np.all(np.diff(table[middle + 1 :]) >= 0)
  assert sorted(set(table)) == [n for n in range(32) if n != 16]


@pytest.mark.parametrize(("buckets", "most"), [(32, 128), (8, 5), (64, 300)])
def test_buckets_of_transformers(buckets: int, most: int) -> None:
  torch = pytest.importorskip("torch")
  t5 = pytest.importorskip("transformers.models.t5.modeling_t5")
  distances = torch.arange(-most, most + 1)
  theirs = t5.T5Attention._relative_position_bucket(
    distances, num_buckets=buckets, max_distance=most
  )
  config = T5Config(
    *(9, 8, 1, 2, 8, 64), num_buckets=buckets, max_distance=most
  )
  assert bucket_table(config).tolist() == theirs.tolist()


def test_tokens(folder: pathlib.Path) -> None:
  """Words are read with their space, which is nothing of their text."""
  pairs = pretrained.FAMILIES["t5"].pairs
  tokenizer = Tokenizer(str(folder), pairs, max_length=64)
  words = tokenizer([["what", "no", "?"]])
  names = tokenizer.fast.convert_ids_to_tokens(words.ids.tolist())
  assert names == [
    *("▁what", "▁", "n", "o", "▁", "?"),
    *("<extra_id_0>", "</s>"),
  ]
  assert [words.distinct[t] for t in words.texts[:6]] == [
    *("what", "", "n", "o", "", "?"),
  ]
  assert words.starts(0).tolist() == [0, 1, 4, 6]
  # A model's folder is saved with its token to begin with.
  tokenizer.fast.save_pretrained(folder)
  again = Tokenizer(str(folder), pairs, max_length=64)([["what"]])
  assert again.ids[1:].tolist() == words.ids[6:].tolist()
