"""launch/tpu.sh with a gcloud that only plays: calls, endings, what is held."""

import os
import pathlib
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence

import pytest

_LAUNCH = pathlib.Path(__file__).parents[1] / "launch"
_AT = ("--zone=us-west4-a",)
_SSH = (
  "--quiet",
  "--ssh-flag=-oConnectTimeout=20",
  "--ssh-flag=-oServerAliveInterval=15",
  "--ssh-flag=-oServerAliveCountMax=4",
)

Call = tuple[str, ...]


def _queued(verb: str, *more: str) -> Call:
  return ("compute", "tpus", "queued-resources", verb, "ner", *_AT, *more)


def _ssh(worker: str, command: str) -> Call:
  head = ("compute", "tpus", "tpu-vm", "ssh", "ner", *_AT)
  return (*head, f"--worker={worker}", *_SSH, f"--command={command}")


def _poll(offset: int) -> Call:
  script = "splitner_jax/launch/vm.sh"
  run = f"{script} poll {offset}"
  none = r"printf \\n@vm\ absent\\n"
  return _ssh("0", f"if [ -x {script} ]; then {run}; else {none}; fi")


_LOOK = _queued("describe", "--format=value(state.state)")
_REASON = _queued("describe", "--format=value(state.failedData.error.message)")
_MACHINE = (
  *("compute", "tpus", "tpu-vm", "describe", "ner", *_AT),
  "--format=value(state)",
)
_CREATE = _queued(
  "create",
  "--node-id=ner",
  "--accelerator-type=v5litepod-8",
  "--runtime-version=v2-alpha-tpuv5-lite",
)
_DELETE = _queued("delete", "--force", "--quiet")
_GONE = [_DELETE, _LOOK]
_COPY = (
  *("compute", "tpus", "tpu-vm", "scp", "ARCHIVE"),
  *("ner:splitner_jax.tar.gz", *_AT, "--worker=all", "--quiet"),
)
_SETUP = _ssh(
  "all",
  "mkdir -p splitner_jax && tar -xzf splitner_jax.tar.gz -C splitner_jax && "
  "splitner_jax/launch/vm.sh setup --data=gs://bucket/data",
)
_START = _ssh(
  "all",
  "splitner_jax/launch/vm.sh start gs://bucket/run --config=configs/demo.py "
  r"--config.data.dir=my\ data",
)
_BEGIN = [_poll(0), _COPY, _SETUP, _START]
_TRAIN = (
  "train",
  "--config=configs/demo.py",
  "--workdir=gs://bucket/run",
  "--data=gs://bucket/data",
)
_THERE = {
  "describe": ["0|ACTIVE"],
  "machine": ["0|READY"],
  "create": ["0|"],
  "delete": ["0|"],
  "copy": ["0|"],
  "setup": ["0|"],
  "start": ["0|"],
}
_NONE = "1|ERROR: (gcloud) NOT_FOUND: no such resource"
_HELD = "launch/tpu.sh delete --name=ner --zone=us-west4-a"


class _Cloud:
  """A folder of answers, and of the calls that were made."""

  def __init__(self, folder: pathlib.Path):
    self.folder = folder
    (folder / "bin").mkdir()
    fake = pathlib.Path(__file__).parent / "fake_gcloud.sh"
    (folder / "bin" / "gcloud").symlink_to(fake)
    self.environment = os.environ | {
      "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
      "FAKE": str(folder),
      "SPLITNER_LAUNCH_SECOND": "0.00005",
    }

  def answers(self, **kinds: Sequence[str]) -> None:
    """What each kind of call is answered, after `_THERE`; see the fake."""
    for kind, lines in (_THERE | kinds).items():
      (self.folder / kind).write_text("".join(f"{x}\n" for x in lines))

  def start(self, command: str, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
      ["bash", _LAUNCH / "tpu.sh", command, "--name=ner", *_AT, *options],
      env=self.environment,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      start_new_session=True,
    )

  def run(self, command: str, *options: str) -> tuple[int, str, str]:
    """Status, stdout and stderr of launch/tpu.sh."""
    process = self.start(command, *options)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err

  def calls(self) -> list[Call]:
    path = self.folder / "calls"
    if not path.exists():
      return []
    lines = path.read_text().split("\x1f\n")[:-1]
    return [
      tuple(
        "ARCHIVE" if word.endswith("/splitner_jax.tar.gz") else word
        for word in line.split("\x1f")
      )
      for line in lines
    ]


