"""Reading PyTorch's weight files without PyTorch, and without running them.

`torch.save` writes a pickle, which says how tensors are laid over storages,
and the raw numbers of the storages: as members of a zip archive since PyTorch
1.6, one after the other behind the pickle before that.

A pickle can run anything. This one is read by `pickles`, which knows plain
values only, and the few names that a dictionary of tensors needs; what they
build are records, and only when the pickle is done are these checked against
the storages and turned into arrays.
"""

import io
import math
import os
import re
import struct
import zipfile
from collections.abc import Sequence
from typing import IO, NamedTuple, TypeGuard

import numpy as np
from jax import numpy as jnp

from splitner_jax.pretrained import pickles
from splitner_jax.runtime.errors import UserError

_DTYPES: dict[str, np.dtype] = {
  "DoubleStorage": np.dtype("<f8"),
  "FloatStorage": np.dtype("<f4"),
  "HalfStorage": np.dtype("<f2"),
  "BFloat16Storage": np.dtype(jnp.bfloat16),
  "LongStorage": np.dtype("<i8"),
  "IntStorage": np.dtype("<i4"),
  "ShortStorage": np.dtype("<i2"),
  "CharStorage": np.dtype("i1"),
  "ByteStorage": np.dtype("u1"),
  "BoolStorage": np.dtype("?"),
}

_UNTYPED = "UntypedStorage"
_MOST_DIMENSIONS = 32

_ZIP_START = b"PK\x03\x04"
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION = 1001


class _Storage(NamedTuple):
  """A run of numbers that the file should have."""

  kind: str
  key: str
  numel: int


class _Tensor(NamedTuple):
  """A strided view of a storage; nothing in it can be trusted yet."""

  storage: object
  offset: object
  size: object
  stride: object


class _Reader:
  """Reads descriptions: dictionaries, tensors and storages, nothing else."""

  def __init__(self, file: IO[bytes]):
    self.storages: set[_Storage] = set()
    self._pickles = pickles.Reader(file, self._find, self._storage)
    self._known: dict[tuple[str, str], pickles.Name] = {
      ("collections", "OrderedDict"): pickles.Name("OrderedDict", _table),
      ("torch._utils", "_rebuild_tensor"): pickles.Name("a tensor", _tensor),
      ("torch._utils", "_rebuild_tensor_v2"): pickles.Name("a tensor", _tensor),
      ("torch._utils", "_rebuild_tensor_v3"): pickles.Name("a tensor", _other),
      ("torch._utils", "_rebuild_parameter"): pickles.Name(
        "a parameter", _parameter
      ),
      ("torch.storage", _UNTYPED): pickles.Name(_UNTYPED),
    }

  def load(self) -> object:
    """Loads what a pickle says, unchecked."""
    return self._pickles.load()

  def load_table(self) -> dict[str, _Tensor]:
    """Loads a dictionary of tensors, whose views are not yet checked."""
    table = self.load()
    if not isinstance(table, dict):
      raise UserError(
        f"it holds {type(table).__name__}, not a dictionary of tensors; "
        "save model.state_dict() alone"
      )
    for name, tensor in table.items():
      if type(name) is not str or not isinstance(tensor, _Tensor):
        raise UserError(
          f"its entry {_short(name)} is {type(tensor).__name__}, not a tensor; "
          "save model.state_dict() alone"
        )
    if len({storage.key for storage in self.storages}) < len(self.storages):
      raise UserError("it describes one storage in two ways; download it again")
    return table

  def _find(self, module: str, name: str) -> pickles.Name:
    if (module, name) in self._known:
      return self._known[module, name]
    # Of storages and, without a dot, of types of numbers.
    if module == "torch" and re.fullmatch(r"\w+Storage|[a-z]+\d\w*", name):
      return pickles.Name(name)
    raise UserError(
      f"it asks for {_short(f'{module}.{name}')}, which no dictionary of "
      "tensors needs; do not trust this file"
    )

  def _storage(self, pid: object) -> _Storage:
    if type(pid) is not tuple or len(pid) < 5:
      raise pickles.DamageError("a storage without a description")
    tag, kind, key, _, numel, *view = pid
    if tag != "storage" or any(v is not None for v in view):
      raise UserError(
        "it has views of storages, which are not supported; save the "
        "model again with PyTorch 1.6 or later"
      )
    if (
      not isinstance(kind, pickles.Name)
      or type(key) is not str
      or not _is_count(numel)
    ):
      raise pickles.DamageError("a storage without a description")
    if kind.text not in (*_DTYPES, _UNTYPED):
      raise _unreadable(kind.text)
    storage = _Storage(kind.text, key, numel)
    self.storages.add(storage)
    return storage


def _table(items: Sequence[object] = ()) -> dict[object, object]:
  return pickles.checked(items)  # Python 2 gave the items here.


def _tensor(
  storage: object, offset: object, size: object, stride: object, *_: object
) -> _Tensor:
  return _Tensor(storage, offset, size, stride)


def _other(*arguments: object) -> _Tensor:
  """A tensor whose numbers are of a type that has no storage of its own."""
  dtype = arguments[6] if len(arguments) > 6 else None
  if not isinstance(dtype, pickles.Name):
    raise pickles.DamageError("a tensor without a type")
  raise _unreadable(dtype.text)


def _parameter(tensor: object, *_: object) -> object:
  return tensor


def _unreadable(kind: str) -> UserError:
  return UserError(
    f"its numbers are {_short(kind)}, which cannot be read; use weights of 16 "
    "bits or more"
  )


def _short(value: object) -> str:
  """A value that the file gives, for a message."""
  plain = type(value) in (str, bytes, int, float, bool, type(None))
  return repr(value)[:80] if plain else type(value).__name__


