"""Runs of a tiny model on a tiny corpus, each in a process of its own."""

import os
import pathlib
import subprocess
import sys
from typing import Any

import filelock

from tests import tiny

ROOT = pathlib.Path(__file__).parents[1]

# Runs the command, and keeps the parameters that training returns. Its first
# argument says where the process kills itself.
_DRIVER = """
import os, runpy, signal, sys

import jax
import numpy as np

# As if it were not there: transformers would import it, for nothing.
sys.modules["torch"] = None

from splitner_jax import tasks
from splitner_jax.training import checkpoints, loop

point = sys.argv.pop(1)
if os.environ.get("JAX_PROCESS_ID", "0") != "0":
  point = "nowhere"  # One of several is enough.

def before(call, owner, name, action, number=signal.SIGKILL):
  whole, calls = getattr(owner, name), []

  def watched(self, *args, **kwargs):
    calls.append(name)
    if len(calls) == call:
      action(self, *args)
      os.kill(os.getpid(), number)
    return whole(self, *args, **kwargs)

  setattr(owner, name, watched)

if point == "in an epoch":
  # At the second checkpoint, with the first one on the disk.
  action = lambda self, *args: self.wait()
  before(2, checkpoints.Checkpoints, "save_latest", action)
if point == "in an evaluation":
  before(2, tasks.TokenTask, "evaluate", lambda self, *args: None)
nothing = lambda *args: None
if point == "SIGTERM in an epoch":
  before(2, checkpoints.Checkpoints, "save_latest", nothing, signal.SIGTERM)
if point == "SIGTERM in an evaluation":
  before(2, tasks.TokenTask, "evaluate", nothing, signal.SIGTERM)
if point == "between the tasks":
  action = nothing
  before(1, tasks.MentionTask, "training_examples", action)

whole = loop.train

def keeping(programs, settings, splits, fill, folder, *more):
  params, progress = whole(programs, settings, splits, fill, folder, *more)
  leaves = map(np.asarray, jax.tree.leaves(params))
  if os.environ.get("JAX_PROCESS_ID", "0") == "0":
    folder.mkdir(exist_ok=True)
    np.savez(folder / "returned.npz", *leaves)
  return params, progress

loop.train = keeping
runpy.run_module("splitner_jax.main", run_name="__main__", alter_sys=True)
"""


def run(
  workdir: pathlib.Path | str,
  folder: pathlib.Path,
  kill: str = "nowhere",
  processes: int = 1,
  devices: int = 2,
  **changed: object,
) -> subprocess.CompletedProcess[str]:
  """The same command each time.

  Args:
    workdir: of the run.
    folder: has `backbone` and `data`, or gets them.
    kill: "in an epoch", "in an evaluation", both also with "SIGTERM " before,
      or "between the tasks".
    processes: how many run together.
    devices: of each of them.
    **changed: fields of the config.
  """
  command, environment = prepare(
    workdir, folder, kill, processes, devices, **changed
  )
  return subprocess.run(
    command,
    env=environment,
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=300,
    check=False,
  )


def start(
  workdir: pathlib.Path, folder: pathlib.Path, **options: Any
) -> subprocess.Popen[str]:
  """Like `run`, without waiting; in a session of its own."""
  command, environment = prepare(workdir, folder, **options)
  return subprocess.Popen(
    command,
    env=environment,
    cwd=ROOT,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.PIPE,
    text=True,
    start_new_session=True,
  )


def prepare(
  workdir: pathlib.Path | str,
  folder: pathlib.Path,
  kill: str = "nowhere",
  processes: int = 1,
  devices: int = 2,
  **changed: object,
) -> tuple[list[str], dict[str, str]]:
  """The command of `run`, and its environment."""
  with filelock.FileLock(f"{folder}.lock"):
    if not folder.exists():
      tiny.make_backbone(folder / "backbone")
      tiny.make_wnut(folder / "data")
  fields = {
    "backbone": folder / "backbone",
    "data.dir": folder / "data",
    "epochs": 4,
    "batch_size": 8,
    "max_length": 160,
    "learning_rate": 0.01,
    # Once within an epoch; writing takes longer than training.
    "checkpoint_every": 4,
    "detector.question": "",
    "detector.features": "none",
    "classifier.loss": "cross_entropy",
    # So that it does not name all types rightly, which few tests could tell
    # from a report of the detector.
    "classifier.learning_rate": 0.00005,
  } | changed
  command = [
    *(sys.executable, "-c", _DRIVER, kill),
    "--config=configs/wnut17.py",
    f"--workdir={workdir}",
    *(f"--config.{name}={value}" for name, value in fields.items()),
  ]
  if processes > 1:
    command = ["launch/local_processes.sh", f"{processes}", "--", *command]
  more = {
    "JAX_NUM_CPU_DEVICES": f"{devices}",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
  }
  return command, os.environ | more


def children(pid: int) -> list[int]:
  """The processes that a process has started, and that still run."""
  path = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
  return [int(child) for child in path.read_text().split()]


def finished(folder: pathlib.Path) -> tuple[pathlib.Path, str]:
  """Workdir and output of an undisturbed run, made once a session."""
  workdir, output = folder / "run", folder / "output.txt"
  with filelock.FileLock(f"{folder}-run.lock"):
    if not output.exists():
      process = run(workdir, folder)
      assert process.returncode == 0, process.stderr
      output.write_text(process.stdout)
  return workdir, output.read_text()
