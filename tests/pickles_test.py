"""Small pickles that would take a machine down, and what none needs."""

import io
import pathlib
import pickle
import struct
import zipfile
from typing import Any

import numpy as np
import pytest
from paper_checkpoints import fails

from splitner_jax.pretrained import pickles, torch_files
from splitner_jax.runtime.errors import UserError


def _find(module: str, name: str) -> pickles.Name:
  return pickles.Name(f"{module}.{name}", lambda *values: values)


def _load(data: bytes) -> Any:
  return pickles.Reader(io.BytesIO(data), _find, lambda pid: ("id", pid)).load()


_VALUES = [
  None,
  (True, False, 1.5),
  (0, 255, 256, 65535, 65536, -1, -(2**31), 2**31, -(2**63), 2**200),
  ["ä" * 200, ""],
  [[], (), {}, [1, 2], (1,), (1, 2), (1, 2, 3, 4)],
  {"a": {"b": [1]}, 3: None},
  ["same"] * 3,
  list(range(300)),
]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_values_of_all_protocols(protocol: int) -> None:
  values = [*_VALUES, b"ab"] if protocol > 2 else _VALUES
  assert _load(pickle.dumps(values, protocol)) == values
  # As Python 2 wrote them.
  assert _load(b"\x80\x02(U\x02abT\x01\x00\x00\x00cI01\nI-12\nt.") == (
    "ab",
    "c",
    True,
    -12,
  )


def _nested(count: int) -> bytes:
  """A tuple in a tuple in a tuple."""
  return b"\x80\x02N" + count * b"\x85"


def _doubled(count: int) -> bytes:
  """A tuple that holds, one way or another, 2**count times the same."""
  again = b"".join(
    b"r" + struct.pack("<I", i) + b"j" + struct.pack("<I", i) + b"\x86"
    for i in range(count)
  )
  return b"\x80\x02N" + again


_HOSTILE = {
  "deep": _nested(200_000) + b".",
  "deep key": b"\x80\x02}" + _nested(200_000)[2:] + b"Ns.",
  "doubled key": b"\x80\x02}" + _doubled(60)[2:] + b"Ns.",
  "doubled storage": b"\x80\x02(X\x07\x00\x00\x00storage"
  + _doubled(60)[2:]
  + b"X\x01\x00\x00\x000NK\x01tQ.",
  "memo": b"\x80\x02Nr\xff\xff\xff\x0f.",
  "steps": b"\x80\x02" + 3_000_000 * b"N" + b".",
  "duplicates": b"\x80\x02N" + 3_000_000 * b"2" + b".",
  "long text": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b"abc.",
  "long bytes": b"\x80\x05\x96" + struct.pack("<Q", 1 << 36) + b".",
  "long number": b"\x80\x02\x8b" + struct.pack("<i", 1 << 30) + b".",
  "many calls": b"\x80\x02ccollections\nOrderedDict\nr\x01\x00\x00\x00("
  + 5000 * b"NN\x86"
  + b"lr\x02\x00\x00\x00("
  + 5000 * b"j\x01\x00\x00\x00j\x02\x00\x00\x00\x85R"
  + b"l.",
}


@pytest.mark.parametrize("name", _HOSTILE)
@pytest.mark.parametrize("zipped", [False, True])
def test_hostile(tmp_path: pathlib.Path, name: str, zipped: bool) -> None:
  """Neither a crash, nor memory, nor time: one line."""
  path = tmp_path / "pytorch_model.bin"
  content = _HOSTILE[name]
  if zipped:
    with zipfile.ZipFile(path, "w") as archive:
      archive.writestr("archive/data.pkl", content)
  else:
    path.write_bytes(content)
  with pytest.raises(UserError, match=r"pytorch_model\.bin: ") as caught:
    torch_files.read(str(path))
  assert len(str(caught.value).removeprefix(str(path))) < 400
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
  "data",
  [
    b"",
    b".",
    b"(.",
    b"t.",
    b"N\x86.",
    b"NNa.",
    b"}NNa.",
    b"](Nu.",
    b"}(Nu.",
    b"h\x00.",
    b"\x94.",
    b"NNR.",
    b"ca\nb\nNR.",
    b"NN\x93.",
    b"NNb.",
    b"ca\n",
    b"U\xffabc.",
    b"T\xff\xff\xff\xff.",
    b"I12x\n.",
  ],
  ids=repr,
)
def test_damaged(data: bytes) -> None:
  with pytest.raises(ValueError, match=r".+") as caught:
    _load(data)
  assert not isinstance(caught.value, UserError)


