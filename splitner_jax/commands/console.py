"""The program `splitner`: finds the command and hands it the rest.

Nothing but the chosen command's module is imported.
"""

import difflib
import os
import sys

import splitner_jax

COMMANDS = {
  "train": "trains on a corpus, scores, and writes the model",
  "check": "says what is in a corpus before training",
  "predict": "tags text",
  "serve": "tags text over HTTP",
  "tune": "fits a model's thresholds to a precision, a recall or F1",
  "score": "scores a file of predictions against a gold file",
  "compare": "says whether one run is really better than another",
  "export": "writes a trained encoder for transformers",
  "benchmark": "measures speed beside the baselines and the machine's limit",
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


def main() -> None:
  """Runs the command that the command line names; ends the process."""
  name, *rest = sys.argv[1:] or ["help"]
  if name == "help" and rest[:1] and rest[0] in COMMANDS:
    name, rest = rest[0], ["--help"]
  if name in ("help", "--help", "-h"):
    print(usage())
    sys.exit(0)
  if name == "--version":
    print(f"splitner_jax {splitner_jax.__version__}")
    sys.exit(0)

  from splitner_jax.commands import cli

  if name not in COMMANDS:
    near = difflib.get_close_matches(name, COMMANDS, 1)
    hint = f"did you mean {near[0]}?" if near else "splitner --help lists them"
    cli.fail(f"{name!r} is no command of splitner; {hint}")
  # As with `python -m`: a config may import what lies beside it.
  sys.path.append(os.getcwd())
  # What messages and the help of a command call the program.
  sys.argv = [f"splitner {name}", *rest]
  cli.run(name)
