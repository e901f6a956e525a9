"""The benchmark command: wrong options are one line, and nothing is written."""

import os
import subprocess
import sys

import pytest

from tests import runs


@pytest.mark.parametrize(
  ("option", "said"),
  [
    (
      "--systems=splitnr",
      "--systems: 'splitnr' is none of splitner, single_qa",
    ),
    ("--lengths=50,a", "--lengths: 'a' is no number"),
    ("--types=2.5", "--types: 2.5 is no whole number"),
    ("--config.backbone=random:bert", "'random:bert' is none of random:minilm"),
    ("--output={here}/file/out", "no folder can be made there"),
    ("--model={here}/nothing", "is no folder, and no model of the Hugging"),
  ],
)
def test_a_wrong_option_is_one_line(tmp_path, option, said):
  (tmp_path / "file").touch()
  process = subprocess.run(
    [
      *(sys.executable, "-m", "splitner_jax.benchmark"),
      "--config=configs/demo.py",
      f"--output={tmp_path}/out",
      option.format(here=tmp_path),
    ],
    cwd=runs.ROOT,
    env=os.environ | {"HF_HUB_OFFLINE": "1"},
    capture_output=True,
    text=True,
    timeout=120,
    check=False,
  )

  assert process.returncode == 1
  assert process.stdout == ""
  line = process.stderr.splitlines()[-1]
  assert line.startswith("error: ")
  assert said in line
  assert "Traceback" not in process.stderr
  assert not any((tmp_path / "out").glob("*"))
