"""The command that serves, in a process of its own."""

import contextlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from splitner_jax import SplitNER
from tests import runs, serving, tiny_system
from tests.serving import call

TEXTS = ["ada likes so so oslo bay .", "bo is in rome", "eve", "#x 12 @y"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  return tiny_system.save(tmp_path_factory.mktemp("model"))


def start(*arguments: object, code: str = "") -> subprocess.Popen[str]:
  command = [sys.executable, "-m", "splitner_jax.serve"]
  if code:
    run = "runpy.run_module('splitner_jax.serve', None, '__main__')"
    command = [sys.executable, "-c", f"import runpy; {code}; {run}"]
  return subprocess.Popen(
    [*command, *map(str, arguments)],
    cwd=runs.ROOT,
    stderr=subprocess.PIPE,
    text=True,
    env=os.environ | {"JAX_NUM_CPU_DEVICES": "1"},
  )


@contextlib.contextmanager
def serve(
  model: pathlib.Path, *arguments: object
) -> Iterator[tuple[subprocess.Popen[str], int]]:
  """A process that is ready, and its port."""
  process = start(f"--model={model}", "--port=0", *arguments)
  assert process.stderr is not None
  with process:
    try:
      line = process.stderr.readline()
      match = re.fullmatch(r"serving .* at http://127\.0\.0\.1:(\d+)\n", line)
      assert match, line + process.stderr.read()
      yield process, int(match[1])
    finally:
      process.kill()


def test_the_example_of_the_readme(model: pathlib.Path):
  if not shutil.which("curl"):
    pytest.skip("there is no curl")
  text = (runs.ROOT / "README.md").read_text()
  [command] = re.findall(
    r"(?ms)^curl localhost:8000/predict .*?\n(?=```)", text
  )
  [shown] = re.findall(r'^\{"entities":.*\n', text, re.M)
  with serve(model) as (_, port):
    command = command.replace("localhost:8000", f"127.0.0.1:{port}")
    done = subprocess.run(
      ["bash", "-c", command], capture_output=True, text=True, check=True
    )
  assert done.stdout.startswith('{"entities":[')
  assert shown.startswith('{"entities":[{"text":"Ada Lovelace",')
  ner = SplitNER.from_pretrained(str(model))
  serving.assert_same(
    [json.loads(done.stdout)["entities"]],
    ner.predict("Ada Lovelace moved to Turin.", threshold=0.2),
  )


@pytest.mark.parametrize(
  "number",
  [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)],
)
def test_a_signal_loses_nothing(model: pathlib.Path, number: int):
  ner = SplitNER.from_pretrained(str(model))
  texts = [f"{TEXTS[i % 4]} {i}. Bo likes rome. " * 30 for i in range(20)]
  with serve(model, "--batch_words=50") as (process, port):
    asked = [serving.begin(port, {"text": text}) for text in texts]
    # The last of them is read.
    pattern = re.compile(r"splitner_queue_length (\d+)")
    serving.wait_for(
      lambda: int(pattern.findall(call(port, "/metrics")[1])[0]) > 12
    )
    process.send_signal(number)
    serving.wait_for(lambda: call(port, "/ready")[0] == 503)
    answers = [serving.read(one) for one in asked]
    assert process.wait(20) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""
  assert [status for status, _ in answers] == [200] * 20
  serving.assert_same([b["entities"] for _, b in answers], ner.predict(texts))


def test_a_second_signal_ends_at_once(model: pathlib.Path):
  with (
    serve(model, "--batch_words=50", "--timeout=600") as (process, port),
    serving.begin(port, {"text": f"{TEXTS[0]} " * 20_000}),
  ):
    serving.wait_for(lambda: "_length 1.0" in call(port, "/metrics")[1])
    process.send_signal(signal.SIGTERM)
    serving.wait_for(lambda: call(port, "/ready")[0] == 503)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 128 + signal.SIGTERM


