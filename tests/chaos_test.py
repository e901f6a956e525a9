"""Runs that are ended at random moments, again and again, come to their end.

Each life is one run in one workdir, begun again after each signal, now in one
process and now in two; its end is that of a run that was left alone.
"""

import json
import os
import pathlib
import random
import re
import signal
import subprocess
import time
from collections import Counter

import numpy as np
import pytest

from tests import runs

# The same devices in one process and in two: with dropout they draw alike.
_FIELDS = {"dropout": 0, "epochs": 2, "learning_rate": 0.001}
_MOST_SECONDS = 60.0


class _Start:
  """One start of the command of a life."""

  def __init__(
    self,
    workdir: pathlib.Path,
    folder: pathlib.Path,
    number: int,
    **fields: object,
  ):
    self.number = number
    self._process = runs.start(
      workdir,
      folder,
      processes=number,
      devices=2 // number,
      **(_FIELDS | fields),
    )

  def send(self, number: int, rng: random.Random) -> str:
    """Sends a signal to all or to one; returns to whom."""
    children = [self._process.pid]
    if self.number > 1:
      # Not the program that looks for a port.
      children = [
        child
        for child in sorted(runs.children(self._process.pid))
        if b"JAX_PROCESS_ID=" in _environment(child)
      ]
    if self.number > 1 and number == signal.SIGTERM and rng.random() < 0.5:
      self._process.send_signal(number)
      return "all"
    if len(children) < self.number or self._process.poll() is not None:
      return "none"
    one = rng.randrange(len(children))
    os.kill(children[one], number)
    return f"{one} of {len(children)}"

  def end(self, seconds: float = 300) -> tuple[int, str]:
    """Waits for the status and what was said."""
    try:
      said = self._process.communicate(timeout=seconds)[1]
    except subprocess.TimeoutExpired:
      os.killpg(self._process.pid, signal.SIGKILL)
      said = self._process.communicate()[1]
      raise AssertionError(f"no end in {seconds} s: {said[-3000:]}") from None
    return self._process.returncode, said


def _environment(pid: int) -> bytes:
  try:
    return pathlib.Path(f"/proc/{pid}/environ").read_bytes()
  except OSError:  # It has just ended.
    return b""


def _live(
  workdir: pathlib.Path,
  folder: pathlib.Path,
  rng: random.Random,
  kills: int,
  seen: Counter[str],
) -> None:
  """A run with so many signals, to its end."""
  for _ in range(kills):
    start = _Start(workdir, folder, rng.choice([1, 2]))
    time.sleep(rng.uniform(0, 15))
    number = rng.choice([signal.SIGKILL, signal.SIGTERM])
    whom = start.send(number, rng)
    status, said = start.end(_MOST_SECONDS)
    seen[f"{number.name} to {whom}: {status}"] += 1
    said = re.sub(r"(?m)^(  File|Thread|Extension modules).*\n?", "", said)
    where = f"{number.name} to {whom}, status {status}: {said[-5000:]}"
    if whom == "none":
      assert status == 0, where
    elif number == signal.SIGTERM:
      # 0: it was over before; 134: JAX ends who loses the first process; 137:
      # the launcher who waits for it.
      assert status in (0, 1, 134, 137, 143, -signal.SIGTERM), where
    else:
      assert status in (0, 1, 134, 137, -signal.SIGKILL), where
    if status == 1:
      assert "another process of this run has ended" in said, where
    assert "are damaged" not in said, where
    if rng.random() < 0.2:
      _refuses_another(workdir, folder, seen)
  status, said = _Start(workdir, folder, rng.choice([1, 2])).end()
  assert status == 0, said[-3000:]


def _refuses_another(
  workdir: pathlib.Path, folder: pathlib.Path, seen: Counter[str]
) -> None:
  """Another config is another run, once there is a checkpoint."""
  if not any(workdir.glob("*/checkpoints/*/[0-9]*")):
    return
  before = (workdir / "config.json").read_bytes()
  status, said = _Start(workdir, folder, 1, learning_rate=0.003).end()
  assert status == 1, said[-3000:]
  assert "holds another run (learning_rate is 0.001 there, 0.003 here" in said
  assert (workdir / "config.json").read_bytes() == before
  seen["another config: refused"] += 1


def _parameters(workdir: pathlib.Path) -> dict[str, np.ndarray]:
  return {
    f"{task}/{name}": array
    for task in ("detector", "classifier")
    for name, array in np.load(workdir / task / "returned.npz").items()
  }


def _check_lives(
  folder: pathlib.Path, tmp_path: pathlib.Path, seed: int, kills: list[int]
) -> None:
  alone = tmp_path / "alone"
  status, said = _Start(alone, folder, 1).end()
  assert status == 0, said[-3000:]
  expected = _parameters(alone)
  seen: Counter[str] = Counter()
  for life, number in enumerate(kills):
    workdir = tmp_path / f"life-{life}"
    _live(workdir, folder, random.Random(seed + life), number, seen)
    found = _parameters(workdir)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
      # Two processes sum in another order than one.
      np.testing.assert_allclose(found[name], array, 0, 1e-4, err_msg=name)
    report = json.loads((workdir / "report.json").read_text())
    assert report["test"]["all_sentences"]["f1"] >= 0
    print(f"life {life}, {number} signals:", dict(seen), flush=True)


@pytest.mark.slow
def test_a_few_signals(session_cache, tmp_path) -> None:
  _check_lives(session_cache / "tiny", tmp_path, seed=1, kills=[4])


@pytest.mark.long
@pytest.mark.parametrize("part", range(20))
def test_two_hundred_signals(part: int, session_cache, tmp_path) -> None:
  seed = 1000 * (part + 1)
  _check_lives(session_cache / "tiny", tmp_path, seed, kills=[5, 5])
