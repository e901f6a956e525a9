"""What the command lines share: flags, and errors as a single line."""

import importlib
import re
import signal
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from absl import app, flags
from ml_collections import ConfigDict

from splitner_jax.runtime.errors import UserError

_FIELDS = "splitner_jax/experiment/default_config.py"


def fail(message: str) -> NoReturn:
  """Ends the process with status 1 and the message as a single line."""
  print("error:", " ".join(message.split()), file=sys.stderr)
  sys.exit(1)


def exit_interrupted() -> NoReturn:
  """Ends the process after ctrl-C, as the shell expects it."""
  print("\nstopped; the same command goes on from here", file=sys.stderr)
  sys.exit(128 + signal.SIGINT)


def parse_flags(
  argv: list[str], check: Callable[[], None], positional: int = 0
) -> list[str]:
  """Parses the flags; a wrong one is a single line, not a traceback.

  Args:
    argv: the command line.
    positional: at most so many arguments that are no flags.
    check: raises UserError if the flags do not fit together; not called for
      --help.
  """
  try:
    rest = flags.FLAGS(argv)
    check()
  except SystemExit:  # That of --help, which absl ends with status 1.
    sys.exit(0)
  except UserError as e:
    fail(str(e))
  except Exception as e:  # A config file is a program: it may raise anything.
    fail(_reason(e, argv))
  if len(rest) > 1 + positional:
    fail(f"unexpected argument {rest[1 + positional]!r}; options begin with --")
  return rest


def check_config(config: ConfigDict | None) -> None:
  """Raises UserError without a --config, OSError if it cannot be read."""
  if not config:
    raise UserError("--config is missing; try --config=configs/demo.py")
  # A file that could not be read raises its OSError here, not before.
  config.lock()


def _reason(error: Exception, argv: list[str]) -> str:
  """What is wrong with the flags or the config file, and where."""
  if isinstance(error, SyntaxError):
    return f"{error.filename}:{error.lineno}: {error.msg}; mend the file"
  message = str(error.args[0]) if error.args else ""
  if isinstance(error, flags.UnrecognizedFlagError):
    if error.flagname.startswith("config."):
      return f"--{error.flagname}: give --config=FILE before it"
    return f"{message}; see --help"
  if isinstance(error, flags.Error):
    # What a config file raised ends a traceback.
    head, _, trace = message.partition(": Error whilst parsing config file:")
    last = re.sub(r"^[\w.]*Error: ", "", trace.strip().split("\n")[-1])
    return f"{head}: {last}" if trace else f"{head}; see --help"
  if isinstance(error, OSError):
    # A config file that cannot be read; the cause ends with the reason.
    reason = str(error.__cause__ or error).strip().split("\n")[-1].strip(" .")
    reason = re.sub(r"^\[Errno \d+\] ", "", reason)
    return f"--config: {reason}; give a file such as configs/demo.py"
  # An unknown field is, of all things, a KeyError that has its name alone.
  name = (re.findall(r"\w+", message) or [""])[0]
  for option in argv:
    field = re.match(r"--?(?:no)?(config\.[\w.]+)", option)
    if field and name in field[1].split("."):
      return f"{field[1]}: no such field; {_FIELDS} has them all"
  path = next((o[9:].split(":")[0] for o in argv if o[:9] == "--config="), "")
  where = [
    f"{frame.filename}:{frame.lineno}"
    for frame in traceback.extract_tb(error.__traceback__)
    if path and frame.filename.endswith(path)
  ]
  place = where[-1] if where else path or "--config"
  what = f"{type(error).__name__}: {message}"
  return f"{place}: {what}; mend the config file"


def run(name: str, argv: list[str] | None = None) -> None:
  """Runs a command; ends the process.

  Args:
    name: of its module in `commands`, which has `define_flags`, `check_flags`
      and `main`.
    argv: of the process, if they are not its own.
  """
  command = importlib.import_module(f"splitner_jax.commands.{name}")
  # What --help says first, and whose flags it shows.
  sys.modules["__main__"].__doc__ = command.__doc__

  def parse(argv: list[str]) -> list[str]:
    known = set(flags.FLAGS)
    try:
      command.define_flags()
    except Exception as e:  # A config that is the default is read here.
      fail(_reason(e, argv))
    for flag in set(flags.FLAGS) - known:
      flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[flag])
    positional = getattr(command, "POSITIONAL", 0)
    return parse_flags(argv, command.check_flags, positional)

  app.run(command.main, argv=argv, flags_parser=parse)