@pytest.fixture
def cloud(tmp_path: pathlib.Path) -> _Cloud:
  return _Cloud(tmp_path)


def _train(cloud: _Cloud, *options: str) -> tuple[int, str, str]:
  return cloud.run(*_TRAIN, *options, "--", "--config.data.dir=my data")


def test_a_machine_after_a_long_wait(cloud: _Cloud) -> None:
  waiting = ["0|CREATING", *["0|WAITING_FOR_RESOURCES"] * 50, "0|PROVISIONING"]
  cloud.answers(
    describe=[_NONE, *waiting, "0|ACTIVE"], machine=["0|CREATING", "0|READY"]
  )
  status, _, err = cloud.run("create", "--spot", "--project=p")
  assert status == 0
  made = [tuple(w for w in c if w != "--project=p") for c in cloud.calls()]
  assert made == [
    *(_LOOK, (*_CREATE, "--spot"), *[_LOOK] * 53),
    *(_MACHINE, _LOOK, _MACHINE),
  ]
  assert all("--project=p" in call for call in cloud.calls())
  assert f"ACTIVE when last seen; it costs until you run: {_HELD}" in err


def test_waiting_has_an_end(cloud: _Cloud) -> None:
  cloud.answers(describe=[_NONE, "0|WAITING_FOR_RESOURCES"])
  status, _, err = cloud.run("create", "--wait=2")
  assert status == 1
  assert cloud.calls() == [_LOOK, _CREATE, *[_LOOK] * 7]
  assert "WAITING_FOR_RESOURCES for 2 minutes" in err
  assert "WAITING_FOR_RESOURCES when last seen" in err
  assert _HELD in err


@pytest.mark.parametrize(
  ("state", "looks"),
  [
    ("CREATING", 15 * 3),
    ("PROVISIONING", 45 * 3),
    ("SUSPENDING", 15 * 3),
    ("DELETING", 30 * 3),
    ("SOMETHING_NEW", 10 * 3),
  ],
)
def test_each_state_has_its_deadline(
  cloud: _Cloud, state: str, looks: int
) -> None:
  cloud.answers(describe=[f"0|{state}"])
  status, _, err = cloud.run("create")
  assert status == 1
  assert cloud.calls() == [_LOOK] * (looks + 2)
  assert f"{state} when last seen" in err
  assert _HELD in err


def test_no_quota(cloud: _Cloud) -> None:
  cloud.answers(
    describe=[_NONE, "0|FAILED", _NONE], reason=["0|Quota exceeded: 0 of 8"]
  )
  status, _, err = _train(cloud)
  assert status == 1
  assert cloud.calls() == [_LOOK, _CREATE, _LOOK, _REASON, *_GONE]
  assert "ner was FAILED: Quota exceeded: 0 of 8; the request is deleted" in err
  assert "nothing is held" in err


def test_a_request_that_is_refused(cloud: _Cloud) -> None:
  cloud.answers(describe=[_NONE], create=["1|ERROR: no such zone"])
  status, _, err = cloud.run("create")
  assert status == 1
  assert cloud.calls() == [_LOOK, _CREATE, _LOOK]
  assert "no such zone" in err
  assert "nothing is held" in err


def test_suspended_for_ever(cloud: _Cloud) -> None:
  """It is deleted, and asked for anew so often as pre-emptions are borne."""
  suspended = ["0|SUSPENDING", "0|SUSPENDED"]
  cloud.answers(describe=[_NONE, *[*suspended, _NONE, _NONE] * 3])
  status, _, err = _train(cloud, "--preemptions=2")
  assert status == 1
  again = [_CREATE, _LOOK, _LOOK, *_GONE]
  assert cloud.calls() == [_LOOK, *again, _LOOK, *again, _LOOK, *again]
  assert "pre-empted 3 times, of which --preemptions=2 bears 2" in err
  assert "nothing is held" in err


