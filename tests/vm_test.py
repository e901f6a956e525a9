"""launch/vm.sh: trains on a machine that may vanish, with a bucket's state."""

import os
import pathlib
import shutil
import signal
import subprocess
import tarfile
import time

import pytest

_TESTS = pathlib.Path(__file__).parent
_LATEST = "runs/cloud/detector/checkpoints/latest/state"
_BEST = "runs/cloud/detector/checkpoints/best/params"


class _Machine:
  """A checkout with vm.sh, a training that only plays, and a bucket."""

  def __init__(self, folder: pathlib.Path, bucket: pathlib.Path):
    self.root = folder / "checkout"
    (self.root / "launch").mkdir(parents=True)
    self.script = self.root / "launch" / "vm.sh"
    shutil.copy(_TESTS.parent / "launch" / "vm.sh", self.script)
    (folder / "bin").mkdir()
    (folder / "bin" / "gcloud").symlink_to(_TESTS / "fake_storage.sh")
    (folder / "bin" / "python").symlink_to(_TESTS / "fake_training.sh")
    self.bucket = bucket
    bucket.mkdir(exist_ok=True)
    self._environment = os.environ | {
      "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
      "VIRTUAL_ENV": str(folder),
      "FAKE": str(bucket),
      "COLUMNS": "40",  # Which `ps` would cut its lines to.
      "SPLITNER_LAUNCH_SECOND": "0.0005",
    }

  def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
      [self.script, *arguments],
      env=self._environment,
      capture_output=True,
      text=True,
      timeout=30,
    )

  def end(self, how: str) -> None:
    """Says how the training ends, whole or not at all: it may be reading."""
    part = self.bucket / "end.part"
    part.write_text(how)
    part.replace(self.bucket / "end")

  def start(self, end: str) -> None:
    self.end(end)
    done = self("start", "gs://b/run", "--config=configs/demo.py")
    assert done.returncode == 0, done.stderr

  def poll(self, offset: int = 0) -> tuple[str, str]:
    """The log, and how it goes."""
    log, _, state = self("poll", str(offset)).stdout.rpartition("\n@vm ")
    return log, state.strip()

  def ended(self) -> str:
    """How it goes once it is not running."""
    until = time.monotonic() + 20
    while (state := self.poll()[1]) == "running":
      assert time.monotonic() < until
      time.sleep(0.02)
    return state

  def pid(self) -> int:
    return int((self.root / "runs/.vm/pid").read_text())

  def kill(self) -> None:
    """Takes the machine away: the whole session, without a word."""
    os.killpg(self.pid(), signal.SIGKILL)

  def saved(self, name: str) -> str:
    """A file of the state in the bucket; "" if there is none."""
    path = self.bucket / "b/run/state.tar"
    if not path.exists():
      return ""
    with tarfile.open(path) as archive:
      file = archive.extractfile(name)
      assert file
      return file.read().decode()


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> _Machine:
  return _Machine(tmp_path / "first", tmp_path / "bucket")


def _wait(condition) -> None:
  until = time.monotonic() + 20
  while not condition():
    assert time.monotonic() < until
    time.sleep(0.02)


def test_trains_and_publishes(machine: _Machine) -> None:
  assert machine.poll() == ("", "absent")
  machine.start("0")
  assert machine.ended() == "exited 0"
  log, _ = machine.poll()
  assert "-m splitner_jax.main --workdir=runs/cloud --config=configs/d" in log
  assert machine.poll(len("arguments:"))[0] == log[len("arguments:") :]
  assert machine("log").stdout == log
  assert machine.saved(_LATEST) == "step\n"
  run = machine.bucket / "b/run"
  assert (run / "log.txt").read_text() in log
  assert [p.name for p in (run / "results").rglob("*") if p.is_file()] == [
    "report.md"
  ]


def test_goes_on_where_a_lost_machine_was(
  machine: _Machine, tmp_path: pathlib.Path
) -> None:
  machine.start("waits")
  _wait(lambda: machine.saved(_LATEST) == "step\n")
  assert machine.poll()[1] == "running"
  machine.kill()
  assert machine.ended() == "exited 137"
  second = _Machine(tmp_path / "second", machine.bucket)
  second.start("0")
  assert second.ended() == "exited 0"
  assert second.saved(_LATEST) == "step\n" * 2
  # What is on a machine is newer than the bucket's.
  (machine.bucket / "b/run/state.tar").write_text("not read")
  second.start("0")
  assert second.ended() == "exited 0"
  assert second.saved(_LATEST) == "step\n" * 3


def test_the_latest_state_is_packed_first(machine: _Machine) -> None:
  """The best parameters may be newer than it, not older."""
  machine.start("0")
  machine.ended()
  with tarfile.open(machine.bucket / "b/run/state.tar") as archive:
    names = archive.getnames()
  assert names.index(_LATEST) < names.index(_BEST)


def test_sigterm_is_for_the_training(machine: _Machine) -> None:
  machine.start("waits")
  _wait(lambda: "arguments" in machine.poll()[0])
  os.kill(machine.pid(), signal.SIGTERM)
  assert machine.ended() == "exited 143"
  assert "asked to stop" in machine.poll()[0]
  assert machine.saved(_LATEST) == "step\n"


def test_a_crash(machine: _Machine) -> None:
  machine.start("3")
  assert machine.ended() == "exited 3"
  assert machine.saved(_LATEST) == "step\n"


def test_one_training_at_a_time(machine: _Machine) -> None:
  machine.start("waits")
  done = machine("start", "gs://b/run", "--config=configs/demo.py")
  assert done.returncode == 1
  assert done.stderr == "error: there is a training already\n"
  machine.kill()


def test_a_bucket_that_cannot_be_read(machine: _Machine) -> None:
  """Nothing is begun anew that would be written over what is there."""
  (machine.bucket / "broken").touch()
  machine.start("0")
  assert machine.ended() == "exited 1"
  log, _ = machine.poll()
  assert "permission denied" in log
  assert "error: gs://b/run cannot be read" in log
  assert "arguments" not in log


def test_results_that_cannot_be_written(machine: _Machine) -> None:
  machine.start("waits")
  _wait(lambda: "arguments" in machine.poll()[0])
  (machine.bucket / "broken").touch()
  (machine.root / "runs/cloud/more").touch()
  machine.end("0")
  assert machine.ended() == "exited 1"
  assert "error: the results are not in gs://b/run" in machine.poll()[0]


@pytest.mark.parametrize(
  "arguments",
  [("",), ("begin",), ("start", "runs/x"), ("setup", "--date=gs://b/x")],
)
def test_wrong_arguments(machine: _Machine, arguments: tuple[str, ...]) -> None:
  done = machine(*arguments)
  assert done.returncode == 1
  assert done.stderr.startswith("error: ")
  assert done.stderr.count("\n") == 1
