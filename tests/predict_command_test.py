"""The command line of prediction."""

import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from splitner_jax import SplitNER
from splitner_jax.commands import predict
from splitner_jax.inference import model_folder, pipeline
from splitner_jax.runtime.errors import UserError
from tests import tiny_system
from tests.tiny_system import Capitals

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  folder = tmp_path_factory.mktemp("model")
  model_folder.save(folder / "model", tiny_system.make(folder / "backbones"))
  return folder / "model"


@pytest.fixture
def capitals(monkeypatch: pytest.MonkeyPatch) -> Capitals:
  found = Capitals()
  monkeypatch.setattr(
    pipeline.SplitNER,
    "from_pretrained",
    lambda _, **options: SplitNER(found, **options),  # type: ignore[arg-type]
  )
  return found


def start(*arguments: str) -> subprocess.Popen:
  return subprocess.Popen(
    [sys.executable, "-m", "splitner_jax.predict", *arguments],
    cwd=ROOT,
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    encoding="utf-8",
    env={**os.environ, "JAX_NUM_CPU_DEVICES": "1"},
  )


def test_tag(capitals: Capitals):
  source = io.BytesIO("so Ana\n\n\u00c9va".encode())
  rows = [json.loads(x) for x in predict.tag("m", source, "x")]
  assert [[e["text"] for e in r["entities"]] for r in rows] == [
    ["Ana"],
    [],
    ["\u00c9va"],
  ]
  source.seek(0)
  parts = predict.tag("m", source, "x", output_format="text", threshold=0.9)
  assert "".join(parts) == "so Ana\n\n\u00c9va\n"
  source.seek(0)
  parts = predict.tag("m", source, "x", output_format="text", labels=["WORLD"])
  assert "".join(parts) == "so Ana\n\n\u00c9va\n"


BROKEN = b'{"text": "Ana"}\n{"text": \n{"text": "Bo", "id": 7}\n'


def test_broken_line_fails(capitals: Capitals):
  with pytest.raises(UserError, match=r"^x.jsonl:2: cannot be read"):
    list(predict.tag("m", io.BytesIO(BROKEN), "x.jsonl"))


def test_broken_line_is_skipped(capitals: Capitals, capfd):
  rows = list(predict.tag("m", io.BytesIO(BROKEN), "x.jsonl", skip_errors=True))
  assert [json.loads(r)["text"] for r in rows] == ["Ana", "Bo"]
  assert json.loads(rows[1])["id"] == 7
  shown = capfd.readouterr().err
  assert "skipped: x.jsonl:2: cannot be read" in shown
  assert "skipped 1 lines of x.jsonl" in shown


def test_memory_does_not_grow_with_the_file(capitals: Capitals):
  read = 0

  class File(io.BytesIO):
    def __iter__(self):
      nonlocal read
      for _ in range(20_000):
        read += 1
        yield b"so Ana went to Oslo bay\n"

  most = 0
  parts = predict.tag("m", File(), "x")
  for i, _ in enumerate(parts):
    most = max(most, read - i)
  assert i == 19_999
  assert most < 8_000


def test_from_file_to_file(model: pathlib.Path, tmp_path: pathlib.Path):
  source, target = tmp_path / "in.txt", tmp_path / "out.jsonl"
  source.write_text("ada likes oslo .\n\nbo\n")
  process = start(f"--model={model}", f"--input={source}", f"--output={target}")
  out, err = process.communicate()
  assert (process.returncode, out, err) == (0, "", "")
  rows = [json.loads(line) for line in target.read_text().splitlines()]
  ner = SplitNER.from_pretrained(str(model))
  texts = ["ada likes oslo .", "", "bo"]
  assert [row["text"] for row in rows] == texts
  assert [
    [(e["start"], e["end"], e["label"]) for e in row["entities"]]
    for row in rows
  ] == [[(e.start, e.end, e.label) for e in x] for x in ner.predict(texts)]


def test_mistakes_are_one_line(model: pathlib.Path, tmp_path: pathlib.Path):
  text = tmp_path / "in.txt"
  text.write_text("a\n")
  cases = {
    "--model is missing": [],
    f"{tmp_path}: no model of splitner_jax": [f"--model={tmp_path}"],
    "flag --format=pdf": [f"--model={model}", "--format=pdf"],
    "brat needs every line": [
      f"--model={model}",
      "--format=brat",
      "--on-error=skip",
    ],
    "threshold: 95.0 is no score": [f"--model={model}", "--threshold=95"],
    "labels: is empty": [f"--model={model}", "--labels="],
    "unexpected argument 'x'": [f"--model={model}", "x"],
    f"--output: {tmp_path} is a folder": [
      f"--model={model}",
      f"--output={tmp_path}",
    ],
    "No such file": [f"--model={model}", f"--input={tmp_path}/no"],
    f"{text}/x: cannot be written": [
      f"--model={model}",
      f"--input={text}",
      f"--output={text}/x",
    ],
  }
  processes = {part: start(*args) for part, args in cases.items()}
  for part, process in processes.items():
    out, err = process.communicate("")
    assert process.returncode == 1, part
    assert out == ""
    assert err.startswith("error: "), err
    assert err.count("\n") == 1, err
    assert part in err


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_an_end_in_the_middle_leaves_no_file(
  model: pathlib.Path, tmp_path: pathlib.Path, kind: int
):
  # A job in the background, as this test may be, inherits deafness to SIGINT.
  code = (
    "import runpy, signal;"
    "signal.signal(signal.SIGINT, signal.default_int_handler);"
    "runpy.run_module('splitner_jax.predict', run_name='__main__')"
  )
  process = subprocess.Popen(
    [
      sys.executable,
      "-c",
      code,
      f"--model={model}",
      f"--output={tmp_path / 'out'}",
    ],
    cwd=ROOT,
    stdin=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  # Its hidden file shows that it has begun; the input never ends.
  deadline = time.monotonic() + 60
  while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
    time.sleep(0.05)
  assert list(tmp_path.iterdir())
  process.send_signal(kind)
  _, err = process.communicate()
  assert process.returncode == 128 + kind
  assert "Traceback" not in err
  assert list(tmp_path.iterdir()) == []


def test_help_has_the_options():
  process = subprocess.run(
    [sys.executable, "-m", "splitner_jax.predict", "--help"],
    cwd=pathlib.Path(__file__).parents[1],
    capture_output=True,
    text=True,
    check=False,
  )
  assert process.returncode == 0
  for option in ("--model: ", "--input: ", "--format: ", "--threshold: "):
    assert option in process.stdout
