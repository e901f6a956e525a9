"""Tagging of many files on Apache Beam, by its local runner."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from splitner_jax import SplitNER
from splitner_jax.data.sentences import Sentence
from splitner_jax.inference import checks, model_folder
from splitner_jax.runtime import json_text
from splitner_jax.runtime.errors import UserError
from tests import runs, tiny_system

pytest.importorskip("apache_beam", reason="needs the extra beam")

from splitner_jax.integrations import bulk
from splitner_jax.integrations.bulk_shards import Options

# Of Beam and of what it imports; nothing of ours is among them.
pytestmark = [
  pytest.mark.filterwarnings("default::DeprecationWarning"),
  pytest.mark.filterwarnings("default::FutureWarning"),
  pytest.mark.filterwarnings("default::ResourceWarning"),
  pytest.mark.filterwarnings("default::UserWarning"),
]

_TEXTS = ["Bo saw Old Paris.", "", "no more", "\U0001f600 ROME, so"]


_TAGGED = [Sentence(("a", "b"), pos=("DET", "NOUN"))]


@pytest.fixture
def capitals(monkeypatch: pytest.MonkeyPatch) -> tiny_system.Capitals:
  """What every job's model is."""
  model = tiny_system.Capitals()
  monkeypatch.setattr(
    SplitNER,
    "from_pretrained",
    lambda name, batch_size=32: SplitNER(model),  # type: ignore[arg-type]
  )
  monkeypatch.setattr(checks, "check_model", lambda name, labels: None)
  return model


def _texts(count: int) -> list[str]:
  return [f"{_TEXTS[i % 4]} {i}" if i % 4 != 1 else "" for i in range(count)]


def _write(folder: pathlib.Path, count: int) -> list[str]:
  """Texts in two files, of JSON Lines and of lines."""
  folder.mkdir()
  texts = _texts(count)
  lines = [json.dumps({"text": t, "id": i}) for i, t in enumerate(texts)]
  (folder / "a.jsonl").write_text("\n".join(lines), "utf-8")
  (folder / "b.txt").write_text("".join(t + "\n" for t in texts), "utf-8")
  return texts


def _read(folder: pathlib.Path, name: str) -> list[dict[str, Any]]:
  """The records of a file's shards, in order."""
  return [
    json.loads(line)
    for path in sorted(folder.glob(f"{name}-*.jsonl"))
    for line in path.read_text("utf-8").splitlines()
  ]


def test_shards_are_what_predict_says(
  tmp_path: pathlib.Path, capitals: tiny_system.Capitals
):
  texts = _write(tmp_path / "in", 501)
  options = Options("model", shard_texts=100)
  done = bulk.run(f"{tmp_path}/in/*", str(tmp_path / "out"), options)
  assert done == (1002, 0)
  ner = SplitNER(capitals)  # type: ignore[arg-type]
  wanted = [
    [
      {"start": e.start, "end": e.end, "label": e.label}
      | {"score": e.score, "text": e.text}
      for e in entities
    ]
    for entities in ner.predict(texts)
  ]
  out = tmp_path / "out"
  found = _read(out, "a.jsonl")
  assert [(r["id"], r["text"]) for r in found] == list(enumerate(texts))
  assert [r["entities"] for r in found] == wanted
  found = _read(out, "b.txt")
  assert [r["text"] for r in found] == texts
  assert [r["entities"] for r in found] == wanted
  names = [f"a.jsonl-0000{i}.jsonl" for i in range(6)]
  names += [f"b.txt-0000{i}.jsonl" for i in range(6)]
  names += ["bulk.json", "bulk-inputs-00001.json"]
  assert sorted(p.name for p in out.iterdir()) == sorted(names)


def test_a_rerun_does_what_is_missing(
  tmp_path: pathlib.Path, capitals: tiny_system.Capitals
):
  _write(tmp_path / "in", 200)
  options = Options("model", shard_texts=50)
  pattern, out = f"{tmp_path}/in/*", tmp_path / "out"
  assert bulk.run(pattern, str(out), options) == (400, 0)
  before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in out.glob("*-*")}
  lost = out / "a.jsonl-00002.jsonl"
  text = lost.read_bytes()
  lost.unlink()
  assert bulk.run(pattern, str(out), options) == (50, 0)
  assert lost.read_bytes() == text
  del before[lost]
  assert before == {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in before}
  assert bulk.run(pattern, str(out), options) == (0, 0)
  with pytest.raises(UserError, match="out: is of a job with other options"):
    bulk.run(pattern, str(out), Options("model", shard_texts=51))


