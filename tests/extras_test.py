"""Extras: the base brings none of their packages, and each fits the base."""

import json
import pathlib
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests import runs

_MODULES = ("apache_beam", "gcsfs", "onnx", "onnxruntime", "pyarrow", "spacy")
_OF_FEATURES = ("beam", "gcs", "onnx", "parquet", "spacy", "serve")


def _extras() -> dict[str, list[str]]:
  text = (runs.ROOT / "pyproject.toml").read_text()
  return tomllib.loads(text)["project"]["optional-dependencies"]


def _base() -> list[str]:
  lines = (runs.ROOT / "requirements.txt").read_text().splitlines()
  parts = (line.partition("#")[0].strip() for line in lines)
  return [part for part in parts if part]


def test_nothing_of_an_extra_is_imported():
  """Where files are read, and text is tagged, unless it is asked for."""
  code = """
import sys
from splitner_jax import SplitNER
from splitner_jax.commands import bulk, console, export, predict
from splitner_jax.data import formats
from splitner_jax.inference import model_folder
from splitner_jax.integrations import exports, hugging_face
from splitner_jax.runtime import buckets
print(*sys.modules)
"""
  done = subprocess.run(
    [sys.executable, "-c", code],
    capture_output=True,
    text=True,
    check=True,
    cwd=runs.ROOT,
    timeout=120,
  )
  loaded = {name.partition(".")[0] for name in done.stdout.split()}
  assert "splitner_jax" in loaded
  assert not loaded & set(_MODULES)


def _resolve(requirements: list[str], folder: pathlib.Path) -> set[str]:
  """The packages that a fresh environment would get of these."""
  report = folder / "report.json"
  command = [*(sys.executable, "-m", "pip", "install"), "--dry-run", "--quiet"]
  command += ["--ignore-installed", "--disable-pip-version-check"]
  done = subprocess.run(
    [*command, f"--report={report}", *requirements],
    capture_output=True,
    text=True,
    check=False,
    cwd=folder,
  )
  if "Could not find a version" in done.stderr and "(from versions: none)" in (
    done.stderr
  ):
    pytest.skip("there is no package index")
  assert done.returncode == 0, done.stderr
  found = json.loads(report.read_text())["install"]
  return {canonicalize_name(each["metadata"]["name"]) for each in found}


# What packages of the base bring with them: tensorflow-datasets and orbax.
_THERE_ANYWAY = {"pyarrow", "prometheus-client"}


@pytest.mark.slow
def test_the_base_brings_no_extra(tmp_path: pathlib.Path):
  names = {
    canonicalize_name(Requirement(line).name)
    for extra in _OF_FEATURES
    for line in _extras()[extra]
  }
  assert len(names) >= 7
  assert _resolve(_base(), tmp_path) & names <= _THERE_ANYWAY


@pytest.mark.slow
@pytest.mark.parametrize("extra", _OF_FEATURES)
def test_an_extra_fits_the_base(extra: str, tmp_path: pathlib.Path):
  wanted = _extras()[extra]
  found = _resolve([*_base(), *wanted], tmp_path)
  assert {canonicalize_name(Requirement(x).name) for x in wanted} <= found
