"""Runs that are kept in a bucket, of a server in memory."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from configs import wnut17
from splitner_jax.experiment import seeds
from splitner_jax.experiment.run_folder import locked
from splitner_jax.experiment.settings import as_json
from splitner_jax.runtime import buckets, files, processes
from splitner_jax.runtime.errors import UserError
from tests import fake_gcs, runs

_PLACE = "gs://bucket/runs/one"


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[fake_gcs.Storage, dict[str, str]]]:
  pytest.importorskip("gcsfs", reason="needs the extra gcs")
  with fake_gcs.running() as running, pytest.MonkeyPatch.context() as patch:
    for name, value in running[1].items():
      patch.setenv(name, value)
    yield running


@pytest.fixture
def storage(server) -> fake_gcs.Storage:
  storage, _ = server
  storage.objects.clear()
  storage.requests.clear()
  storage.refused, storage.read_only = None, False
  return storage


@pytest.mark.parametrize(
  ("workdir", "said"),
  [
    (
      "s3://bucket/run",
      "--workdir s3://bucket/run: s3:// is not known; give a",
    ),
    ("file:///run", "--workdir file:///run: file:// is not known; give a"),
    (
      "GS://bucket/run",
      "--workdir GS://bucket/run: GS:// is not known; give a",
    ),
    ("gs://bucket", "--workdir gs://bucket: is not gs://BUCKET/FOLDER with"),
    ("gs://bucket/", "--workdir gs://bucket/: is not gs://BUCKET/FOLDER with"),
    ("gs://bucket/a//b", "is not gs://BUCKET/FOLDER with names of letters"),
    ("gs://bucket/../b", "is not gs://BUCKET/FOLDER with names of letters"),
    ("gs://bucket/run#1", "is not gs://BUCKET/FOLDER with names of letters"),
    ("gs://bucket/run*", "is not gs://BUCKET/FOLDER with names of letters"),
  ],
)
def test_what_is_no_workdir(workdir: str, said: str) -> None:
  with pytest.raises(UserError) as caught:
    buckets.check(workdir)
  assert said in str(caught.value)


@pytest.mark.parametrize(
  "workdir", ["", "runs/a b", "/runs/ä", "gs://a-b.c/d", "gs://bucket/r_1/x=2/"]
)
def test_what_is_a_workdir(workdir: str) -> None:
  buckets.check(workdir)


def test_of_a_folder_nothing_changes(tmp_path: pathlib.Path) -> None:
  with buckets.opened(str(tmp_path)) as (folder, mirror):
    assert folder == mirror.place(folder) == tmp_path
    assert mirror.read(folder / "a") is None
    assert not mirror.has(folder / "a")
    (folder / "a").write_text("b")
    mirror.send()
    assert mirror.read(folder / "a") == b"b"
    assert mirror.has_any(folder, "[a-c]*")
  assert (tmp_path / "a").exists()


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
  monkeypatch.setitem(sys.modules, "gcsfs", None)
  with pytest.raises(UserError) as caught, buckets.opened(_PLACE):
    pass
  assert str(caught.value) == (
    f'--workdir {_PLACE}: needs gcsfs; pip install "splitner_jax[gcs]"'
  )


# Of what gcsfs sends, by aiohttp.
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
def test_what_is_new_is_sent(
  storage: fake_gcs.Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
  with buckets.opened(_PLACE + "/") as (folder, mirror):
    inner = folder / "seed-1" / "model"
    inner.mkdir(parents=True)
    big = os.urandom(9_000_000)  # More than gcsfs sends at once.
    for name, data in (
      ("report.json", b"{}"),
      ("config.json", b"1"),
      ("z", big),
    ):
      (inner / name).write_bytes(data)
    (folder / ".lock").write_text("")
    (folder / ".model.new").mkdir()
    (folder / ".model.new" / "part").write_text("")
    monkeypatch.setattr(processes, "_number", 1)
    mirror.send()
    assert not storage.objects
    monkeypatch.undo()
    mirror.send()
    prefix = "bucket/runs/one/seed-1/model/"
    # In the order in which they came.
    names = [n.removeprefix(prefix) for n in storage.objects]
    assert names == ["z", "config.json", "report.json"]
    assert storage.objects[prefix + "z"][0] == big

    before = dict(storage.objects)
    (inner / "config.json").write_text("22")
    mirror.send()
    changed = [n for n in before if storage.objects[n] != before[n]]
    assert changed == [prefix + "config.json"]
    assert str(mirror.place(inner)) == _PLACE + "/seed-1/model"
  assert not folder.exists()

  with buckets.opened(_PLACE) as (folder, mirror):
    inner = folder / "seed-1" / "model"
    assert mirror.read(inner / "config.json") == b"22"
    assert mirror.read(inner / "other") is None
    assert mirror.has(inner / "z")
    assert mirror.has_any(folder, "seed-*/*/[z]*")
    assert not mirror.has_any(folder, "*/checkpoints/best/[0-9]*")


def test_a_process_that_leaves_removes_its_folder(storage) -> None:
  with buckets.opened(_PLACE) as (folder, _):
    (folder / "a").write_text("")
    files.remove_unfinished()
    assert not folder.exists()


def test_one_run_to_a_folder(storage: fake_gcs.Storage) -> None:
  config = wnut17.get_config()

  def start(content: str) -> None:
    """On a machine of its own."""
    with (
      buckets.opened(_PLACE) as (folder, mirror),
      locked(config, folder, content, {"detector": 1}, mirror),
    ):
      pass

  start("aaaa")
  start("bbbb")  # The first one has come to nothing.
  claim = "bucket/runs/one/config.json"
  kept = storage.objects[claim][0]
  assert json.loads(kept)["content_hash"] == "bbbb"
  checkpoint = "bucket/runs/one/seed-2/detector/checkpoints/best/1/metadata"
  storage.objects[checkpoint] = b"", 9
  start("bbbb")
  with pytest.raises(UserError) as caught:
    start("aaaa")
  assert str(caught.value) == (
    f"--workdir {_PLACE}: holds another run (content_hash is 'bbbb' there, "
    "'aaaa' here); choose another --workdir, or delete it"
  )
  assert storage.objects[claim][0] == kept
  del storage.objects[claim]
  with pytest.raises(UserError, match=f"{_PLACE}: has checkpoints but no con"):
    start("bbbb")
  storage.objects[claim] = b"{", 10
  with pytest.raises(UserError, match=f"{_PLACE}/config.json: is not a config"):
    start("bbbb")


def test_a_seed_that_is_done_is_not_run_again(storage) -> None:
  config = wnut17.get_config()
  config.seeds = "1,2"
  started: list[int] = []
  scores = {"precision": 1.0, "recall": 1.0, "f1": 1.0}

  def run_one(one: Any, folder: pathlib.Path) -> Any:
    started.append(one.seed)
    if started == [1, 2]:
      raise KeyboardInterrupt
    found = {
      "config": as_json(one),
      "corpus": {"content_hash": "aaaa", "name": "wnut17"},
      "dev": {"all_sentences": scores},
    }
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "config.json").write_text("{}")
    (folder / "report.json").write_text(json.dumps(found))
    mirror.send()
    return found

  with (
    pytest.raises(KeyboardInterrupt),
    buckets.opened(_PLACE) as (folder, mirror),
  ):
    seeds.run(config, folder, "aaaa", {}, run_one, mirror)
  with buckets.opened(_PLACE) as (folder, mirror):
    result = seeds.run(config, folder, "aaaa", {}, run_one, mirror)
  assert started == [1, 2, 2]
  assert result["seeds"] == [1, 2]
  assert {
    "bucket/runs/one/report.json",
    "bucket/runs/one/report.md",
    "bucket/runs/one/seed-2/report.json",
  } <= storage.objects.keys()


def _refusal(workdir: str = _PLACE) -> str:
  with (
    pytest.raises(UserError) as caught,
    buckets.opened(workdir) as (folder, mirror),
    locked(wnut17.get_config(), folder, "aaaa", mirror=mirror),
  ):
    pass
  message = str(caught.value)
  assert "\n" not in message
  assert message.startswith(f"--workdir {workdir}: cannot be used (")
  assert message.endswith(
    "; see that this machine may read and write there, and run the same "
    "command again"
  )
  return message


def test_a_bucket_that_cannot_be_used(storage: fake_gcs.Storage) -> None:
  assert "there is no such bucket" in _refusal("gs://other/run")
  for status in (401, 403):
    storage.refused = status, "no storage.objects.list access"
    assert "no storage.objects.list access" in _refusal()
  storage.refused, storage.read_only = None, True
  assert "no storage.objects.create access" in _refusal()


@pytest.mark.slow
def test_a_server_that_does_not_answer(storage, monkeypatch) -> None:
  monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
  assert "Cannot connect to host" in _refusal()


_FEW = {"epochs": 2, "checkpoint_every": 2}


def _run(
  folder: pathlib.Path, workdir: str, kill: str = "nowhere", **options: Any
) -> subprocess.CompletedProcess[str]:
  """On a machine with an empty disk."""
  disk = folder.parent / "disk"
  shutil.rmtree(disk, ignore_errors=True)
  disk.mkdir()
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("TMPDIR", str(disk))
    done = runs.run(workdir, folder, kill, **(_FEW | options))
  left = [path.name for path in disk.glob("splitner_*")]
  assert not left or done.returncode < 0, left
  return done


def _report(data: bytes) -> dict[str, Any]:
  report = json.loads(data)
  for split in ("dev", "test"):
    report[split].pop("seconds", None)
  return {name: report[name] for name in ("training", "dev", "test")}


@pytest.mark.slow
def test_on_another_machine_it_goes_on(
  storage: fake_gcs.Storage, tmp_path: pathlib.Path
) -> None:
  folder, local = tmp_path / "tiny", tmp_path / "local"
  undisturbed = _run(folder, str(local))
  assert not undisturbed.returncode, undisturbed.stderr[-2000:]
  assert not storage.requests.total()
  for kill, status, said in (
    ("SIGTERM in an epoch", 143, "detector: 40 examples"),
    ("in an evaluation", -9, "detector: goes on at step"),
    ("nowhere", 0, "detector: goes on at step"),
  ):
    done = _run(folder, _PLACE, kill)
    assert done.returncode == status, done.stderr[-2000:]
    assert said in done.stderr
    asked = "stopped by SIGTERM; the same command goes on from here\n"
    assert done.stderr.endswith(asked) == (status == 143)
    for noise in ("Traceback", "Unclosed", "WARNING", "Waiting for"):
      assert noise not in done.stderr
    has_report = "bucket/runs/one/report.json" in storage.objects
    assert has_report == (not status)
    assert any("/tensorboard/" in name for name in storage.names())
  assert f"report: {_PLACE}/report.md\nmodel: {_PLACE}/model\n" in done.stdout
  assert done.stdout == undisturbed.stdout.replace(str(local), _PLACE)

  names = {name.removeprefix("bucket/runs/one/") for name in storage.names()}
  for path in local.rglob("*"):
    kept = path.relative_to(local).as_posix()
    if path.is_file() and not {"checkpoints", "tensorboard", ".lock"} & {
      *path.relative_to(local).parts
    }:
      assert kept in names
  found = storage.objects["bucket/runs/one/report.json"][0]
  assert _report(found) == _report((local / "report.json").read_bytes())
  for task in ("detector", "classifier"):
    copy = tmp_path / f"{task}.npz"
    data, _ = storage.objects[f"bucket/runs/one/{task}/returned.npz"]
    copy.write_bytes(data)
    ours, theirs = np.load(copy), np.load(local / task / "returned.npz")
    assert ours.files == theirs.files
    for name in ours.files:
      np.testing.assert_array_equal(ours[name], theirs[name])

  before = dict(storage.objects)
  done = _run(folder, _PLACE, learning_rate=0.02)
  assert done.returncode == 1
  assert done.stderr.splitlines()[-1] == (
    f"error: --workdir {_PLACE}: holds another run (learning_rate is 0.01 "
    "there, 0.02 here); choose another --workdir, or delete it"
  )
  assert storage.objects == before


@pytest.mark.slow
def test_several_processes(
  storage: fake_gcs.Storage, tmp_path: pathlib.Path
) -> None:
  """They share no disk, but for the data."""
  two = {"processes": 2, "devices": 1}
  done = _run(tmp_path / "tiny", _PLACE, "SIGTERM in an epoch", **two)
  assert done.returncode == 143, done.stderr[-2000:]
  assert "bucket/runs/one/report.json" not in storage.objects
  for options in (two, {}):
    done = _run(tmp_path / "tiny", _PLACE, **options)
    assert not done.returncode, done.stderr[-2000:]
    report = json.loads(storage.objects["bucket/runs/one/report.json"][0])
    assert len(report["training"]["detector"]["evaluations"]) == 2
  assert "detector: already trained" in done.stderr


@pytest.mark.slow
def test_a_bucket_that_is_gone_while_training(
  storage: fake_gcs.Storage, tmp_path: pathlib.Path
) -> None:
  def close() -> None:
    while not any("best/1/commit" in name for name in storage.names()):
      time.sleep(0.05)
    storage.read_only = True

  thread = threading.Thread(target=close, daemon=True)
  thread.start()
  done = _run(tmp_path / "tiny", _PLACE, epochs=6)
  thread.join()
  assert done.returncode == 1, done.stderr[-2000:]
  assert "Traceback" not in done.stderr
  last = done.stderr.splitlines()[-1]
  assert last.startswith(("error: --workdir gs:", "error: gs:"))
  assert "Forbidden" in last
  storage.read_only = False
  done = _run(tmp_path / "tiny", _PLACE, epochs=6)
  assert not done.returncode, done.stderr[-2000:]
  assert "detector: goes on at step" in done.stderr


@pytest.mark.slow
def test_checkpoints_that_are_damaged(
  storage: fake_gcs.Storage, tmp_path: pathlib.Path
) -> None:
  done = _run(tmp_path / "tiny", _PLACE, "SIGTERM in an epoch")
  assert done.returncode == 143, done.stderr[-2000:]
  for name, (data, generation) in storage.objects.items():
    if "/state/" in name and "/d/" in name:
      storage.objects[name] = bytes(len(data)), generation
  done = _run(tmp_path / "tiny", _PLACE)
  assert done.returncode == 1
  last = done.stderr.splitlines()[-1]
  assert last.startswith(
    f"error: {_PLACE}/detector/checkpoints: the checkpoints there cannot be "
  )
  assert last.endswith(
    "run the same command again; if it says the same, delete that folder, and "
    "this task is trained anew"
  )
