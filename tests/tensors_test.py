import json
import pathlib
from typing import Any

import numpy as np
import pytest
from paper_checkpoints import encoder_tensors, fails
from safetensors import numpy as safetensors_numpy

from splitner_jax.pretrained.tensors import read_tensors


def _write_shards(folder: pathlib.Path) -> dict[str, str]:
  tensors = encoder_tensors()
  weight_map = {
    name: f"model-0000{1 + i % 2}-of-00002.safetensors"
    for i, name in enumerate(tensors)
  }
  for shard in set(weight_map.values()):
    part = {
      name: tensors[name] for name in tensors if weight_map[name] == shard
    }
    safetensors_numpy.save_file(part, folder / shard)
  _write_index(folder, weight_map)
  return weight_map


def _write_index(folder: pathlib.Path, weight_map: Any) -> None:
  path = folder / "model.safetensors.index.json"
  path.write_text(json.dumps({"weight_map": weight_map}))


def test_shards(tmp_path: pathlib.Path) -> None:
  _write_shards(tmp_path)
  tensors = read_tensors(str(tmp_path))
  assert tensors.keys() == encoder_tensors().keys()
  for name, tensor in encoder_tensors().items():
    np.testing.assert_array_equal(tensors[name], tensor, err_msg=name)


def test_broken_shards(tmp_path: pathlib.Path) -> None:
  folder = str(tmp_path)
  weight_map = _write_shards(tmp_path)
  name = "pooler.dense.bias"
  _write_index(tmp_path, weight_map | {name: "../model.safetensors"})
  fails("files of the same folder", read_tensors, folder)
  _write_index(tmp_path, weight_map | {name: 3})
  fails("not an index", read_tensors, folder)
  _write_index(tmp_path, weight_map | {"more": weight_map[name]})
  fails("example more", read_tensors, folder)
  _write_index(tmp_path, weight_map)
  (tmp_path / weight_map[name]).unlink()
  fails("is missing", read_tensors, folder)


def test_truncated(tmp_path: pathlib.Path) -> None:
  path = tmp_path / "model.safetensors"
  safetensors_numpy.save_file(encoder_tensors(), path)
  content = path.read_bytes()
  for length in (0, 5, len(content) - 1):
    path.write_bytes(content[:length])
    fails("cannot be read", read_tensors, str(tmp_path))


def test_no_weights(tmp_path: pathlib.Path) -> None:
  fails("no weights", read_tensors, str(tmp_path))


@pytest.mark.parametrize("dtype", ["F4", "F8_E4M3", "F8_E5M2", "F8_E8M0"])
def test_small_numbers(tmp_path: pathlib.Path, dtype: str) -> None:
  """safetensors looks for them in NumPy, in vain."""
  size = 1 if dtype == "F4" else 2
  entry = {"dtype": dtype, "shape": [2], "data_offsets": [0, size]}
  header = json.dumps({"some": entry}).encode()
  path = tmp_path / "model.safetensors"
  path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(size))
  fails(f"some is {dtype}, which cannot be", read_tensors, str(tmp_path))
