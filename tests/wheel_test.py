"""The wheel, installed where there is no checkout."""

import json
import os
import pathlib
import shutil
import site
import subprocess
import sys
import zipfile

import pytest
from packaging.requirements import Requirement

import splitner_jax
from tests import runs, tiny

_SOURCES = ("pyproject.toml", "requirements.txt", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  """Built from a copy: building leaves folders beside its sources."""
  folder = tmp_path_factory.mktemp("wheel")
  for name in _SOURCES:
    shutil.copy(runs.ROOT / name, folder)
  shutil.copytree(
    runs.ROOT / "splitner_jax",
    folder / "splitner_jax",
    ignore=shutil.ignore_patterns("__pycache__"),
  )
  # Without isolation, which would download setuptools.
  options = ["--no-deps", "--no-index", "--no-build-isolation", "--quiet"]
  _pip("wheel", *options, f"--wheel-dir={folder / 'dist'}", str(folder))
  [path] = (folder / "dist").iterdir()
  return path


def _pip(*arguments: str) -> None:
  pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
  subprocess.run([*pip, *arguments], check=True, cwd="/")


@pytest.fixture(scope="module")
def bin_folder(
  wheel: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
  """Where the programs of a fresh environment are, which has the wheel."""
  venv = tmp_path_factory.mktemp("venv")
  subprocess.run(
    [sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True
  )
  python = venv / "bin" / "python"
  options = ["--no-deps", "--no-index", "--quiet"]
  _pip(f"--python={python}", "install", *options, str(wheel))
  # Its dependencies are this environment's: to install them again takes
  # minutes and a network. A line of a .pth file is searched after the fresh
  # folder, and no .pth file in it is read: an editable install stays unseen.
  [packages] = (venv / "lib").glob("python*/site-packages")
  (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
  return venv / "bin"


def _run(
  program: pathlib.Path, *arguments: object, status: int = 0
) -> subprocess.CompletedProcess[str]:
  """Runs a program in the folder where the test is, an empty one at first."""
  environment = os.environ | {
    "HF_HUB_OFFLINE": "1",
    "JAX_NUM_CPU_DEVICES": "1",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
  }
  environment.pop("PYTHONPATH", None)
  process = subprocess.run(
    [str(program), *map(str, arguments)],
    env=environment,
    capture_output=True,
    text=True,
    timeout=300,
    check=False,
  )
  assert process.returncode == status, process.stderr
  return process


def test_from_files_to_scores_without_a_checkout(
  bin_folder: pathlib.Path,
  tmp_path: pathlib.Path,
  monkeypatch: pytest.MonkeyPatch,
) -> None:
  empty = tmp_path / "empty"
  empty.mkdir()
  monkeypatch.chdir(empty)
  splitner, python = bin_folder / "splitner", bin_folder / "python"

  code = "import splitner_jax; print(splitner_jax.__file__)"
  place = _run(python, "-c", code).stdout
  assert place.startswith(str(bin_folder.parent))

  assert "\n  predict " in _run(splitner, "--help").stdout

  train, dev, test = (
    tiny.make_wnut(tmp_path / "data") / name
    for name in (
      "wnut17train.conll",
      "emerging.dev.conll",
      "emerging.test.annotated",
    )
  )
  _run(
    splitner,
    "train",
    f"--train={train}",
    f"--dev={dev}",
    f"--test={test}",
    f"--backbone={tiny.make_backbone(tmp_path / 'backbone')}",
    "--config.epochs=1",
    "--config.max_length=160",
    "--config.detector.features=none",
    # So that there is something to score after one epoch.
    "--config.detector.o_bias=-9",
  )
  report = json.loads(pathlib.Path("runs/files/report.json").read_text())
  card = pathlib.Path("runs/files/model/README.md").read_text()
  assert f"\nsplitner train --train={train} " in card

  _run(
    splitner,
    "predict",
    "--model=runs/files/model",
    f"--input={test}",
    "--output=predicted.jsonl",
  )
  shown = _run(
    splitner, "score", test, "predicted.jsonl", "--json=scores.json"
  ).stdout
  assert "predicted.jsonl beside " in shown
  scores = json.loads(pathlib.Path("scores.json").read_text())
  # Tagging the words again gives what training gave.
  for key in ("all_sentences", "interval", "detection", "per_sentence"):
    assert scores[key] == report["test"][key]
  assert scores["all_sentences"]["predicted"] > 0

  # A config of a checkout needs nothing beside it.
  config = f"--config={runs.ROOT / 'configs/wnut17.py'}"
  said = _run(splitner, "train", config, "--config.no=1", status=1).stderr
  assert said.startswith("error: config.no: no such field; ")

  said = _run(python, "-m", "splitner_jax.reproduce", "table2", status=1).stderr
  assert said.startswith("error: splitner_jax.reproduce reads the configs of ")
  assert said.count("\n") == 1


def test_what_is_in_the_wheel(wheel: pathlib.Path) -> None:
  with zipfile.ZipFile(wheel) as archive:
    names = archive.namelist()
  assert {name.split("/")[0] for name in names} == {
    "splitner_jax",
    f"splitner_jax-{splitner_jax.__version__}.dist-info",
  }
  for name in ("py.typed", "data/corpora/demo/train.tsv", "score.py"):
    assert f"splitner_jax/{name}" in names
  sources = {
    str(path.relative_to(runs.ROOT))
    for path in (runs.ROOT / "splitner_jax").rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
  }
  assert sources <= set(names)


def test_constraints_have_what_is_required() -> None:
  lines = (runs.ROOT / "launch/constraints.txt").read_text().splitlines()
  pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
  assert not {"torch", "pytest", "mypy", "ruff"} & pinned.keys()
  required = (runs.ROOT / "requirements.txt").read_text().splitlines()
  for line in required:
    text = line.partition("#")[0].strip()
    if text:
      requirement = Requirement(text)
      assert requirement.specifier.contains(pinned[requirement.name]), text
