"""Trains and scores SplitNER on a corpus:

python -m splitner_jax.main --config=configs/wnut17.py

Any field of the config can be given: --config.learning_rate=1e-4
--config.backbone=minilm --config.data.dir=FOLDER. The same command again goes
on where an earlier run was cut off. configs/common.py explains each field.
"""

import os
import pathlib

from absl import flags
from ml_collections import config_flags

from splitner_jax.commands import cli
from splitner_jax.runtime import memory, signals
from splitner_jax.runtime.errors import UserError


def define_flags() -> None:
  config_flags.DEFINE_config_file(
    "config", None, "a file of configs/, and `:variant` if it has any"
  )
  flags.DEFINE_string(
    "workdir", None, "for checkpoints and reports (runs/<config name>)"
  )
  flags.DEFINE_boolean(
    "check", False, "read all the data, say what is in it, and stop"
  )


def check_flags() -> None:
  cli.check_config(flags.FLAGS.config)


def _default_workdir() -> str:
  """runs/wnut17 for configs/wnut17.py, runs/wnut17-paper for its :paper."""
  path = config_flags.get_config_filename(flags.FLAGS["config"])
  name, _, variant = os.path.basename(path).partition(":")
  stem = name.removesuffix(".py")
  return os.path.join("runs", f"{stem}-{variant}" if variant else stem)


def main(argv: list[str]) -> None:
  del argv
  signals.exit_on_sigterm()
  memory.keep_freed()
  config = flags.FLAGS.config
  workdir = pathlib.Path(flags.FLAGS.workdir or _default_workdir())
  try:
    # Imported here: --help and wrong flags need not wait for JAX.
    from splitner_jax.experiment import corpus, run
    from splitner_jax.runtime.progress import start_log

    start_log()
    if flags.FLAGS.check:
      print(corpus.check_data(config))
    else:
      run.run(config, workdir)
  except UserError as e:
    cli.fail(str(e))
  except KeyboardInterrupt:
    cli.stopped()