def test_suspended_before_it_was_there(cloud: _Cloud) -> None:
  cloud.answers(describe=["0|SUSPENDED", "0|SUSPENDED", _NONE], reason=["0|"])
  status, _, err = cloud.run("create")
  assert status == 1
  assert cloud.calls() == [_LOOK, _LOOK, _REASON, *_GONE]
  assert "ner was SUSPENDED; the request is deleted" in err
  assert "nothing is held" in err


def test_trains_on_what_is_there(cloud: _Cloud) -> None:
  cloud.answers(
    poll=[
      r"0|\n@vm absent",
      r"0|one\ntw\n@vm running",
      r"0|\n@vm running",
      r"0|o\n\n@vm exited 0",
    ]
  )
  status, out, err = _train(cloud)
  assert status == 0
  assert cloud.calls() == [
    *(_LOOK, _LOOK, _MACHINE, *_BEGIN),
    *(_poll(0), _poll(6), _poll(6)),
  ]
  assert out == "one\ntwo\n"
  assert "the results are in gs://bucket/run/results" in err
  assert _HELD in err


def test_deletes_at_the_end_if_asked(cloud: _Cloud) -> None:
  cloud.answers(
    describe=["0|ACTIVE", "0|ACTIVE", "0|DELETING", _NONE],
    poll=[r"0|\n@vm absent", r"0|\n@vm exited 0"],
  )
  status, _, err = _train(cloud, "--delete")
  assert status == 0
  assert cloud.calls()[-3:] == [_DELETE, _LOOK, _LOOK]
  assert "nothing is held" in err


def test_comes_back_to_a_training(cloud: _Cloud) -> None:
  cloud.answers(poll=[r"0|one\n\n@vm running", r"0|\n@vm exited 0"])
  status, out, _ = _train(cloud)
  assert status == 0
  assert cloud.calls() == [_LOOK, _LOOK, _MACHINE, _poll(0), _poll(4)]
  assert out == "one\n"


def test_preempted_twice_in_mid_run(cloud: _Cloud) -> None:
  """Once so that it is seen, once with a machine that reads READY for ever."""
  begins = [r"0|\n@vm absent", r"0|log\n\n@vm running"]
  cloud.answers(
    describe=[
      *[_NONE, "0|ACTIVE", "0|ACTIVE", _NONE],
      *[_NONE, "0|ACTIVE", *["0|ACTIVE"] * 16, _NONE],
      *[_NONE, "0|ACTIVE"],
    ],
    machine=["0|READY", "0|PREEMPTED", "0|READY"],
    poll=[
      *[*begins, "255|connection refused"],
      *[*begins, *["255|timed out"] * 16],
      *[*begins, r"0|\n@vm exited 0"],
    ],
  )
  status, out, err = _train(cloud, "--crashes=0")
  assert status == 0
  began = [_LOOK, _CREATE, _LOOK, _MACHINE, *_BEGIN, _poll(0)]
  unseen = [_poll(4), _LOOK, _MACHINE]
  assert cloud.calls() == [
    *(*began, _poll(4), _LOOK, _MACHINE, *_GONE),
    *(*began, *unseen * 16, *_GONE),
    *(*began, _poll(4)),
  ]
  assert out == "log\n" * 3
  assert "pre-empted (machine PREEMPTED), 1 of 20" in err
  assert "pre-empted (READY, but did not answer), 2 of 20" in err


def test_vanishes_while_it_is_set_up(cloud: _Cloud) -> None:
  cloud.answers(
    describe=["0|ACTIVE", "0|ACTIVE", _NONE, _NONE, _NONE, "0|ACTIVE"],
    setup=["255|connection lost", "0|"],
    poll=[r"0|\n@vm absent", r"0|\n@vm absent", r"0|\n@vm exited 0"],
  )
  status, _, err = _train(cloud, "--crashes=0")
  assert status == 0
  assert cloud.calls() == [
    *(_LOOK, _LOOK, _MACHINE, *_BEGIN[:-1], _LOOK, *_GONE),
    *(_LOOK, _CREATE, _LOOK, _MACHINE, *_BEGIN, _poll(0)),
  ]
  assert "pre-empted (NONE), 1 of 20" in err


