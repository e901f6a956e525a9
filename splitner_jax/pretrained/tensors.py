"""Tensors of a checkpoint folder: read from whatever file, and written."""

import os
import pathlib

import numpy as np
import safetensors
from safetensors import numpy as safetensors_numpy

from splitner_jax.pretrained import torch_files
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.json_text import parse

Tensors = dict[str, np.ndarray]

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_TORCH = "pytorch_model.bin"


def read_tensors(folder: str) -> Tensors:
  """All tensors of a folder, under the names and dtypes of the file.

  The first of these is read: `model.safetensors`, its shards by their
  `model.safetensors.index.json`, `pytorch_model.bin`.

  Raises:
    UserError: if there is none of them, or it is broken.
  """
  for name, read in (
    (_SINGLE, read_safetensors),
    (_INDEX, _read_shards),
    (_TORCH, torch_files.read),
  ):
    path = os.path.join(folder, name)
    if os.path.isfile(path):
      return read(path)
  raise UserError(
    f"{folder} has no weights: none of {_SINGLE}, {_INDEX}, {_TORCH}; get it "
    "again"
  )


def write_safetensors(
  path: str | os.PathLike[str],
  tensors: Tensors,
  metadata: dict[str, str] | None = None,
) -> None:
  """Writes a file with the mode that others have.

  Through bytes: the library makes files that only their owner can read.

  Raises:
    OSError: it cannot be written.
  """
  data = safetensors_numpy.save(tensors, metadata)
  pathlib.Path(path).write_bytes(data)


def read_safetensors(
  path: str, what_to_do: str = "download it again"
) -> Tensors:
  """All tensors of a file, under its names and dtypes.

  Raises:
    UserError: it is broken, or has a dtype that NumPy does not know.
  """
  try:
    return safetensors_numpy.load_file(path)
  except AttributeError:
    # Of a dtype that NumPy has not.
    with safetensors.safe_open(path, framework="numpy") as file:
      names = sorted(file.keys())
      dtypes = [file.get_slice(name).get_dtype() for name in names]
    found = zip(names, dtypes, strict=True)
    name, dtype = next(pair for pair in found if pair[1][:2] in ("F4", "F8"))
    raise UserError(
      f"{path}: {name} is {dtype}, which cannot be read; use weights of 16 "
      "bits or more"
    ) from None
  except (safetensors.SafetensorError, OSError, KeyError, ValueError) as e:
    reason = " ".join(str(e).split())
    raise UserError(f"{path}: cannot be read ({reason}); {what_to_do}") from e


def _read_shards(path: str) -> Tensors:
  """Follows an index: {"weight_map": {tensor name: file name}}."""
  try:
    with open(path, "rb") as file:
      weight_map = dict(parse(file.read())["weight_map"])
    shards = sorted(set(weight_map.values()))
    # An index comes with the checkpoint; it may not point out of its folder.
    plain = all(os.path.basename(shard) == shard for shard in shards)
  except (OSError, ValueError, KeyError, TypeError) as e:
    raise UserError(
      f"{path}: not an index of shards ({e!r}); download it again"
    ) from e
  if not plain:
    raise UserError(
      f"{path}: shards must be files of the same folder; do not trust it"
    )
  tensors: Tensors = {}
  for shard in shards:
    shard_path = os.path.join(os.path.dirname(path), shard)
    if not os.path.isfile(shard_path):
      raise UserError(f"{path}: its shard {shard} is missing; download it too")
    found = read_safetensors(shard_path)
    expected = {name for name, file in weight_map.items() if file == shard}
    if found.keys() != expected:
      example = min(found.keys() ^ expected)
      raise UserError(
        f"{shard_path}: its tensors are not those of the index, for example "
        f"{example}; download both again"
      )
    tensors |= found
  return tensors
