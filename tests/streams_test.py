"""Streams that are full, closed, or have other letters; ctrl-C."""

import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

import pytest

from splitner_jax.inference import model_folder
from splitner_jax.runtime.errors import UserError
from tests import runs, tiny_system


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
  """A command line that says what is in two files with letters of all kinds."""
  folder = tmp_path_factory.mktemp("data")
  for name, word in (("train", "Éva"), ("dev", "東京")):
    path = folder / f"{name}.tsv"
    path.write_text(f"{word}\tB-ПЕР\nb\tO\n", encoding="utf-8")
  return ["check", f"--train={folder}/train.tsv", f"--dev={folder}/dev.tsv"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  folder = tmp_path_factory.mktemp("model")
  model_folder.save(folder / "model", tiny_system.make(folder / "backbones"))
  return folder / "model"


_CAPITALS = (
  "from splitner_jax.inference import pipeline as p; from tests import "
  "tiny_system as t; p.SplitNER.from_pretrained = lambda _, **options: "
  "p.SplitNER(t.Capitals(), **options)"
)


def _start(
  arguments: Sequence[str], redirected: str = "", **variables: str
) -> subprocess.Popen[bytes]:
  """The program in a shell that redirects its streams."""
  code = "from splitner_jax.commands import console; console.main()"
  if "--model=none" in arguments:  # Else most of the time is its compilation.
    code = f"{_CAPITALS}; {code}"
  return subprocess.Popen(
    [
      *("bash", "-c", f'exec "$@" {redirected}', ""),
      *(sys.executable, "-c", code, *arguments),
    ],
    cwd=runs.ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    env={**os.environ, "JAX_NUM_CPU_DEVICES": "1", **variables},
  )


def _run(
  arguments: Sequence[str], redirected: str = "", **variables: str
) -> tuple[int, bytes, list[str]]:
  """Exit status, output, and lines of standard error."""
  process = _start(arguments, redirected, **variables)
  out, err = process.communicate(timeout=120)
  return process.returncode, out, err.decode().splitlines()


_FULL = (
  "error: standard output: cannot be written (No space left on device); send "
  "it to a file with room"
)
_CLOSED = _FULL.replace("No space left on device", "it is closed")


def test_output_that_takes_nothing(files: list[str]) -> None:
  for arguments in (files, ["--help"], ["--version"], ["score", "--help"]):
    assert _run(arguments, ">/dev/full") == (1, b"", [_FULL]), arguments
  assert _run(files, ">&-") == (1, b"", [_CLOSED])
  # An error is no reason for another one.
  for redirected in ("2>/dev/full", "2>&-"):
    assert _run(["check", "--train=no"], redirected)[::2] == (1, [])


def test_tagging_to_an_output_that_takes_nothing(
  tmp_path: pathlib.Path,
) -> None:
  text = tmp_path / "text"
  text.write_text("ada likes oslo .\n" * 9)
  arguments = ["predict", "--model=none", f"--input={text}"]
  processes = {
    redirected: _start(arguments, redirected)
    for redirected in (">/dev/full", ">&-", "| head -1", "2>/dev/full")
  }
  found = {
    name: (*process.communicate(timeout=120), process.returncode)
    for name, process in processes.items()
  }
  assert found[">/dev/full"] == (b"", f"{_FULL}\n".encode(), 1)
  assert found[">&-"] == (b"", f"{_CLOSED}\n".encode(), 1)
  assert found["| head -1"][0].count(b"\n") == 1
  assert found["| head -1"][1:] == (b"", 0)
  assert found["2>/dev/full"][0].count(b"\n") == 9
  assert found["2>/dev/full"][2] == 0


def test_input_that_is_closed() -> None:
  status, out, err = _run(["predict", "--model=none"], "<&-")
  assert (status, out) == (1, b"")
  assert err == [
    "error: standard input: cannot be read (Bad file descriptor); give another "
    "--input"
  ]


def test_a_reader_that_has_gone(files: list[str]) -> None:
  status, _, err = _run(files, "> >(exec true); sleep 0.5")
  assert (status, err) == (0, [])


def test_a_terminal_of_other_letters(files: list[str]) -> None:
  status, out, err = _run(files, PYTHONIOENCODING="ascii")
  assert (status, err) == (0, [])
  assert b"\\u041f" in out


def test_a_descriptor_that_is_closed_is_taken(tmp_path: pathlib.Path) -> None:
  """Else the next file that is opened would get what is printed."""
  code = (
    "import os; from splitner_jax.runtime import streams; streams.prepare();"
    f"file = open({str(tmp_path / 'file')!r}, 'w'); assert file.fileno() > 2;"
    "os.write(3, b'x'); assert os.read(0, 1) == b''"
  )
  command = ["bash", "-c", 'exec "$@" >&- 2>&-', "", sys.executable, "-c", code]
  subprocess.run(command, stdin=subprocess.DEVNULL, cwd=runs.ROOT, check=True)
  assert (tmp_path / "file").read_text() == "x"


def _interrupted(arguments: Sequence[str], seconds: float) -> tuple[int, str]:
  # A job in the background, as this test may be, inherits deafness to SIGINT.
  code = (
    "import signal;"
    "signal.signal(signal.SIGINT, signal.default_int_handler);"
    "from splitner_jax.commands import console;"
    "from splitner_jax.runtime import signals;"
    "whole = signals.exit_at_once;"
    # From here on: before, Python itself is starting, however long it takes.
    "signals.exit_at_once = lambda: (whole(), print(flush=True));"
    "console.main();"
  )
  process = subprocess.Popen(
    [sys.executable, "-c", code, *arguments],
    cwd=runs.ROOT,
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    env={**os.environ, "JAX_NUM_CPU_DEVICES": "1"},
  )
  assert process.stdout
  process.stdout.readline()
  time.sleep(seconds)
  process.send_signal(signal.SIGINT)
  _, err = process.communicate(timeout=60)
  return process.returncode, err


# The whole of the imports takes about three seconds.
_MOMENTS = [0.1, 0.7, 1.5]


@pytest.mark.parametrize(
  "seconds",
  [
    *_MOMENTS,
    *(pytest.param(0.1 * i, marks=pytest.mark.slow) for i in range(2, 50)),
  ],
)
def test_ctrl_c_at_any_moment(model: pathlib.Path, seconds: float) -> None:
  """It waits for its input, so that it would go on for ever."""
  arguments = ["predict", f"--model={model}"]
  assert _interrupted(arguments, seconds) == (130, "")


def test_ctrl_c_while_printing(files: list[str]) -> None:
  code = (
    "import signal;"
    "signal.signal(signal.SIGINT, signal.default_int_handler);"
    "from splitner_jax.commands import cli, console;"
    "from splitner_jax.runtime import signals;"
    "cli.run = lambda _: [print('x' * 99) for _ in iter(int, 1)];"
    "console.run('check')"
  )
  for _ in range(3):
    with subprocess.Popen(
      [sys.executable, "-c", code],
      cwd=runs.ROOT,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
    ) as process:
      assert process.stdout
      assert process.stderr
      process.stdout.read(5000)
      process.send_signal(signal.SIGINT)
      process.stdout.read()
      assert process.stderr.read() == b""
    assert process.returncode == 130


def test_a_second_signal_does_not_wait() -> None:
  code = (
    "import os, signal, time;"
    "from splitner_jax.runtime import signals;"
    "signal.signal(signal.SIGINT, signal.default_int_handler);"
    "signals.exit_at_once(resumable=True);"
    "context = signals.deferred();"
    "asked = context.__enter__();"
    "os.kill(os.getpid(), signal.SIGINT);"
    "assert asked.is_set();"
    "os.kill(os.getpid(), signal.SIGINT);"
    "time.sleep(60)"
  )
  done = subprocess.run(
    [sys.executable, "-c", code], cwd=runs.ROOT, capture_output=True, timeout=30
  )
  assert done.returncode == 130
  assert done.stderr == b"\nstopped; the same command goes on from here\n"


@pytest.fixture
def odd(files: list[str], tmp_path: pathlib.Path) -> tuple[str, list[str]]:
  """A folder whose name is not UTF-8, and options with the files in it."""
  folder = os.fsdecode(bytes(tmp_path) + b"/\xff\xfe")
  os.mkdir(folder)
  options = []
  for option in files[1:]:
    name, _, path = option.partition("=")
    target = pathlib.Path(folder, pathlib.Path(path).name)
    target.write_bytes(pathlib.Path(path).read_bytes())
    options.append(f"{name}={target}")
  return folder, options


def test_names_that_are_not_utf_8(
  odd: tuple[str, list[str]], tmp_path: pathlib.Path
) -> None:
  folder, names = odd
  status, out, err = _run(["check", *names])
  assert (status, err) == (0, [])
  assert b"\\udcff\\udcfe/train.tsv" in out
  # What libraries cannot write to is told before the training.
  backbone = runs.tiny.make_backbone(tmp_path / "backbone")
  given = [f"--config.backbone={backbone}", f"--workdir={folder}/run"]
  status, out, err = _run(["train", *names, *given])
  assert (status, out) == (1, b"")
  assert err[-1].endswith("/run: its name is not UTF-8; choose another")
  with pytest.raises(UserError, match=r"its name is not UTF-8; rename"):
    model_folder.load(folder)


@pytest.mark.slow
def test_training_on_files_with_such_names(
  odd: tuple[str, list[str]], tmp_path: pathlib.Path
) -> None:
  """The model's card has the command in it, which has the names."""
  backbone = runs.tiny.make_backbone(tmp_path / "backbone")
  fields = [f"backbone={backbone}", "epochs=1", "detector.features=none"]
  given = [f"--config.{field}" for field in fields]
  status, _, err = _run(
    ["train", *odd[1], *given, f"--workdir={tmp_path}/run"],
    JAX_DISABLE_MOST_OPTIMIZATIONS="1",
  )
  assert status == 0, err[-3:]
  card = (tmp_path / "run/model/README.md").read_text("utf-8")
  assert "\\udcff\\udcfe/train.tsv" in card
  assert (tmp_path / "run/report.md").exists()
