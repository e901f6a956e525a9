"""The benchmark command runs; its figures are nobody's promise here."""

import importlib.util
import os
import re
import subprocess
import sys

from tests import runs, tiny


def test_every_side_takes_its_turn(tmp_path):
  tiny.make_backbone(tmp_path / "backbone")
  tiny.make_wnut(tmp_path / "data")
  process = subprocess.run(
    [
      *(sys.executable, "-m", "splitner_jax.benchmark"),
      *("--config=configs/wnut17.py", "--steps=2", "--block=1"),
      f"--config.backbone={tmp_path}/backbone",
      f"--config.data.dir={tmp_path}/data",
      *("--config.max_length=160", "--config.detector.features=none"),
    ],
    cwd=runs.ROOT,
    env=os.environ
    | {"JAX_NUM_CPU_DEVICES": "1", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
    capture_output=True,
    text=True,
    timeout=300,
    check=False,
  )

  assert process.returncode == 0, process.stderr
  lines = process.stdout.splitlines()
  sides = ["detector", "classifier"]
  if importlib.util.find_spec("torch"):
    sides.append("plain tagger (torch)")
  else:
    assert lines.pop(0) == "torch is not installed: no plain tagger"
  times, shares = lines[: len(sides)], lines[len(sides) :]
  for side, line in zip(sides, times, strict=True):
    assert line.startswith(side)
    step = re.search(r"([\d.]+) ms a step, .* s an epoch of \d+ steps", line)
    assert float(step[1]) > 0
  assert times[-1].endswith("1.00 of the last line's")
  # The making of the batches is a part of a step.
  for side, line in zip(sides[:2], shares, strict=True):
    share = re.fullmatch(rf"{side} +batches: ([\d.]+) % of a step", line)
    assert 0 < float(share[1]) < 100
