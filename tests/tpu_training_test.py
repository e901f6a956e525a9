"""launch/tpu.sh with a gcloud that only plays: trainings on machines."""

import os
import pathlib
import signal
import time

import pytest

from tests.tpu_cloud import (
  BEGIN,
  CREATE,
  DELETE,
  GONE,
  HELD,
  LOOK,
  MACHINE,
  NONE,
  REASON,
  TRAIN,
  Cloud,
  poll,
)


@pytest.fixture
def cloud(tmp_path: pathlib.Path) -> Cloud:
  return Cloud(tmp_path)


def test_no_quota(cloud: Cloud) -> None:
  cloud.answers(
    describe=[NONE, "0|FAILED", NONE], reason=["0|Quota exceeded: 0 of 8"]
  )
  status, _, err = cloud.train()
  assert status == 1
  assert cloud.calls() == [LOOK, CREATE, LOOK, REASON, *GONE]
  assert "ner was FAILED: Quota exceeded: 0 of 8; the request is deleted" in err
  assert "nothing is held" in err


def test_suspended_for_ever(cloud: Cloud) -> None:
  """It is deleted, and asked for anew so often as pre-emptions are borne."""
  suspended = ["0|SUSPENDING", "0|SUSPENDED"]
  cloud.answers(describe=[NONE, *[*suspended, NONE, NONE] * 3])
  status, _, err = cloud.train("--preemptions=2")
  assert status == 1
  again = [CREATE, LOOK, LOOK, *GONE]
  assert cloud.calls() == [LOOK, *again, LOOK, *again, LOOK, *again]
  assert "pre-empted 3 times, of which --preemptions=2 bears 2" in err
  assert "nothing is held" in err


def test_trains_on_what_is_there(cloud: Cloud) -> None:
  cloud.answers(
    poll=[
      r"0|\n@vm absent",
      r"0|one\ntw\n@vm running",
      r"0|\n@vm running",
      r"0|o\n\n@vm exited 0",
    ]
  )
  status, out, err = cloud.train()
  assert status == 0
  assert cloud.calls() == [
    *(LOOK, LOOK, MACHINE, *BEGIN),
    *(poll(0), poll(6), poll(6)),
  ]
  assert out == "one\ntwo\n"
  assert "the results are in gs://bucket/run/results" in err
  assert HELD in err
  # The project without what is of this machine, such as caches of tools.
  copied = (cloud.folder / "copied").read_text().splitlines()
  needed = {"./launch/vm.sh", "./splitner_jax/main.py", "./requirements.txt"}
  assert needed <= set(copied)
  assert not [name for name in copied if name.startswith("./.")]


def test_deletes_at_the_end_if_asked(cloud: Cloud) -> None:
  cloud.answers(
    describe=["0|ACTIVE", "0|ACTIVE", "0|DELETING", NONE],
    poll=[r"0|\n@vm absent", r"0|\n@vm exited 0"],
  )
  status, _, err = cloud.train("--delete")
  assert status == 0
  assert cloud.calls()[-3:] == [DELETE, LOOK, LOOK]
  assert "nothing is held" in err


def test_comes_back_to_a_training(cloud: Cloud) -> None:
  cloud.answers(poll=[r"0|one\n\n@vm running", r"0|\n@vm exited 0"])
  status, out, _ = cloud.train()
  assert status == 0
  assert cloud.calls() == [LOOK, LOOK, MACHINE, poll(0), poll(4)]
  assert out == "one\n"


def test_preempted_twice_in_mid_run(cloud: Cloud) -> None:
  """Once so that it is seen, once with a machine that reads READY for ever."""
  begins = [r"0|\n@vm absent", r"0|log\n\n@vm running"]
  cloud.answers(
    describe=[
      *[NONE, "0|ACTIVE", "0|ACTIVE", NONE],
      *[NONE, "0|ACTIVE", *["0|ACTIVE"] * 16, NONE],
      *[NONE, "0|ACTIVE"],
    ],
    machine=["0|READY", "0|PREEMPTED", "0|READY"],
    poll=[
      *[*begins, "255|connection refused"],
      *[*begins, *["255|timed out"] * 16],
      *[*begins, r"0|\n@vm exited 0"],
    ],
  )
  status, out, err = cloud.train("--crashes=0")
  assert status == 0
  began = [LOOK, CREATE, LOOK, MACHINE, *BEGIN, poll(0)]
  unseen = [poll(4), LOOK, MACHINE]
  assert cloud.calls() == [
    *(*began, poll(4), LOOK, MACHINE, *GONE),
    *(*began, *unseen * 16, *GONE),
    *(*began, poll(4)),
  ]
  assert out == "log\n" * 3
  assert "pre-empted (machine PREEMPTED), 1 of 20" in err
  assert "pre-empted (READY, but did not answer), 2 of 20" in err