def test_asked_to_stop_is_no_crash(cloud: _Cloud) -> None:
  asked = [r"0|\n@vm absent", r"0|\n@vm exited 143"]
  cloud.answers(poll=[*asked, r"0|\n@vm exited 143"])
  status, _, err = _train(cloud, "--crashes=0", "--preemptions=1")
  assert status == 1
  again = [_LOOK, _LOOK, _MACHINE, *_BEGIN, _poll(0)]
  assert cloud.calls() == again * 2
  assert "pre-empted 2 times" in err
  assert _HELD in err


def test_a_crash_is_not_tried_for_ever(cloud: _Cloud) -> None:
  crash = [r"0|\n@vm absent", r"0|error: bad\n\n@vm exited 3"]
  cloud.answers(poll=crash * 2)
  status, out, err = _train(cloud, "--preemptions=0")
  assert status == 3
  begun = [*_BEGIN[1:], _poll(0)]
  assert cloud.calls() == [
    *(_LOOK, _LOOK, _MACHINE, _poll(0), *begun),
    *(_LOOK, _LOOK, _MACHINE, _poll(11), *begun),
  ]
  assert out == "error: bad\n" * 2
  assert "training ended with status 3, 2 times" in err
  assert _HELD in err


def test_a_crash_with_delete_holds_nothing(cloud: _Cloud) -> None:
  cloud.answers(
    describe=["0|ACTIVE", "0|ACTIVE", _NONE],
    poll=[r"0|\n@vm absent", r"0|\n@vm exited 1"],
  )
  status, _, err = _train(cloud, "--crashes=0", "--delete")
  assert status == 1
  assert cloud.calls()[-2:] == _GONE
  assert "nothing is held" in err


def test_delete_of_what_is_not_there(cloud: _Cloud) -> None:
  cloud.answers(delete=[_NONE], describe=[_NONE])
  status, _, err = cloud.run("delete")
  assert status == 0
  assert cloud.calls() == _GONE
  assert "could not delete" not in err
  assert "nothing is held" in err


def test_delete_that_fails(cloud: _Cloud) -> None:
  cloud.answers(delete=["1|ERROR: not allowed"])
  status, _, err = cloud.run("delete")
  assert status == 1
  assert cloud.calls() == [_DELETE, *[_LOOK] * 61]
  assert "not allowed" in err
  assert _HELD in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_provisioning(
  cloud: _Cloud, number: signal.Signals
) -> None:
  cloud.answers(describe=[_NONE, "0|PROVISIONING"])
  cloud.environment["SPLITNER_LAUNCH_SECOND"] = "1"
  process = cloud.start("create")
  while len(cloud.calls()) < 3:
    assert process.poll() is None
    time.sleep(0.01)
  time.sleep(0.1)  # It is between two looks.
  os.killpg(process.pid, number)
  _, err = process.communicate(timeout=10)
  assert process.returncode == 128 + number
  assert cloud.calls() == [_LOOK, _CREATE, _LOOK]
  assert "PROVISIONING when last seen; it costs until you run: " in err
  assert _HELD in err


def test_interrupted_while_it_asks(cloud: _Cloud) -> None:
  """The request may have arrived."""
  cloud.answers(describe=[_NONE], create=["hangs|"])
  process = cloud.start("create")
  while len(cloud.calls()) < 2:
    assert process.poll() is None
    time.sleep(0.01)
  time.sleep(0.1)
  os.killpg(process.pid, signal.SIGINT)
  _, err = process.communicate(timeout=10)
  assert process.returncode == 130
  assert "requested when last seen" in err
  assert _HELD in err


def test_interrupted_in_training_says_that_it_goes_on(cloud: _Cloud) -> None:
  cloud.answers(poll=[r"0|\n@vm running"])
  cloud.environment["SPLITNER_LAUNCH_SECOND"] = "1"
  process = cloud.start(*_TRAIN)
  while len(cloud.calls()) < 5:
    assert process.poll() is None
    time.sleep(0.01)
  os.killpg(process.pid, signal.SIGINT)
  _, err = process.communicate(timeout=10)
  assert process.returncode == 130
  assert "what runs goes on, and the same command comes back to it" in err
  assert _HELD in err