def _in_folders(tmp_path: pathlib.Path, **texts: str) -> None:
  """Files of one name, in folders of others."""
  for folder, text in texts.items():
    path = tmp_path / "in" / folder / "a.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"text": text}))


def _of_names(out: pathlib.Path) -> dict[str, str]:
  """The text of each shard."""
  shards = sorted(out.glob("a.jsonl-*"))
  return {p.name: json.loads(p.read_bytes())["text"] for p in shards}


def test_a_new_file_gets_a_name_of_its_own(
  tmp_path: pathlib.Path,
  capitals: tiny_system.Capitals,
  monkeypatch: pytest.MonkeyPatch,
):
  del capitals
  out, options = tmp_path / "out", Options("model")
  pattern = f"{tmp_path}/in/*/a.jsonl"
  _in_folders(tmp_path, c="c", d="d")
  assert bulk.run(pattern, str(out), options) == (2, 0)
  # Those that are there keep theirs, whatever comes before them and goes.
  _in_folders(tmp_path, a="a", b="b")
  assert bulk.run(pattern, str(out), options) == (2, 0)
  (tmp_path / "in/c/a.jsonl").unlink()
  _in_folders(tmp_path, e="e")
  monkeypatch.chdir(tmp_path)
  assert bulk.run("in/*/a.jsonl", str(out), options) == (1, 0)
  assert bulk.run(pattern, str(out), options) == (0, 0)
  assert _of_names(out) == {
    "a.jsonl-00000.jsonl": "c",
    _SECOND: "d",
    "a.jsonl-3-00000.jsonl": "a",
    "a.jsonl-4-00000.jsonl": "b",
    "a.jsonl-5-00000.jsonl": "e",
  }


_SECOND = "a.jsonl-2-00000.jsonl"


@pytest.mark.parametrize("text", ["other", "longer than before"])
def test_a_file_that_has_changed(
  text: str, tmp_path: pathlib.Path, capitals: tiny_system.Capitals
):
  del capitals
  out, options = tmp_path / "out", Options("model")
  pattern = f"{tmp_path}/in/*/a.jsonl"
  _in_folders(tmp_path, b="first", c="b")
  assert bulk.run(pattern, str(out), options) == (2, 0)
  path = tmp_path / "in/b/a.jsonl"
  before = path.stat().st_mtime_ns
  _in_folders(tmp_path, b=text, a="new")
  # On no disk in the same moment.
  os.utime(path, ns=(before, before + 1_000_000_000))
  with pytest.raises(UserError) as caught:
    bulk.run(pattern, str(out), options)
  assert str(caught.value) == (
    f"{path}: has changed since {out} has shards of it (another size or "
    "time); delete them, a.jsonl-NUMBER, there and in failed, or give another "
    "folder"
  )
  assert _of_names(out) == {"a.jsonl-00000.jsonl": "first", _SECOND: "b"}
  # As it says. What is of another file does not matter.
  (out / "failed").mkdir()
  left = out / "failed" / "a.jsonl-00003.jsonl"
  left.write_text("")
  (out / "a.jsonl-00000.jsonl").unlink()
  with pytest.raises(UserError, match="has changed since"):
    bulk.run(pattern, str(out), options)
  left.unlink()
  assert bulk.run(pattern, str(out), options) == (2, 0)
  third = "a.jsonl-3-00000.jsonl"
  wanted = {"a.jsonl-00000.jsonl": text, _SECOND: "b", third: "new"}
  assert _of_names(out) == wanted
  assert bulk.run(pattern, str(out), options) == (0, 0)
  (out / "bulk-inputs-00002.json").write_text("{")
  with pytest.raises(UserError, match=r"00002.json: cannot be read \(Expect"):
    bulk.run(pattern, str(out), options)


def test_a_folder_of_before_files_were_written_down(
  tmp_path: pathlib.Path, capitals: tiny_system.Capitals
):
  del capitals
  out, options = tmp_path / "out", Options("model")
  pattern = f"{tmp_path}/in/*/a.jsonl"
  _in_folders(tmp_path, a="a", b="b")
  assert bulk.run(pattern, str(out), options) == (2, 0)
  inputs = out / "bulk-inputs-00001.json"
  text = inputs.read_text()
  inputs.unlink()
  assert bulk.run(pattern, str(out), options) == (0, 0)
  assert inputs.read_text() == text


