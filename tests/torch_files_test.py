"""Pickles are put together by hand here, so that they can lie."""

import io
import pathlib
import pickle
import struct
import zipfile
from typing import Any

import numpy as np
import pytest
from paper_checkpoints import fails

from splitner_jax.pretrained import torch_files
from splitner_jax.runtime.errors import UserError


def _value(value: Any) -> bytes:
  """The opcodes of a plain value."""
  return pickle.dumps(value, protocol=2)[2:-1]


def _storage(numel: Any = 6, key: Any = "0", kind: str = "FloatStorage"):
  parts = _value("storage") + b"ctorch\n%b\n" % kind.encode()
  return b"(%btQ" % (parts + _value(key) + _value("cpu") + _value(numel))


def _tensor(
  storage: bytes, offset: Any = 0, size: Any = (2, 3), stride: Any = (3, 1)
) -> bytes:
  view = _value(offset) + _value(size) + _value(stride)
  hooks = b"\x89ccollections\nOrderedDict\n)R"
  function = b"ctorch._utils\n_rebuild_tensor_v2\n"
  return function + b"(" + storage + view + hooks + b"tR"


def _table(**entries: bytes) -> bytes:
  items = b"".join(_value(name) + entry for name, entry in entries.items())
  table = b"ccollections\nOrderedDict\n)R(" + items + b"u"
  # As in a state dict, with attributes; one of them is meant badly.
  return b"\x80\x02" + table + _value({"_metadata": {}, "items": 3}) + b"b."


def _zip(pickled: bytes, data: bytes, compression: int = zipfile.ZIP_STORED):
  file = io.BytesIO()
  with zipfile.ZipFile(file, "w", compression) as archive:
    archive.writestr("archive/data.pkl", pickled)
    archive.writestr("archive/byteorder", b"little")
    archive.writestr("archive/data/0", data)
  return file.getvalue()


def _legacy(pickled: bytes, data: bytes, numel: int = 6) -> bytes:
  return b"".join(
    [
      pickle.dumps(0x1950A86A20F9469CFC6C, 2),
      pickle.dumps(1001, 2),
      pickle.dumps({"protocol_version": 1001, "little_endian": True}, 2),
      pickled,
      pickle.dumps(["0"], 2),
      struct.pack("<q", numel) + data,
    ]
  )


_DATA = np.arange(6, dtype=np.float32).tobytes()

both_formats = pytest.mark.parametrize("pack", [_zip, _legacy])


def _read(tmp_path: pathlib.Path, content: bytes) -> dict[str, np.ndarray]:
  path = tmp_path / "pytorch_model.bin"
  path.write_bytes(content)
  return torch_files.read(str(path))


@both_formats
def test_torch_file(tmp_path: pathlib.Path, pack: Any) -> None:
  pickled = _table(
    whole=_tensor(_storage()),
    turned=_tensor(_storage(), 1, (2, 2), (1, 3)),
    empty=_tensor(_storage(), 6, (0, 3), (3, 1)),
    scalar=_tensor(_storage(), 5, (), ()),
  )
  arrays = _read(tmp_path, pack(pickled, _DATA))
  np.testing.assert_array_equal(arrays["whole"], [[0, 1, 2], [3, 4, 5]])
  np.testing.assert_array_equal(arrays["turned"], [[1, 4], [2, 5]])
  assert arrays["empty"].shape == (0, 3)
  assert arrays["scalar"] == 5


def _hostile(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
  """The opcodes of a call of os.system that would leave a file."""
  monkeypatch.chdir(tmp_path)
  return b"cos\nsystem\n(" + _value("touch harm") + b"tR"


@both_formats
def test_hostile_call(
  tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, pack: Any
) -> None:
  call = _hostile(tmp_path, monkeypatch)
  for pickled in (
    b"\x80\x02" + call + b".",
    _table(weight=call),
    _table(weight=_tensor(call)),
    _table(weight=_tensor(_storage()))[:-1] + call + b"b.",
  ):
    with pytest.raises(UserError, match=r"os\.system.*do not trust"):
      _read(tmp_path, pack(pickled, _DATA))
  assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
  "name",
  [
    "builtins eval",
    "builtins getattr",
    "numpy load",
    "torch load",
    "torch._utils _rebuild_parameter.__globals__",
    "collections OrderedDict.fromkeys",
  ],
)
def test_unknown_names(tmp_path: pathlib.Path, name: str) -> None:
  module, attribute = name.split()
  # A name with dots is looked up from protocol 4 on.
  call = _value(module) + _value(attribute) + b"\x93"
  pickled = b"\x80\x04" + call + b"."
  fails(f"'{module}.{attribute}'", _read, tmp_path, _zip(pickled, _DATA))