def test_vanishes_while_it_is_set_up(cloud: Cloud) -> None:
  cloud.answers(
    describe=["0|ACTIVE", "0|ACTIVE", NONE, NONE, NONE, "0|ACTIVE"],
    setup=["255|connection lost", "0|"],
    poll=[r"0|\n@vm absent", r"0|\n@vm absent", r"0|\n@vm exited 0"],
  )
  status, _, err = cloud.train("--crashes=0")
  assert status == 0
  assert cloud.calls() == [
    *(LOOK, LOOK, MACHINE, *BEGIN[:-1], LOOK, *GONE),
    *(LOOK, CREATE, LOOK, MACHINE, *BEGIN, poll(0)),
  ]
  assert "pre-empted (NONE), 1 of 20" in err


def test_a_set_up_that_fails_is_a_crash(cloud: Cloud) -> None:
  cloud.answers(
    setup=["1|error: no Python", "1|error: no Python"], poll=[r"0|\n@vm absent"]
  )
  status, _, err = cloud.train()
  assert status == 1
  tried = [LOOK, LOOK, MACHINE, *BEGIN[:-1], LOOK, MACHINE]
  assert cloud.calls() == tried * 2
  assert "ner could not be set up" in err
  assert HELD in err


def test_asked_to_stop_is_no_crash(cloud: Cloud) -> None:
  asked = [r"0|\n@vm absent", r"0|\n@vm exited 143"]
  cloud.answers(poll=[*asked, r"0|\n@vm exited 143"])
  status, _, err = cloud.train("--crashes=0", "--preemptions=1")
  assert status == 1
  again = [LOOK, LOOK, MACHINE, *BEGIN, poll(0)]
  assert cloud.calls() == again * 2
  assert "pre-empted 2 times" in err
  assert HELD in err


def test_a_crash_is_not_tried_for_ever(cloud: Cloud) -> None:
  crash = [r"0|\n@vm absent", r"0|error: bad\n\n@vm exited 3"]
  cloud.answers(poll=crash * 2)
  status, out, err = cloud.train("--preemptions=0")
  assert status == 3
  begun = [*BEGIN[1:], poll(0)]
  assert cloud.calls() == [
    *(LOOK, LOOK, MACHINE, poll(0), *begun),
    *(LOOK, LOOK, MACHINE, poll(11), *begun),
  ]
  assert out == "error: bad\n" * 2
  assert "training ended with status 3, 2 times" in err
  assert HELD in err


def test_a_crash_with_delete_holds_nothing(cloud: Cloud) -> None:
  cloud.answers(
    describe=["0|ACTIVE", "0|ACTIVE", NONE],
    poll=[r"0|\n@vm absent", r"0|\n@vm exited 1"],
  )
  status, _, err = cloud.train("--crashes=0", "--delete")
  assert status == 1
  assert cloud.calls()[-2:] == GONE
  assert "nothing is held" in err


def test_interrupted_in_training_says_that_it_goes_on(cloud: Cloud) -> None:
  cloud.answers(poll=[r"0|\n@vm running"])
  cloud.environment["SPLITNER_LAUNCH_SECOND"] = "1"
  process = cloud.start(*TRAIN)
  while len(cloud.calls()) < 5:
    assert process.poll() is None
    time.sleep(0.01)
  os.killpg(process.pid, signal.SIGINT)
  _, err = process.communicate(timeout=10)
  assert process.returncode == 130
  assert "what runs goes on, and the same command comes back to it" in err
  assert HELD in err
