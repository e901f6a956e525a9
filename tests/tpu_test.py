"""launch/tpu.sh with a gcloud that only plays: machines, and what is held."""

import os
import pathlib
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence

import pytest

from tests.tpu_cloud import (
  COPY,
  CREATE,
  DELETE,
  GONE,
  HELD,
  LAUNCH,
  LOOK,
  MACHINE,
  NONE,
  REASON,
  SETUP,
  START,
  Cloud,
  ssh,
)


@pytest.fixture
def cloud(tmp_path: pathlib.Path) -> Cloud:
  return Cloud(tmp_path)


def test_a_machine_after_a_long_wait(cloud: Cloud) -> None:
  waiting = ["0|CREATING", *["0|WAITING_FOR_RESOURCES"] * 50, "0|PROVISIONING"]
  cloud.answers(
    describe=[NONE, *waiting, "0|ACTIVE"], machine=["0|CREATING", "0|READY"]
  )
  status, _, err = cloud.run("create", "--spot", "--project=p")
  assert status == 0
  made = [tuple(w for w in c if w != "--project=p") for c in cloud.calls()]
  assert made == [
    *(LOOK, (*CREATE, "--spot"), *[LOOK] * 53),
    *(MACHINE, LOOK, MACHINE),
  ]
  assert all("--project=p" in call for call in cloud.calls())
  assert f"ACTIVE when last seen; it costs until you run: {HELD}" in err


def test_waiting_has_an_end(cloud: Cloud) -> None:
  cloud.answers(describe=[NONE, "0|WAITING_FOR_RESOURCES"])
  status, _, err = cloud.run("create", "--wait=2")
  assert status == 1
  assert cloud.calls() == [LOOK, CREATE, *[LOOK] * 7]
  assert "WAITING_FOR_RESOURCES for 2 minutes" in err
  assert "WAITING_FOR_RESOURCES when last seen" in err
  assert HELD in err


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
  cloud: Cloud, state: str, looks: int
) -> None:
  cloud.answers(describe=[f"0|{state}"])
  status, _, err = cloud.run("create")
  assert status == 1
  assert cloud.calls() == [LOOK] * (looks + 2)
  assert f"{state} when last seen" in err
  assert HELD in err


def test_a_request_that_is_refused(cloud: Cloud) -> None:
  cloud.answers(describe=[NONE], create=["1|ERROR: no such zone"])
  status, _, err = cloud.run("create")
  assert status == 1
  assert cloud.calls() == [LOOK, CREATE, LOOK]
  assert "no such zone" in err
  assert "nothing is held" in err


def test_suspended_before_it_was_there(cloud: Cloud) -> None:
  cloud.answers(describe=["0|SUSPENDED", "0|SUSPENDED", NONE], reason=["0|"])
  status, _, err = cloud.run("create")
  assert status == 1
  assert cloud.calls() == [LOOK, LOOK, REASON, *GONE]
  assert "ner was SUSPENDED; the request is deleted" in err
  assert "nothing is held" in err


def test_delete_of_what_is_not_there(cloud: Cloud) -> None:
  cloud.answers(delete=[NONE], describe=[NONE])
  status, _, err = cloud.run("delete")
  assert status == 0
  assert cloud.calls() == GONE
  assert "could not delete" not in err
  assert "nothing is held" in err


def test_delete_that_fails(cloud: Cloud) -> None:
  cloud.answers(delete=["1|ERROR: not allowed"])
  status, _, err = cloud.run("delete")
  assert status == 1
  assert cloud.calls() == [DELETE, *[LOOK] * 61]
  assert "not allowed" in err
  assert HELD in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_provisioning(
  cloud: Cloud, number: signal.Signals
) -> None:
  cloud.answers(describe=[NONE, "0|PROVISIONING"])
  cloud.environment["SPLITNER_LAUNCH_SECOND"] = "1"
  process = cloud.start("create")
  while len(cloud.calls()) < 3:
    assert process.poll() is None
    time.sleep(0.01)
  time.sleep(0.1)  # It is between two looks.
  os.killpg(process.pid, number)
  _, err = process.communicate(timeout=10)
  assert process.returncode == 128 + number
  assert cloud.calls() == [LOOK, CREATE, LOOK]
  assert "PROVISIONING when last seen; it costs until you run: " in err
  assert HELD in err


def test_interrupted_while_it_asks(cloud: Cloud) -> None:
  """The request may have arrived."""
  cloud.answers(describe=[NONE], create=["hangs|"])
  process = cloud.start("create")
  while len(cloud.calls()) < 2:
    assert process.poll() is None
    time.sleep(0.01)
  time.sleep(0.1)
  os.killpg(process.pid, signal.SIGINT)
  _, err = process.communicate(timeout=10)
  assert process.returncode == 130
  assert "requested when last seen" in err
  assert HELD in err


def test_gcloud_that_does_not_answer(cloud: Cloud) -> None:
  """At once where it never did: nobody is logged in; else after a while."""
  cloud.answers(describe=["1|ERROR: log in first"])
  status, _, err = cloud.run("create")
  assert status == 1
  assert cloud.calls() == [LOOK]
  assert "log in first" in err
  assert "it is not known whether ner in us-west4-a is held" in err
  lost = ["1|ERROR: network"] * 5
  cloud.answers(describe=["0|PROVISIONING", *lost, "0|ACTIVE"])
  assert cloud.run("create")[0] == 0
  cloud.answers(describe=["0|PROVISIONING", *lost, "1|ERROR: network"])
  status, _, err = cloud.run("create")
  assert status == 1
  assert HELD in err


def test_status_and_logs(cloud: Cloud) -> None:
  cloud.answers(poll=[r"0|\n@vm exited 3"], log=["0|the log"])
  status, out, err = cloud.run("status")
  assert (status, out) == (
    0,
    "request: ACTIVE\nmachine: READY\ntraining: exited 3\n",
  )
  assert HELD in err
  assert cloud.run("logs")[:2] == (0, "the log\n")
  assert cloud.calls()[-1] == ssh("0", "splitner_jax/launch/vm.sh log")


def test_setup(cloud: Cloud) -> None:
  cloud.answers()
  status, _, err = cloud.run("setup", "--data=gs://bucket/data")
  assert status == 0
  assert cloud.calls() == [LOOK, COPY, SETUP]
  assert HELD in err


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
  cloud: Cloud, options: Sequence[str], message: str
) -> None:
  cloud.answers()
  status, out, err = cloud.run(*options)
  assert status == 1
  assert not out
  assert err.startswith("error: ")
  assert message in err
  assert err.count("\n") == 1
  assert not cloud.calls()


def test_dry_run_only_prints(cloud: Cloud) -> None:
  cloud.answers()
  status, out, _ = cloud.train("--dry-run", "--delete")
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
  assert tuple(echo.stdout.split("\x1f")[:-1]) == START


def test_shellcheck() -> None:
  program = shutil.which("shellcheck")
  if program is None:
    pytest.skip("no shellcheck: run launch/setup.sh --dev")
  scripts = sorted([*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch")])
  root = LAUNCH.parent
  done = subprocess.run(
    [program, "--external-sources", *scripts, *root.glob("tests/*.sh")],
    cwd=root,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stdout
