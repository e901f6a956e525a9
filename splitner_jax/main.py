"""Trains and scores SplitNER on a corpus:

python -m splitner_jax.main --config=configs/wnut17.py

Any field of the config can be given: --config.learning_rate=1e-4
--config.backbone=minilm --config.data.dir=FOLDER. The same command again goes
on where an earlier run was cut off. configs/common.py explains each field.
"""

import os
import pathlib
import sys
from typing import NoReturn

from absl import app, flags
from ml_collections import config_flags

from splitner_jax.errors import UserError

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "a file of configs/, and `:variant` if it has any"
)
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "for checkpoints and reports (runs/<config name>)"
)
_CHECK = flags.DEFINE_boolean(
  "check", False, "read all the data, say what is in it, and stop"
)


def _default_workdir() -> str:
  """runs/wnut17 for configs/wnut17.py, runs/wnut17-paper for its :paper."""
  path = config_flags.get_config_filename(flags.FLAGS["config"])
  name, _, variant = os.path.basename(path).partition(":")
  stem = name.removesuffix(".py")
  return os.path.join("runs", f"{stem}-{variant}" if variant else stem)


def _parse(argv: list[str]) -> list[str]:
  """Parses the flags; a wrong one is a single line, not a traceback."""
  try:
    rest = flags.FLAGS(argv)
    if not _CONFIG.value and not flags.FLAGS["help"].present:
      raise UserError("--config is missing; try --config=configs/demo.py")
    return rest
  except FileNotFoundError as e:
    _fail(f"--config: {e.filename or e}: no such file")
  except (flags.Error, AttributeError, KeyError, TypeError, OSError) as e:
    _fail(str(e.args[0] if e.args else e))
  except ValueError as e:
    _fail(str(e))


def _fail(message: str) -> NoReturn:
  lines = [line for line in message.strip().split("\n") if line.strip()]
  print(f"error: {lines[-1] if lines else message}", file=sys.stderr)
  sys.exit(1)


def main(argv: list[str]) -> None:
  if len(argv) > 1:
    _fail(f"unexpected argument {argv[1]!r}; options begin with --")
  # Imported here: --help and wrong flags need not wait for JAX.
  from splitner_jax import experiment, runtime

  runtime.start_log()
  workdir = pathlib.Path(_WORKDIR.value or _default_workdir())
  try:
    if _CHECK.value:
      print(experiment.check_data(_CONFIG.value))
    else:
      experiment.run(_CONFIG.value, workdir)
  except UserError as e:
    _fail(str(e))


if __name__ == "__main__":
  app.run(main, flags_parser=_parse)
