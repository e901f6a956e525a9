"""The program `splitner`: finds the command and hands it the rest.

Nothing but the chosen command's module is imported. What makes streams and
ctrl-C safe comes first: importing the rest takes a second.
"""

import difflib
import os
import sys
from typing import NoReturn

import splitner_jax
from splitner_jax.runtime import signals, streams
from splitner_jax.runtime.errors import UserError

COMMANDS = {
  "train": "trains on a corpus, scores, and writes the model",
  "check": "says what is in a corpus before training",
  "predict": "tags text",
  "suggest": "ranks texts by what a model would learn from them",
  "bulk": "tags many files on an engine of Apache Beam",
  "serve": "tags text over HTTP",
  "tune": "fits a model's thresholds to a precision, a recall or F1",
  "score": "scores a file of predictions against a gold file",
  "compare": "says whether one run is really better than another",
  "export": "writes a model for JAX, ONNX or transformers",
  "benchmark": "measures speed beside the baselines and the machine's limit",
  "compile_for": "compiles for a TPU that is not there: memory, speed",
}
"""The commands, each a module beside this one, and what they do."""


def usage() -> str:
  """What `splitner --help` prints."""
  width = max(map(len, COMMANDS))
  return "\n".join(
    [
      "usage: splitner COMMAND [options]",
      "",
      *(f"  {name:{width}}  {what}" for name, what in COMMANDS.items()),
      "",
      "splitner COMMAND --help has the options of one.",
    ]
  )


def run(name: str) -> NoReturn:
  """Runs a command on the arguments of the process; ends it.

  Args:
    name: a key of `COMMANDS`.
  """
  streams.prepare()
  signals.exit_at_once()
  from splitner_jax.commands import cli

  status: str | int | None = 0
  try:
    try:
      cli.run(name)
    except SystemExit as end:
      status = end.code
    # Else Python's own flush at the end would say it in its way.
    sys.stdout.flush()
  except UserError as e:
    cli.fail(str(e))
  sys.exit(status)


def main() -> None:
  """Runs the command that the command line names; ends the process."""
  streams.prepare()
  name, *rest = sys.argv[1:] or ["help"]
  if name == "help" and rest[:1] and rest[0] in COMMANDS:
    name, rest = rest[0], ["--help"]
  if name in ("help", "--help", "-h"):
    _say(usage())
  if name == "--version":
    _say(f"splitner_jax {splitner_jax.__version__}")

  from splitner_jax.commands import cli

  if name not in COMMANDS:
    near = difflib.get_close_matches(name, COMMANDS, 1)
    hint = f"did you mean {near[0]}?" if near else "splitner --help lists them"
    cli.fail(f"{name!r} is no command of splitner; {hint}")
  # As with `python -m`: a config may import what lies beside it.
  sys.path.append(os.getcwd())
  # What messages and the help of a command call the program.
  sys.argv = [f"splitner {name}", *rest]
  run(name)


def _say(text: str) -> NoReturn:
  try:
    print(text, flush=True)
  except UserError as e:
    print("error:", e, file=sys.stderr)
    sys.exit(1)
  sys.exit(0)
