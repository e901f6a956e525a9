"""The program `splitner`: its commands, and what stands for a config."""

import pathlib
import subprocess
import sys

import pytest

from splitner_jax.commands import console
from tests import runs

# Says at the end whether JAX was imported, and by which name it goes.
_PROGRAM = """
import sys
from splitner_jax.commands import console

sys.argv[0] = "/usr/bin/splitner"
try:
  console.main()
finally:
  modules = [m for m in sys.modules if m.startswith("splitner_jax.commands.")]
  print(sys.argv[0], "jax" in sys.modules, *modules, file=sys.stderr)
"""


def _splitner(*arguments: object) -> tuple[int, str, list[str]]:
  """Exit status, standard output, and the lines of standard error."""
  process = subprocess.run(
    [sys.executable, "-c", _PROGRAM, *map(str, arguments)],
    cwd=runs.ROOT,
    capture_output=True,
    text=True,
    timeout=120,
    check=False,
  )
  return process.returncode, process.stdout, process.stderr.splitlines()


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_commands_are_listed(
  arguments: list[str],
  monkeypatch: pytest.MonkeyPatch,
  capsys: pytest.CaptureFixture[str],
) -> None:
  monkeypatch.setattr(sys, "argv", ["splitner", *arguments])
  with pytest.raises(SystemExit) as caught:
    console.main()
  assert caught.value.code == 0
  shown = capsys.readouterr()
  assert not shown.err
  names = [
    line.split()[0] for line in shown.out.splitlines() if line[:2] == "  "
  ]
  assert names == [
    *("train", "check", "predict", "suggest", "bulk", "serve", "tune"),
    *("score", "compare", "export", "benchmark", "compile_for"),
  ]


def test_the_list_imports_no_command() -> None:
  status, _, lines = _splitner("--help")
  assert (status, lines) == (
    0,
    ["/usr/bin/splitner False splitner_jax.commands.console"],
  )


@pytest.mark.parametrize(
  ("name", "said"),
  [
    ("trian", "error: 'trian' is no command of splitner; did you mean train?"),
    ("zzz", "error: 'zzz' is no command of splitner; splitner --help lists t"),
    ("--workdir=x", "error: '--workdir=x' is no command of splitner; splitne"),
  ],
)
def test_no_such_command(
  name: str,
  said: str,
  monkeypatch: pytest.MonkeyPatch,
  capsys: pytest.CaptureFixture[str],
) -> None:
  monkeypatch.setattr(sys, "argv", ["splitner", name])
  with pytest.raises(SystemExit) as caught:
    console.main()
  assert caught.value.code == 1
  shown = capsys.readouterr()
  assert not shown.out
  assert shown.err.startswith(said)
  assert shown.err.count("\n") == 1


@pytest.mark.parametrize("name", console.COMMANDS)
def test_each_command_has_help_without_jax(name: str) -> None:
  status, shown, [state] = _splitner(name, "--help")
  assert status == 0
  assert f"\nsplitner {name} " in shown
  assert f"\nsplitner {name}:\n  --" in shown or name == "compare"
  assert state.startswith(f"splitner {name} False ")
  others = console.COMMANDS.keys() - {name}
  assert not {f"splitner_jax.commands.{other}" for other in others} & {
    *state.split()
  }


def _check(*arguments: object) -> str:
  status, shown, lines = _splitner("check", *arguments)
  assert status == 0, lines
  return shown


def test_own_files_need_no_config(tmp_path: pathlib.Path) -> None:
  for name in ("a", "b"):
    (tmp_path / f"{name}.tsv").write_text(f"{name}\tB-X\n")
  files = [f"--train={tmp_path}/a.tsv", f"--dev={tmp_path}/b.tsv"]
  shown = _check(*files)
  assert "b.tsv" in shown
  assert _check("--config=configs/files.py:single_seqtag", *files) == shown
  fields = [f"--config.data.{option[2:]}" for option in files]
  assert _check("--config=configs/files.py", *fields) == shown
