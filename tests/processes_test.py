"""Several processes do what one does, and end together."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest

from splitner_jax.inputs.batches import Batcher
from splitner_jax.inputs.packing import Packer
from splitner_jax.inputs.text_tables import TextKeys
from splitner_jax.runtime import processes
from splitner_jax.runtime.errors import UserError
from splitner_jax.training import checkpoints
from tests import parallel_tasks, random_examples, runs

_LAUNCHER = str(runs.ROOT / "launch" / "local_processes.sh")


@pytest.mark.parametrize(
  ("given", "environment", "expected"),
  [
    ({}, {}, None),
    ({"count": "1"}, {}, None),
    ({"count": "auto"}, {}, processes.Place()),
    (
      {"coordinator": "a:12", "count": "2", "number": "1"},
      {},
      processes.Place("a:12", 2, 1),
    ),
    (
      {"number": "2"},
      {
        "JAX_COORDINATOR_ADDRESS": "[::1]:9",
        "JAX_NUM_PROCESSES": "3",
        "JAX_PROCESS_ID": "0",
      },
      processes.Place("[::1]:9", 3, 2),
    ),
    ({}, {"SLURM_STEP_NUM_TASKS": "4"}, processes.Place()),
    ({}, {"SLURM_STEP_NUM_TASKS": "1"}, None),
    ({}, {"OMPI_COMM_WORLD_SIZE": "2"}, processes.Place()),
    ({"count": "1"}, {"OMPI_COMM_WORLD_SIZE": "2"}, None),
  ],
)
def test_place(given, environment, expected) -> None:
  assert processes.place(**given, environment=environment) == expected


@pytest.mark.parametrize(
  ("given", "said"),
  [
    ({"count": "0"}, "--num_processes: '0'"),
    ({"count": "two"}, "--num_processes: 'two'"),
    ({"coordinator": "a:1"}, "--num_processes: ''"),
    ({"count": "2", "coordinator": "a:1"}, "--process_id: ''"),
    ({"count": "2", "number": "2", "coordinator": "a:1"}, "from 0 to 1"),
    ({"count": "2", "number": "1"}, "--coordinator: ''"),
    ({"count": "2", "number": "1", "coordinator": "a"}, "HOST:PORT"),
    ({"count": "2", "number": "1", "coordinator": "a:99999"}, "HOST:PORT"),
  ],
)
def test_places_that_are_none(given, said: str) -> None:
  with pytest.raises(UserError, match=re.escape(said)):
    processes.place(**given, environment={})


def test_alone_there_is_nobody_to_ask() -> None:
  assert processes.count() == 1
  assert processes.is_first()
  assert processes.any_of([True, False]) == [True, False]
  done: list[int] = []
  processes.by_first(lambda: done.append(7))
  assert done == [7]


def test_a_loss_is_no_damage(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
  """Nobody is to delete checkpoints because another process is gone."""
  state = {"a": np.zeros(3, np.float32)}
  lost = RuntimeError("Gloo AllGather failed: Connection closed by peer")

  def fail(folder: pathlib.Path, name: str) -> None:
    raise lost

  monkeypatch.setattr(checkpoints, "_manager", fail)
  for count, error in ((1, UserError), (2, RuntimeError)):
    monkeypatch.setattr(processes, "_count", count)
    with pytest.raises(error) as caught:
      checkpoints.Checkpoints(tmp_path, state, state)
    assert (caught.value is lost) == (count == 2)
  said = "another process of this run has ended"
  with pytest.raises(UserError, match=said), processes.told():
    raise lost


@pytest.mark.parametrize("features", [(), ("char", "pattern")])
def test_parts_of_a_batch_are_the_batch(features: tuple[str, ...]) -> None:
  """What each process makes of a batch, behind each other."""
  lengths = np.random.default_rng(0).integers(1, 20, 25).tolist()
  examples = random_examples.make(lengths)
  shape = random_examples.shape(((8, 40),))
  keys = TextKeys(examples, features, False)
  packer = Packer(examples.lengths, examples.target_counts, [shape], keys)
  [placement] = packer.batches(range(len(examples)))
  whole = Batcher(examples, features, keys, 7, 4).assemble(placement)
  parts = [
    Batcher(examples, features, keys, 7, 4, own).assemble(placement)
    for own in (range(1), range(1, 4))
  ]
  assert {part.layout for part in parts} == {whole.layout}
  for name, array in whole.arrays.items():
    both = np.concatenate([part.arrays[name] for part in parts])
    np.testing.assert_array_equal(both, array, name)
  targets = np.concatenate([part.targets for part in parts])
  assert sorted(targets) == sorted(whole.targets)


def _launch(
  number: int, command: list[str], **environment: str
) -> subprocess.CompletedProcess[str]:
  return subprocess.run(
    [_LAUNCHER, f"{number}", "--", *command],
    env=os.environ | environment,
    cwd=runs.ROOT,
    capture_output=True,
    text=True,
    timeout=300,
    check=False,
  )


@pytest.mark.parametrize(
  "names",
  [
    "dice",
    pytest.param("cross_entropy,frozen backbone", marks=pytest.mark.slow),
  ],
)
def test_two_processes_train_as_one(names: str, tmp_path: pathlib.Path) -> None:
  """Each gradient, metric and parameter of each step; see devices_test."""
  program = [sys.executable, "-m", "tests.parallel_tasks"]
  two = _launch(
    2, [*program, f"{tmp_path}/2.npz", names], JAX_NUM_CPU_DEVICES="2"
  )
  assert two.returncode == 0, two.stderr[-2000:]
  done = subprocess.run(
    [*program, f"{tmp_path}/1.npz", names],
    env=os.environ | {"JAX_NUM_CPU_DEVICES": "4"},
    cwd=runs.ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr[-2000:]
  ours, expected = (np.load(tmp_path / f"{n}.npz") for n in (2, 1))
  assert set(ours.files) == set(expected.files)
  steps = parallel_tasks.STEPS * len(names.split(","))
  assert len(ours.files) > 20 * steps
  for name in ours.files:
    if name.endswith("key/bias"):
      continue
    relative = 1e-5 if "|0|gradient|" in name else 0
    np.testing.assert_allclose(
      ours[name], expected[name], relative, 1e-6, err_msg=name
    )


@pytest.mark.slow
def test_with_dropout_a_run_is_itself_again(tmp_path: pathlib.Path) -> None:
  program = [sys.executable, "-m", "tests.parallel_tasks"]
  devices = {"JAX_NUM_CPU_DEVICES": "2"}
  found = []
  for name in ("a", "b"):
    path = f"{tmp_path}/{name}.npz"
    done = _launch(2, [*program, path, "dice", "dropout"], **devices)
    assert done.returncode == 0, done.stderr[-2000:]
    found.append(np.load(path))
  first, again = found
  assert set(first.files) == set(again.files)
  for name in first.files:
    np.testing.assert_array_equal(first[name], again[name], err_msg=name)
  # It is there: without, the third step's loss would be another.
  done = _launch(2, [*program, f"{tmp_path}/c.npz", "dice"], **devices)
  assert done.returncode == 0, done.stderr[-2000:]
  without = np.load(tmp_path / "c.npz")
  losses = [x["dice|2|metrics|loss"] for x in (first, without)]
  assert abs(losses[0] - losses[1]) > 1e-4


def _report(workdir: pathlib.Path) -> dict[str, Any]:
  """All but seconds, and what depends on the number of devices."""

  def clean(value: Any) -> Any:
    if not isinstance(value, dict):
      return value
    apart = ("seconds", "devices", "padding", "machine")
    return {
      key: clean(v)
      for key, v in value.items()
      if not any(name in key for name in apart)
    }

  return clean(json.loads((workdir / "report.json").read_text()))


def _assert_alike(ours: Any, expected: Any, where: str = "report") -> None:
  if isinstance(expected, dict):
    assert ours.keys() == expected.keys(), where
    for key in expected:
      _assert_alike(ours[key], expected[key], f"{where}.{key}")
  elif isinstance(expected, list):
    assert len(ours) == len(expected), where
    for i, (a, b) in enumerate(zip(ours, expected, strict=True)):
      _assert_alike(a, b, f"{where}[{i}]")
  elif isinstance(expected, float):
    assert ours == pytest.approx(expected, abs=1e-4), where
  else:
    assert ours == expected, where


@pytest.mark.slow
def test_a_run_of_two_processes_is_that_of_one(session_cache, tmp_path) -> None:
  """Killed and asked to end on its way, and ended by other numbers."""
  folder = session_cache / "tiny"
  fields = {"dropout": 0, "epochs": 3}
  one, two = tmp_path / "one", tmp_path / "two"
  done = runs.run(one, folder, devices=1, **fields)
  assert done.returncode == 0, done.stderr[-2000:]
  for number, kill, status, said in (
    # Two of two, one of one, and two of two again.
    (2, "SIGTERM in an epoch", 143, "detector: 40 examples"),
    (1, "SIGTERM in an epoch", 143, "detector: goes on at step"),
    (2, "in an evaluation", 137, "detector: goes on at step"),
    (2, "nowhere", 0, "detector: goes on at step"),
  ):
    done = runs.run(
      two, folder, kill, processes=number, devices=number, **fields
    )
    assert done.returncode == status, (kill, done.stderr[-3000:])
    # One process says it.
    assert done.stderr.count(said) == 1, done.stderr
    assert done.stderr.count("stopped by SIGTERM") == (status == 143)
  _assert_alike(_report(two), _report(one))
  for name in ("model", "detector/tensorboard"):
    files = [
      sorted(p.relative_to(run) for p in (run / name).iterdir())
      for run in (one, two)
    ]
    assert (files[0] == files[1]) == (name == "model")


@pytest.mark.slow
def test_one_that_is_killed_ends_all(session_cache, tmp_path) -> None:
  folder = session_cache / "tiny"
  process = runs.start(
    tmp_path / "run", folder, processes=2, devices=1, epochs=500
  )
  assert process.stderr
  said = ""
  for line in process.stderr:
    said += line
    if "epoch 1 of 500" in line:
      break
  second = sorted(runs.children(process.pid))[1]
  os.kill(second, signal.SIGKILL)
  start = time.monotonic()
  said += process.communicate(timeout=100)[1]
  assert time.monotonic() - start < 60
  assert process.returncode == 137
  assert "process 1 of 2 ended with status 137; the others end too" in said


def test_a_refusal_is_that_of_all(session_cache, tmp_path) -> None:
  workdir = tmp_path / "file"
  workdir.write_text("")
  done = runs.run(workdir, session_cache / "tiny", processes=2, devices=1)
  assert done.returncode == 1
  for number in (0, 1):
    line = f"error: process {number} of 2: --workdir {workdir}: cannot be"
    assert done.stderr.count(line) == 1, done.stderr
  assert "Traceback" not in done.stderr


def test_launcher(tmp_path: pathlib.Path) -> None:
  def script(text: str, number: int = 2, **environment: str):
    return _launch(number, ["bash", "-c", text], **environment)

  done = script("echo $JAX_PROCESS_ID of $JAX_NUM_PROCESSES", 3)
  assert sorted(done.stdout.splitlines()) == ["0 of 3", "1 of 3", "2 of 3"]
  assert done.returncode == 0
  # The first bad status, although the other one hears nothing.
  text = 'trap "" TERM; ((JAX_PROCESS_ID)) || exit 7; sleep 60'
  start = time.monotonic()
  done = script(text, GRACE_SECONDS="1")
  assert done.returncode == 7
  assert time.monotonic() - start < 20
  assert "process 0 of 2 ended with status 7; the others" in done.stderr
  # Signals in the moment in which a process ends.
  text = "trap 'exit 143' TERM; sleep 0.3 & wait; exit 143"
  for delay in np.linspace(0.1, 0.5, 9):
    process = subprocess.Popen(
      [_LAUNCHER, "2", "--", "bash", "-c", text],
      env=os.environ | {"GRACE_SECONDS": "3"},
      stderr=subprocess.PIPE,
      text=True,
    )
    time.sleep(delay)
    process.terminate()
    _, said = process.communicate(timeout=10)
    assert process.returncode in (143, -signal.SIGTERM), said
  for wrong in (["0", "--", "true"], ["2", "true"], ["2", "--"]):
    done = subprocess.run(
      [_LAUNCHER, *wrong], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "usage: launch/local_processes.sh NUMBER" in done.stderr


def test_sigterm_where_the_main_thread_does_not_come_to_it() -> None:
  """As in a long compilation, which Python's handlers wait for."""
  text = """
import ctypes, os, signal, time
from splitner_jax.runtime import signals
signals._PATIENCE = 0.5
signals.exit_at_once(resumable=True)
print("ready", flush=True)
# Of threads it says nothing of: interrupted, it goes on.
libc = ctypes.CDLL(None)
end = time.monotonic() + 60
block = libc.pthread_mutex_lock
lock = ctypes.create_string_buffer(64)
block(lock)
block(lock)  # For ever.
"""
  process = subprocess.Popen(
    [sys.executable, "-c", text],
    cwd=runs.ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  assert process.stdout
  assert process.stdout.readline() == "ready\n"
  time.sleep(0.2)
  process.send_signal(signal.SIGTERM)
  _, said = process.communicate(timeout=30)
  assert process.returncode == 143
  assert said == "\nstopped by SIGTERM; the same command goes on from here\n"