def test_gcloud_that_does_not_answer(cloud: _Cloud) -> None:
  """At once where it never did: nobody is logged in; else after a while."""
  cloud.answers(describe=["1|ERROR: log in first"])
  status, _, err = cloud.run("create")
  assert status == 1
  assert cloud.calls() == [_LOOK]
  assert "log in first" in err
  assert "it is not known whether ner in us-west4-a is held" in err
  lost = ["1|ERROR: network"] * 5
  cloud.answers(describe=["0|PROVISIONING", *lost, "0|ACTIVE"])
  assert cloud.run("create")[0] == 0
  cloud.answers(describe=["0|PROVISIONING", *lost, "1|ERROR: network"])
  status, _, err = cloud.run("create")
  assert status == 1
  assert _HELD in err


def test_status_and_logs(cloud: _Cloud) -> None:
  cloud.answers(poll=[r"0|\n@vm exited 3"], log=["0|the log"])
  status, out, err = cloud.run("status")
  assert (status, out) == (
    0,
    "request: ACTIVE\nmachine: READY\ntraining: exited 3\n",
  )
  assert _HELD in err
  assert cloud.run("logs")[:2] == (0, "the log\n")
  assert cloud.calls()[-1] == _ssh("0", "splitner_jax/launch/vm.sh log")


def test_setup(cloud: _Cloud) -> None:
  cloud.answers()
  status, _, err = cloud.run("setup", "--data=gs://bucket/data")
  assert status == 0
  assert cloud.calls() == [_LOOK, _COPY, _SETUP]
  assert _HELD in err


@pytest.mark.parametrize(
  ("options", "message"),
  [
    (("create", "--sport"), "--sport: no such argument"),
    (("create", "--spot=1"), "--spot=1: no such argument"),
    (("create", "--wait"), "--wait: no such argument, or no value"),
    (("create", "--wait=ever"), "--wait: 'ever' is no whole number"),
    (("create", "delete"), "delete: there is a command already, create"),
    (("launch",), "launch: no such argument"),
    (("create", "--name=A_b"), "--name: 'A_b'"),
    (("create", "--zone=here"), "--zone: 'here' is no zone"),
    (("create", "--accelerator=v5litepod-16"), "has several hosts"),
    (("create", "--accelerator=v4-8"), "'v4-8' is none of"),
    (("setup", "--data=/data"), "--data: '/data' is no folder in a bucket"),
    (("train",), "--config is missing"),
    (("train", "--config=configs/no.py"), "there is no configs/no.py"),
    (("train", "--config=configs/demo.py"), "--workdir: ''"),
  ],
)
def test_wrong_arguments(
  cloud: _Cloud, options: Sequence[str], message: str
) -> None:
  cloud.answers()
  status, out, err = cloud.run(*options)
  assert status == 1
  assert not out
  assert err.startswith("error: ")
  assert message in err
  assert err.count("\n") == 1
  assert not cloud.calls()


def test_dry_run_only_prints(cloud: _Cloud) -> None:
  cloud.answers()
  status, out, _ = _train(cloud, "--dry-run", "--delete")
  assert status == 0
  assert not cloud.calls()
  lines = out.splitlines()
  assert all(line.startswith("gcloud compute tpus ") for line in lines)
  verbs = [" ".join(line.split()[3:5]) for line in lines]
  assert verbs == [
    "queued-resources describe",
    "queued-resources create",
    "queued-resources describe",
    "tpu-vm describe",
    "tpu-vm ssh",
    "tpu-vm scp",
    *["tpu-vm ssh"] * 3,
    "queued-resources delete",
    "queued-resources describe",
  ]
  # It can be pasted into a shell.
  echo = subprocess.run(
    ["bash", "-c", f"gcloud() {{ printf '%s\\x1f' \"$@\"; }}; {lines[7]}"],
    capture_output=True,
    text=True,
    check=True,
  )
  assert tuple(echo.stdout.split("\x1f")[:-1]) == _START


def test_shellcheck() -> None:
  program = shutil.which("shellcheck")
  if program is None:
    pytest.skip("no shellcheck: run launch/setup.sh --dev")
  scripts = sorted([*_LAUNCH.glob("*.sh"), *_LAUNCH.glob("*.sbatch")])
  root = _LAUNCH.parent
  done = subprocess.run(
    [program, "--external-sources", *scripts, *root.glob("tests/*.sh")],
    cwd=root,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stdout
