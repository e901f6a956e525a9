"""Command lines made up: they are taken, or refused in one line."""

import json
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import strategies as st

from splitner_jax.commands import console
from tests import runs
from tests.fuzzing import Amount, amounts

# Reads command lines; of each, a child looks at the flags and runs nothing.
_READER = """
import importlib, json, os, sys

from splitner_jax.commands import cli

command = importlib.import_module(f"splitner_jax.commands.{sys.argv[1]}")
command.main = lambda argv: None
for line in sys.stdin:
  given = json.loads(line)
  read, write = os.pipe()
  child = os.fork()
  if not child:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(write, 1)
    os.dup2(write, 2)
    sys.argv = [f"splitner {sys.argv[1]}", *given]
    cli.run(sys.argv[0].split()[1])
  os.close(write)
  with open(read, encoding="utf-8", errors="surrogateescape") as pipe:
    said = pipe.read()
  status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
  print(json.dumps([status, said]), flush=True)
"""

_FIELDS = (
  *("learning_rate", "seeds", "seed", "data.train", "data.name", "detector"),
  *("classifier.epochs", "classifier.context", "data.limit", "no.such", ""),
)


def _names() -> list[str]:
  """Of all flags of all commands, some fields, and some that are none."""
  folder = pathlib.Path(console.__file__).parent
  text = "".join(path.read_text() for path in sorted(folder.glob("*.py")))
  found = set(re.findall(r'DEFINE_\w+\(\s*"([\w-]+)"', text))
  assert {"batch_size", "on-error", "topology"} <= found
  fields = {f"config.{name}" for name in _FIELDS}
  more = {"help", "helpshort", "config", "train", "dev", "test", "target"}
  return sorted(found | fields | more | {"nosuch", "", "no", "-", "=", "v"})


_VALUES = st.one_of(
  st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    max_size=8,
  ),
  st.integers().map(str),
  st.floats().map(str),
  st.sampled_from(
    [
      *("configs/demo.py", "configs/wnut17.py:minilm", "configs/demo.py:no"),
      *("configs", "README.md", "/", "", "a,b", "1,2", "none", "True", "f1"),
      *("precision:0.9", "v5e:2x4", "-1", "1e999", "(1, 2)", "{}", "\n"),
    ]
  ),
)
_FLAG = st.tuples(
  st.sampled_from(["--", "-", "", "--no"]), st.sampled_from(_names()), _VALUES
).map(lambda parts: f"{parts[0]}{parts[1]}={parts[2]}")
_ARGUMENT = st.one_of(
  *[_FLAG] * 6,
  st.sampled_from(_names()).map("--{}".format),
  _VALUES,
  st.just("--"),
)


@pytest.fixture(scope="module")
def readers() -> Iterator[dict[str, subprocess.Popen[str]]]:
  """The processes, by command."""
  started: dict[str, subprocess.Popen[str]] = {}
  yield started
  for process in started.values():
    process.kill()
    process.communicate()


@amounts(100, 1500, 1000)
def test_flags(amount: Amount, readers: dict[str, subprocess.Popen]) -> None:
  def check_one(name: str, arguments: list[str]) -> None:
    if name not in readers:
      readers[name] = subprocess.Popen(
        [sys.executable, "-c", _READER, name],
        cwd=runs.ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
      )
    process = readers[name]
    assert process.stdin
    assert process.stdout
    print(json.dumps(arguments), file=process.stdin, flush=True)
    status, said = json.loads(process.stdout.readline())
    if status == 0:
      assert not said or "flags:" in said or "splitner" in said
      return
    assert status == 1, said
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1
    assert len(said) < 1000

  amount.run(
    check_one,
    name=st.sampled_from([*console.COMMANDS]),
    arguments=st.lists(_ARGUMENT, max_size=4),
  )
