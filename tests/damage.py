"""What disks and people do to a folder: one damage at a time, by a seed."""

import pathlib
import shutil

import numpy as np

# Names that a checkpoint could have, and one that nothing has.
_STRAY_FOLDERS = ("7", "latest", "stray", "1.tmp")
# What a tokenizer would read.
_STRAY_FILES = {
  "added_tokens.json": '{"ada": 5}',
  "special_tokens_map.json": '{"unk_token": "a", "sep_token": "b"}',
  "vocab.txt": "a\nb\n",
}


def do(folder: pathlib.Path, seed: int) -> str:
  """Damages one file or folder in `folder`; returns what was done."""
  rng = np.random.default_rng(seed)
  places = sorted(path for path in folder.rglob("*") if path.name != ".lock")
  path = places[rng.integers(len(places))]
  kinds = ["delete", "stray", "swap"]
  if path.is_file() and path.stat().st_size:
    kinds += ["cut", "empty", "flip", "flip", "garbage"]
  kind = str(rng.choice(kinds))
  if kind == "stray":
    new = path.parent / str(rng.choice([*_STRAY_FOLDERS, *_STRAY_FILES]))
    if new.name in _STRAY_FILES and not new.exists():
      new.write_text(_STRAY_FILES[new.name])
    elif not new.exists():
      new.mkdir()
      (new / "x").write_text("x")
  elif kind in ("delete", "swap"):
    was_file = path.is_file()
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    if kind == "swap":
      path.mkdir() if was_file else path.write_text("x")
  else:
    data = bytearray(path.read_bytes())
    where = int(rng.integers(len(data)))
    if kind == "cut":
      del data[where:]
    elif kind == "empty":
      data.clear()
    elif kind == "flip":
      data[where] ^= 1 << int(rng.integers(8))
    else:
      data[where : where + 64] = rng.bytes(64)
    path.write_bytes(data)
  return f"{kind} {path.relative_to(folder)}"