@both_formats
def test_hostile_start_of_legacy(
  tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, pack: Any
) -> None:
  """Also the pickles around the tensors are read with care."""
  call = b"\x80\x02" + _hostile(tmp_path, monkeypatch) + b"."
  good = _legacy(_table(weight=_tensor(_storage())), _DATA)
  magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2)
  keys = pickle.dumps(["0"], 2)
  for content in (call + good, magic + call, good.replace(keys, call)):
    fails(r"os\.system", _read, tmp_path, content)
  assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
  "view",
  [
    (1, (2, 3), (3, 1)),
    (0, (2, 4), (3, 1)),
    (0, (2, 3), (4, 1)),
    (0, (1 << 62, 4), (1 << 62, 1)),
    (0, (1 << 40,), (0,)),
    (-1, (2, 3), (3, 1)),
    (0, (-2, -3), (3, 1)),
    (3, (2, 2), (-1, 1)),
    (0, (2, 3), (3,)),
    (0, (2.0, 3), (3, 1)),
    (0, [2, 3], [3, 1]),
    ("0", (2, 3), (3, 1)),
    (None, None, None),
  ],
  ids=str,
)
@both_formats
def test_views_outside_of_storage(
  tmp_path: pathlib.Path, pack: Any, view: tuple[Any, Any, Any]
) -> None:
  pickled = _table(weight=_tensor(_storage(), *view))
  fails(
    "'weight' .*(does not fit|malformed)",
    _read,
    tmp_path,
    pack(pickled, _DATA),
  )


@pytest.mark.parametrize(
  "storage",
  [
    _storage(numel=7),
    _storage(numel=5),
    _storage(numel=-6),
    _storage(numel=6.0),
    _storage(numel=1 << 60),
    _storage(kind="DoubleStorage"),
    _storage(key="1"),
    _storage(key="../data.pkl"),
    _storage(key=0),
    _value("not a storage"),
  ],
  ids=[
    "long",
    "short",
    "negative",
    "float",
    "huge",
    "double",
    "absent",
    "elsewhere",
    "number",
    "other",
  ],
)
@both_formats
def test_malformed_storages(
  tmp_path: pathlib.Path, pack: Any, storage: bytes
) -> None:
  good, bad = _tensor(_storage()), _tensor(storage, 0, (), ())
  for pickled in (_table(bad=bad), _table(good=good, bad=bad)):
    fails(r"pytorch_model\.bin: ", _read, tmp_path, pack(pickled, _DATA))


@both_formats
def test_storage_of_two_kinds(tmp_path: pathlib.Path, pack: Any) -> None:
  pickled = _table(
    good=_tensor(_storage()), bad=_tensor(_storage(kind="IntStorage"))
  )
  fails("in two ways", _read, tmp_path, pack(pickled, _DATA))


@both_formats
def test_attributes_of_builders_stay(tmp_path: pathlib.Path, pack: Any) -> None:
  """A pickle can set attributes, but on nothing that outlives it."""
  for target in (
    b"ccollections\nOrderedDict\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch\nFloatStorage\n",
    _storage(),
    _tensor(_storage()),
  ):
    state = _value((None, {"__defaults__": (), "numel": 100}))
    pickled = b"\x80\x02" + target + state + b"b."
    fails("damaged", _read, tmp_path, pack(pickled, _DATA))


@both_formats
def test_not_a_table_of_tensors(tmp_path: pathlib.Path, pack: Any) -> None:
  for pickled, match in (
    (pickle.dumps(3, 2), "int, not a dictionary"),
    (_table(epoch=_value(3)), "'epoch' is int"),
    (_table(model=_value({})), r"model\.state_dict\(\)"),
  ):
    fails(match, _read, tmp_path, pack(pickled, _DATA))


@both_formats
def test_truncated_torch_file(tmp_path: pathlib.Path, pack: Any) -> None:
  content = pack(_table(weight=_tensor(_storage())), _DATA)
  assert _read(tmp_path, content)
  for length in range(0, len(content), 7):
    fails(
      r"pytorch_model\.bin: .*(damaged|cut off)",
      _read,
      tmp_path,
      content[:length],
    )


def test_compressed_zip(tmp_path: pathlib.Path) -> None:
  pickled = _table(weight=_tensor(_storage()))
  content = _zip(pickled, _DATA, zipfile.ZIP_DEFLATED)
  fails("compressed", _read, tmp_path, content)