def test_broken_records_are_set_aside(
  tmp_path: pathlib.Path, capitals: tiny_system.Capitals
):
  del capitals
  lines = [
    b'{"text": "Bo"}', b"{", b"", b'{"text": 3}', b'{"tokens": ["ROME"]}',
    b"\xff", b'{"text": "x", "more": [1]}',
  ]  # fmt: skip
  path = tmp_path / "a.jsonl"
  path.write_bytes(b"\n".join(lines))
  out = tmp_path / "out"
  options = Options("model", shard_texts=4)
  assert bulk.run(str(path), str(out), options) == (3, 3)
  assert [
    (r.get("text") or r["tokens"], len(r["entities"]), r.get("more"))
    for r in _read(out, "a.jsonl")
  ] == [("Bo", 1, None), (["ROME"], 1, None), ("x", 0, [1])]
  failed = _read(out / "failed", "a.jsonl")
  assert [(f["file"], f["line"]) for f in failed] == [
    (str(path), n) for n in (2, 4, 6)
  ]
  for failure, said in zip(
    failed,
    ("cannot be read (", "'text' is no string", "not UTF-8"),
    strict=True,
  ):
    assert failure["reason"].startswith(f"{path}:{failure['line']}: ")
    assert said in failure["reason"]
  assert failed[1]["record"] == '{"text": 3}\n'


def test_parquet_in_and_out(
  tmp_path: pathlib.Path, capitals: tiny_system.Capitals
):
  del capitals
  import pyarrow
  import pyarrow.parquet

  rows = [{"text": t, "id": i} for i, t in enumerate(_texts(90))]
  rows[41]["text"] = None
  table = pyarrow.Table.from_pylist(rows)
  path = tmp_path / "a.parquet"
  pyarrow.parquet.write_table(table, path, row_group_size=40)
  out = tmp_path / "out"
  options = Options("model", format="parquet", labels=("WORLD",))
  assert bulk.run(str(path), str(out), options) == (89, 1)
  names = [f"a.parquet-0000{i}.parquet" for i in range(3)]
  found = [
    row
    for name in names
    for row in pyarrow.parquet.read_table(out / name).to_pylist()
  ]
  assert [json.loads(r["record"])["id"] for r in found] == [
    i for i in range(90) if i != 41
  ]
  assert found[3]["entities"] == [
    {"start": 2, "end": 6, "label": "WORLD", "score": 0.5, "text": "ROME"}
  ]
  labels = {e["label"] for record in found for e in record["entities"]}
  assert labels == {"WORLD"}
  [failure] = _read(out / "failed", "a.parquet")
  assert failure["line"] == 42
  assert failure["record"] == {"id": 41}


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_fields_of_parquet_that_are_odd(
  kind: str, tmp_path: pathlib.Path, capitals: tiny_system.Capitals
):
  """One is called like a column of ours; JSON does not have all numbers."""
  del capitals
  import pyarrow
  import pyarrow.parquet

  odd = {"prices": [1.5, float("nan")], "more": {"least": float("-inf")}}
  given = [
    {"text": "ROME", "record": "id 17", "price": float("nan")} | odd,
    {"text": None, "record": "id 18", "price": float("inf")} | odd,
  ]
  path = tmp_path / "a.parquet"
  pyarrow.parquet.write_table(pyarrow.Table.from_pylist(given), path)
  out = tmp_path / "out"
  options = Options("model", format=kind)
  assert bulk.run(str(path), str(out), options) == (1, 1)
  shard = out / f"a.parquet-00000.{kind}"
  if kind == "parquet":
    [row] = pyarrow.parquet.read_table(shard).to_pylist()
    found = json_text.parse(row["record"])
  else:
    found = json_text.parse(shard.read_bytes())
    del found["text"], found["entities"]
  mended = {"price": None, "prices": [1.5, None], "more": {"least": None}}
  assert found == {"record": "id 17"} | mended
  [line] = (out / "failed/a.parquet-00000.jsonl").read_bytes().splitlines()
  assert json_text.parse(line)["record"] == {"record": "id 18"} | mended


def test_one_model_and_full_batches(
  tmp_path: pathlib.Path, capitals: tiny_system.Capitals
):
  """The texts of a shard are run together, some thousand words at a time."""
  _write(tmp_path / "in", 8000)
  options = Options("model", shard_texts=8000)
  bulk.run(f"{tmp_path}/in/a*", str(tmp_path / "out"), options)
  assert len(capitals.words) < 8
  assert max(capitals.words) > 5000