def test_mistakes_are_one_line(model: pathlib.Path, tmp_path: pathlib.Path):
  (tmp_path / "empty").write_text("\n")
  folder = f"--model={model}"
  missing = "import sys; sys.modules['uvicorn'] = None"
  with socket.create_server(("127.0.0.1", 0)) as taken:
    port = taken.getsockname()[1]
    cases = {
      "--model is missing": start(),
      f"{tmp_path}: no model of": start(f"--model={tmp_path}", "--port=0"),
      f"--port={port}: Address already in use": start(folder, f"--port={port}"),
      "--host=no.such.invalid": start(folder, "--host=no.such.invalid"),
      f"{tmp_path}/no: no such file": start(
        folder, f"--token_file={tmp_path}/no"
      ),
      "is not one line with a token": start(
        folder, f"--token_file={tmp_path}/empty"
      ),
      'needs pip install "splitner_jax[serve]"': start(folder, code=missing),
      "--port=70000": start(folder, "--port=70000"),
    }
    for part, process in cases.items():
      with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(60)
      process.kill()
      _, said = process.communicate()
      assert process.returncode == 1, part
      assert said.startswith("error: "), said
      assert said.count("\n") == 1, said
      assert part in said


def test_the_token_of_a_file_and_of_the_environment(
  model: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
):
  monkeypatch.setenv("SPLITNER_TOKEN", "other")
  (tmp_path / "token").write_text("secret\n")
  with (
    serve(model, f"--token_file={tmp_path}/token") as (_, one),
    serve(model) as (_, other),
  ):
    for port, token in ((one, "secret"), (other, "other")):
      headers = {"Authorization": f"Bearer {token}"}
      assert call(port, "/model")[0] == 401
      assert call(port, "/model", headers=headers)[0] == 200


class _Callers:
  """Callers of all kinds, at once, until a time."""

  def __init__(self, port: int, ner: SplitNER):
    self.port, self.ner = port, ner
    self.statuses: Counter[int] = Counter()
    self._lock = threading.Lock()
    rng = random.Random(5)
    words = ["ada", "bo", "oslo", "rome", "likes", "so", "12", "@y", "."]
    short = [" ".join(rng.choices(words, k=9)) for _ in range(50)]
    long = [" ".join(rng.choices(words, k=400)) for _ in range(8)]
    huge = [" ".join(rng.choices(words, k=6000)) for _ in range(2)]
    self.texts = [*short, *long, *huge, ""]
    self.expected = dict(zip(self.texts, ner.predict(self.texts), strict=True))
    self._weights = [10] * 50 + [5] * 8 + [1] * 2 + [50]

  def until(self, end: float) -> None:
    with ThreadPoolExecutor(64) as threads:
      for done in [threads.submit(self._call, i, end) for i in range(64)]:
        done.result()

  def _call(self, seed: int, end: float) -> None:
    rng = random.Random(seed + end)
    while time.monotonic() < end:
      texts = rng.choices(self.texts, self._weights, k=rng.choice([1, 1, 1, 5]))
      kind = rng.random()
      if kind < 0.1:
        with serving.begin(self.port, {"texts": texts}):
          time.sleep(rng.random() / 10)
        continue
      body = b'{"texts": [' if kind < 0.2 else {"texts": texts}
      if kind > 0.98:
        body = b" " * 1_500_000
      status, answer, _ = call(self.port, body=body)
      with self._lock:
        self.statuses[status] += 1
      if status == 200:
        expected = [self.expected[text] for text in texts]
        serving.assert_same(answer["entities"], expected)


def _resident(process: subprocess.Popen[str]) -> int:
  """Bytes of a process."""
  status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
  return 1024 * int(re.findall(r"VmRSS:\s+(\d+)", status)[0])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no /proc")
@pytest.mark.parametrize(
  "seconds",
  [
    pytest.param(60, marks=pytest.mark.slow),
    pytest.param(600, marks=pytest.mark.long),
  ],
)
def test_load(model: pathlib.Path, seconds: int):
  ner = SplitNER.from_pretrained(str(model))
  with serve(model, "--queue=48") as (process, port):
    callers = _Callers(port, ner)
    callers.until(time.monotonic() + seconds / 3)
    before = _resident(process)
    callers.until(time.monotonic() + seconds * 2 / 3)
    growth = _resident(process) - before
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""
  assert callers.statuses.keys() <= {200, 413, 422, 429, 504}
  assert callers.statuses[200] > seconds
  assert growth < 50 * 2**20