def test_tensors_of_many_dimensions(tmp_path: pathlib.Path) -> None:
  """All with the same size of a hundred thousand ones."""
  size = b"(" + 100_000 * b"K\x01" + b"tr\x01\x00\x00\x00"
  storage = (
    b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000NK"
  )
  tensor = (
    b"X\x01\x00\x00\x00%cctorch._utils\n_rebuild_tensor_v2\n("
    + storage
    + b"\x01tQK\x00j\x01\x00\x00\x00j\x01\x00\x00\x00\x89NtR"
  )
  table = b"}(" + b"".join(tensor % c for c in b"abcdefgh") + b"u."
  path = tmp_path / "pytorch_model.bin"
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("a/data.pkl", b"\x80\x02" + size + b"0" + table)
    archive.writestr("a/data/0", b"1234")
  fails("'a' is malformed", torch_files.read, str(path))


def test_members_that_share_their_bytes(tmp_path: pathlib.Path) -> None:
  """Ten thousand storages of a gigabyte could be a file of a gigabyte."""
  tensor = (
    b"X\x01\x00\x00\x00%cctorch._utils\n_rebuild_tensor_v2\n("
    b"(X\x07\x00\x00\x00storagectorch\nByteStorage\nX\x01\x00\x00\x00%cN"
    b"M\x00\x10tQK\x00M\x00\x10\x85K\x01\x85\x89NtR"
  )
  table = b"}(" + b"".join(tensor % (c, c) for c in b"ab") + b"u."
  path = tmp_path / "pytorch_model.bin"
  with zipfile.ZipFile(path, "w") as archive:
    archive.writestr("a/data.pkl", b"\x80\x02" + table)
    archive.writestr("a/data/a", bytes(4096))
    info = archive.getinfo("a/data/a")
    twin = zipfile.ZipInfo("a/data/b")
    twin.file_size = twin.compress_size = 4096
    twin.CRC, twin.header_offset = info.CRC, info.header_offset
    archive.filelist.append(twin)
  fails("does not fit|Overlapped|differ", torch_files.read, str(path))


@pytest.mark.parametrize("legacy", [False, True])
def test_files_of_torch(tmp_path: pathlib.Path, legacy: bool) -> None:
  torch = pytest.importorskip("torch")
  path = tmp_path / "pytorch_model.bin"
  weight = torch.arange(6, dtype=torch.bfloat16).reshape(2, 3)
  table = {
    "weight": weight.T,
    "long": torch.tensor(7),
    "shared": weight,
    "parameter": torch.nn.Parameter(torch.ones(2)),
  }
  for protocol in (2, 3, 4, 5):
    torch.save(
      table,
      path,
      pickle_protocol=protocol,
      _use_new_zipfile_serialization=not legacy,
    )
    found = torch_files.read(str(path))
    np.testing.assert_array_equal(
      found["weight"].astype(np.float32), [[0, 3], [1, 4], [2, 5]]
    )
    assert found["long"] == 7
    assert found["parameter"].tolist() == [1, 1]
  for kind in ("float8_e4m3fn", "float8_e5m2", "uint16", "complex64"):
    torch.save({"weight": torch.zeros(2, dtype=getattr(torch, kind))}, path)
    name = "ComplexFloatStorage" if kind == "complex64" else kind
    fails(f"{name}', which cannot be read", torch_files.read, str(path))
