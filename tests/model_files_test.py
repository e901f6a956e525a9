"""Files of a model's folder that were not saved with it."""

import json
import pathlib
import shutil

import pytest

from splitner_jax.inference import model_folder
from splitner_jax.pretrained.folders import TOKENIZER_FILES
from splitner_jax.runtime.errors import UserError
from tests import tiny_system


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  folder = tmp_path_factory.mktemp("saved")
  model_folder.save(folder / "model", tiny_system.make(folder / "backbones"))
  return folder / "model"


@pytest.fixture
def copy(saved: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
  return pathlib.Path(shutil.copytree(saved, tmp_path / "model"))


@pytest.mark.parametrize("place", [".", "detector", "classifier"])
@pytest.mark.parametrize("name", [*TOKENIZER_FILES, "config.json"])
def test_stray_tokenizer_files(copy: pathlib.Path, place: str, name: str):
  path = copy / place / name
  if path.exists():
    return  # What was saved.
  path.parent.mkdir(exist_ok=True)
  path.write_text('{"ada": 5}')
  with pytest.raises(UserError, match=f"{name}: is none of the files that"):
    model_folder.load(str(copy))
  path.unlink()
  model_folder.load(str(copy))


def test_other_files_are_left_alone(copy: pathlib.Path):
  for name in (".gitattributes", "notes.txt", "onnx/tokenizer.json"):
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_text("x")
  model_folder.load(str(copy))


def test_older_folders_list_no_files(copy: pathlib.Path):
  config = json.loads((copy / "config.json").read_text())
  del config["checksum"], config["files"]
  (copy / "config.json").write_text(json.dumps(config))
  (copy / "vocab.txt").write_text("a\n")
  model_folder.load(str(copy))
