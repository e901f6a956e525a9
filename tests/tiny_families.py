"""Tiny random backbones of each family but BERT, which `tiny` makes."""

import json
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
from flax import traverse_util
from safetensors.numpy import save_file

from splitner_jax import pretrained
from splitner_jax.models.heads import PooledClassifier, TokenClassifier
from splitner_jax.models.shapes import parameter_shapes
from tests import tiny

_SIZES = {
  "hidden_size": 16,
  "num_hidden_layers": 2,
  "num_attention_heads": 2,
  "intermediate_size": 32,
  "max_position_embeddings": 512,
}
CONFIGS: dict[str, dict[str, Any]] = {
  "electra": {
    **_SIZES,
    "vocab_size": len(tiny.vocabulary()),
    "embedding_size": 8,
    "type_vocab_size": 2,
  },
  "modernbert": {
    **_SIZES,
    "num_hidden_layers": 4,
    "vocab_size": 290,
    "pad_token_id": 0,
    **dict.fromkeys(("bos_token_id", "cls_token_id"), 2),
    **dict.fromkeys(("eos_token_id", "sep_token_id"), 3),
    # As published ones have it.
    "position_embedding_type": "absolute",
    "global_attn_every_n_layers": 3,
    "global_rope_theta": 160000.0,
    "local_rope_theta": 10000.0,
    "local_attention": 16,
    "norm_bias": False,
  },
  "t5": {
    "vocab_size": 88,
    "d_model": 16,
    # Heads that are together smaller than the model.
    "d_kv": 6,
    "d_ff": 32,
    "num_layers": 2,
    "num_heads": 2,
    "feed_forward_proj": "gated-gelu",
  },
}
"""Of each family, its config.json."""
_TOKENIZERS: dict[str, Callable[[pathlib.Path], Any]] = {
  "electra": tiny.make_word_pieces,
  "modernbert": tiny.make_byte_level,
  "t5": tiny.make_sentence_pieces,
}


def zeros(model: PooledClassifier | TokenClassifier) -> dict[str, Any]:
  """Parameters of a model."""
  return traverse_util.unflatten_dict(
    {
      name: np.zeros(shape, np.float32)
      for name, shape in parameter_shapes(model).items()
    },
    sep="/",
  )


def make(family: str, folder: pathlib.Path) -> pathlib.Path:
  """Writes config.json, tokenizer files and random weights."""
  folder.mkdir(parents=True, exist_ok=True)
  config = {**CONFIGS[family], "model_type": family}
  (folder / "config.json").write_text(json.dumps(config))
  _TOKENIZERS[family](folder)
  backbone = pretrained.read_backbone(str(folder))
  params = zeros(TokenClassifier(backbone.encoder, 2))
  tensors = pretrained.to_hf({"encoder": params["encoder"]}, backbone.family)
  rng = np.random.default_rng(0)
  save_file(
    {
      name.removeprefix(backbone.family.prefix): rng.normal(
        "norm" in name.lower() and name.endswith("weight"), 0.1, tensor.shape
      ).astype(np.float32)
      for name, tensor in tensors.items()
    },
    folder / "model.safetensors",
  )
  return folder
