"""Small checkpoints for tests, under published names."""

import json
import pathlib
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from safetensors import numpy as safetensors_numpy

from splitner_jax.runtime.errors import UserError

Arrays = dict[str, np.ndarray]

CONFIG: dict[str, Any] = {
  "model_type": "bert",
  "vocab_size": 11,
  "hidden_size": 6,
  "num_hidden_layers": 2,
  "num_attention_heads": 2,
  "intermediate_size": 8,
  "max_position_embeddings": 9,
  "type_vocab_size": 2,
}


def random_array(*shape: int, name: str = "") -> np.ndarray:
  random = np.random.default_rng((zlib.crc32(name.encode()), *shape))
  return random.standard_normal(shape, np.float32)


def _named(shapes: dict[str, tuple[int, ...]]) -> Arrays:
  """Random tensors; the same name has the same numbers."""
  return {
    name: random_array(*shape, name=name) for name, shape in shapes.items()
  }


def linear_tensors(name: str, inputs: int, outputs: int) -> Arrays:
  return _named(
    {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}
  )


def _norm(name: str) -> Arrays:
  return _named({f"{name}.weight": (6,), f"{name}.bias": (6,)})


def encoder_tensors() -> Arrays:
  """The tensors of transformers' BertModel for `CONFIG`."""
  tensors = _norm("embeddings.LayerNorm") | _named(
    {
      "embeddings.word_embeddings.weight": (11, 6),
      "embeddings.position_embeddings.weight": (9, 6),
      "embeddings.token_type_embeddings.weight": (2, 6),
    }
  )
  for i in range(2):
    layer = f"encoder.layer.{i}"
    for part in ("self.query", "self.key", "self.value", "output.dense"):
      tensors |= linear_tensors(f"{layer}.attention.{part}", 6, 6)
    tensors |= _norm(f"{layer}.attention.output.LayerNorm")
    tensors |= linear_tensors(f"{layer}.intermediate.dense", 6, 8)
    tensors |= linear_tensors(f"{layer}.output.dense", 8, 6)
    tensors |= _norm(f"{layer}.output.LayerNorm")
  return tensors | linear_tensors("pooler.dense", 6, 6)


def cnn_tensors(name: str, rows: int, widths: int) -> Arrays:
  shapes: dict[str, tuple[int, ...]] = {f"{name}.emb.weight": (rows, 50)}
  for i in range(widths):
    shapes[f"{name}.char_conv_{i}.weight"] = (800, 1, i + 1)
    shapes[f"{name}.char_conv_{i}.bias"] = (800,)
  return _named(shapes) | linear_tensors(f"{name}.lin", 800 * widths, 768)


def detector_tensors(family: str = "bert") -> Arrays:
  """A detector of the reference with the pattern feature."""
  tensors = {f"{family}.{name}": t for name, t in encoder_tensors().items()}
  names = {"bert": "pattern_emb", "roberta": "pattern_cnn"}
  tensors |= cnn_tensors(names[family], 42, 3)
  shapes: dict[str, tuple[int, ...]] = {}
  for direction in ("", "_reverse"):
    for kind, inputs in (("ih", 768), ("hh", 256)):
      end = f"{kind}_l0{direction}"
      shapes[f"pattern_lstm.weight_{end}"] = (1024, inputs)
      shapes[f"pattern_lstm.bias_{end}"] = (1024,)
  return tensors | _named(shapes) | linear_tensors("classifier", 518, 4)


def write(
  folder: pathlib.Path, tensors: Arrays | None = None, **config: Any
) -> str:
  (folder / "config.json").write_text(json.dumps(CONFIG | config))
  if tensors is not None:
    safetensors_numpy.save_file(tensors, folder / "model.safetensors")
  return str(folder)


def fails(match: str, call: Callable[..., Any], *args: Any, **kwargs: Any):
  with pytest.raises(UserError, match=match) as error:
    call(*args, **kwargs)
  assert "\n" not in str(error.value)