def read(path: str) -> dict[str, np.ndarray]:
  """Reads a dictionary of tensors that `torch.save` wrote.

  Returns:
    Read-only arrays under the names of the file, in its dtypes.

  Raises:
    UserError: if the file is not a dictionary of tensors, is damaged, or
      holds anything else; nothing of it is ever run.
  """
  try:
    with open(path, "rb") as file:
      is_zip = file.read(4) == _ZIP_START
      file.seek(0)
      return _read_zip(file) if is_zip else _read_legacy(file)
  except UserError as e:
    raise UserError(f"{path}: {e}") from e
  # A damaged archive can raise anything.
  except Exception as e:
    name = "" if isinstance(e, pickles.DamageError) else f"{type(e).__name__}: "
    reason = " ".join(f"{name}{e}".split())[:200]
    raise UserError(
      f"{path}: damaged, or not a PyTorch file ({reason}); download it again"
    ) from e


def _read_zip(file: IO[bytes]) -> dict[str, np.ndarray]:
  with zipfile.ZipFile(file) as archive:
    members = {info.filename: info for info in archive.infolist()}
    (pickled,) = (name for name in members if name.endswith("/data.pkl"))
    root = pickled.removesuffix("data.pkl")

    left = os.fstat(file.fileno()).st_size

    def member(name: str) -> bytes:
      nonlocal left
      info = members.get(root + name)
      if info is None:
        raise UserError(
          f"its member {_short(name)} is missing; download it again"
        )
      # PyTorch never compresses, so all members together are no larger than
      # the file, unless some share their bytes.
      if info.compress_type != zipfile.ZIP_STORED:
        raise UserError(
          f"its member {_short(name)} is compressed; use what torch.save wrote"
        )
      left -= info.file_size
      if left < 0 or info.file_size != info.compress_size:
        raise UserError(
          f"its member {_short(name)} does not fit into it; download it again"
        )
      return archive.read(info)

    if f"{root}byteorder" in members and member("byteorder") != b"little":
      raise UserError(
        "it was written on a big-endian machine; save it on another"
      )
    reader = _Reader(io.BytesIO(member("data.pkl")))
    table = reader.load_table()
    data = {s: member(f"data/{s.key}") for s in reader.storages}
  return _arrays(table, data)


def _read_legacy(file: IO[bytes]) -> dict[str, np.ndarray]:
  if _Reader(file).load() != _LEGACY_MAGIC:
    raise UserError("not a PyTorch file; download it again")
  if _Reader(file).load() != _LEGACY_VERSION:
    raise UserError("of an unknown version; save it with PyTorch 1.6 or later")
  about = _Reader(file).load()
  if type(about) is not dict or about.get("little_endian") is not True:
    raise UserError(
      "it was written on a big-endian machine; save it on another"
    )
  reader = _Reader(file)
  table = reader.load_table()
  keys = _Reader(file).load()
  storages = {s.key: s for s in reader.storages}
  if (
    type(keys) is not list
    or not all(type(key) is str for key in keys)
    or sorted(keys) != sorted(storages)
  ):
    raise UserError(
      "its list of storages does not match its tensors; download it again"
    )
  size = os.fstat(file.fileno()).st_size
  data: dict[_Storage, bytes] = {}
  for key in keys:
    storage = storages[key]
    (count,) = struct.unpack("<q", file.read(8))
    if count != storage.numel:
      raise _misfit(storage)
    length = count * _DTYPES[storage.kind].itemsize
    if length > size - file.tell():
      raise UserError("it is cut off; download it again")
    data[storage] = file.read(length)
  return _arrays(table, data)


def _misfit(storage: _Storage) -> UserError:
  return UserError(
    f"its storage {_short(storage.key)} has another size than its tensors; "
    "download it again"
  )


def _is_count(value: object) -> TypeGuard[int]:
  return type(value) is int and value >= 0


def _are_counts(values: object) -> TypeGuard[tuple[int, ...]]:
  return type(values) is tuple and all(map(_is_count, values))


def _arrays(
  table: dict[str, _Tensor], data: dict[_Storage, bytes]
) -> dict[str, np.ndarray]:
  """Lays the tensors over the storages, after checking that they fit."""
  for storage, content in data.items():
    if len(content) != storage.numel * _DTYPES[storage.kind].itemsize:
      raise _misfit(storage)
  return {name: _array(name, tensor, data) for name, tensor in table.items()}


def _array(
  name: str, tensor: _Tensor, data: dict[_Storage, bytes]
) -> np.ndarray:
  storage, offset, size, stride = tensor
  if (
    not isinstance(storage, _Storage)
    or not _is_count(offset)
    or not _are_counts(size)
    or not _are_counts(stride)
    or not len(size) == len(stride) <= _MOST_DIMENSIONS
  ):
    raise UserError(
      f"its tensor {_short(name)} is malformed; download it again"
    )
  dtype = _DTYPES[storage.kind]
  count = math.prod(size)
  if count == 0:
    return np.zeros(size, dtype)
  last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
  # The second condition: repeating numbers by strides of 0 could make a tiny
  # file fill the memory.
  if last >= storage.numel or count > storage.numel:
    view = f"offset {offset}, size {size}, stride {stride}"
    raise UserError(
      f"its tensor {_short(name)} ({view[:120]}) does not fit into a storage "
      f"of {_short(storage.numel)} numbers; download it again"
    )
  numbers = np.frombuffer(data[storage], dtype, offset=offset * dtype.itemsize)
  return np.lib.stride_tricks.as_strided(
    numbers, size, [s * dtype.itemsize for s in stride], writeable=False
  )