@pytest.mark.parametrize("pattern", ["*.txt", "[b].txt", "../i?/*.txt"])
def test_a_pattern_that_begins_with_a_wildcard(
  pattern: str,
  tmp_path: pathlib.Path,
  capitals: tiny_system.Capitals,
  monkeypatch: pytest.MonkeyPatch,
):
  _write(tmp_path / "in", 4)
  monkeypatch.chdir(tmp_path / "in")
  counts = bulk.run(pattern, str(tmp_path / "out"), Options("model"))
  assert counts == (4, 0)


def test_names_that_are_not_utf_8(
  tmp_path: pathlib.Path, capitals: tiny_system.Capitals
):
  _write(tmp_path / "in", 4)
  (tmp_path / "in" / "a.jsonl").rename(tmp_path / "in" / "\udcff.jsonl")
  options = Options("model")
  with pytest.raises(UserError, match=r"in/.+: its name is not UTF-8; rename"):
    bulk.run(f"{tmp_path}/in/*", str(tmp_path / "out"), options)
  assert not (tmp_path / "out").exists()
  with pytest.raises(UserError, match=r"/o.+: its name is not UTF-8"):
    bulk.run(f"{tmp_path}/in/b*", str(tmp_path / "o\udcff"), options)


def test_nothing_matches(tmp_path: pathlib.Path):
  with pytest.raises(UserError, match="--input: nothing matches"):
    bulk.run(f"{tmp_path}/*.no", str(tmp_path / "out"), Options("model"))
  assert not (tmp_path / "out").exists()


def test_mistakes_leave_no_folder(
  tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]
):
  """They are told before Beam is asked, which would have tracebacks."""
  (tmp_path / "a.txt").write_text("ada likes oslo\n")
  model = str(tiny_system.save(tmp_path))
  no_model = f"{tmp_path}/modle"
  pos = tiny_system.make(tmp_path / "pos", features="pos", sentences=_TAGGED)
  model_folder.save(tmp_path / "reads pos", pos)
  for options, said in (
    (Options(no_model), f"'{no_model}' is no folder, and no model of the"),
    (Options(model, labels=("persn",)), "labels: 'persn' is none of the"),
    (Options(model, batch_size=0), "batch_size: 0 is below the least, 1"),
    (Options(f"{tmp_path}/reads pos"), "the model reads parts of speech"),
  ):
    with pytest.raises(UserError, match=re.escape(said)):
      bulk.run(f"{tmp_path}/a.txt", f"{tmp_path}/out", options)
    assert not (tmp_path / "out").exists()
  assert capfd.readouterr().err == ""


def _start(folder: pathlib.Path, command: str) -> subprocess.Popen[str]:
  path = (
    f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
  )
  return subprocess.Popen(
    ["bash", "-ec", f"exec {command}"],
    cwd=folder,
    env={**os.environ, "PATH": path, "JAX_NUM_CPU_DEVICES": "1"},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def test_the_example_of_the_readme_killed_and_run_again(tmp_path: pathlib.Path):
  text = (runs.ROOT / "README.md").read_text()
  [command] = re.findall(r"```sh\n(splitner bulk .*?)\n```", text, re.S)
  model = tmp_path / "runs/files/model"
  model_folder.save(model, tiny_system.make(tmp_path / "backbones"))
  (tmp_path / "texts").mkdir()
  texts = [f"ada likes so so oslo bay {i} ." for i in range(30)]
  lines = [json.dumps({"text": t}) for t in texts]
  (tmp_path / "texts/a.jsonl").write_text("\n".join(lines))
  command += " --shard_texts=1 --threshold=0"
  out = tmp_path / "tagged"
  process = _start(tmp_path, command)
  end = time.monotonic() + 200
  while len(list(out.glob("a.jsonl-*.jsonl"))) < 3:
    assert process.poll() is None, process.communicate()[1]
    assert time.monotonic() < end
    time.sleep(0.01)
  process.send_signal(signal.SIGKILL)
  process.communicate()
  there = len(_read(out, "a.jsonl"))
  process = _start(tmp_path, command)
  shown, said = process.communicate(timeout=300)
  assert process.returncode == 0, said
  assert shown.strip() == f"{30 - there} texts tagged"
  found = _read(out, "a.jsonl")
  assert [record["text"] for record in found] == texts
  ner = SplitNER.from_pretrained(str(model))
  wanted = ner.predict(texts, threshold=0)
  assert [[e["text"] for e in r["entities"]] for r in found] == [
    [e.text for e in entities] for entities in wanted
  ]
