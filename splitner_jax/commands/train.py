"""Trains and scores SplitNER on a corpus:

splitner train --train=FILE --dev=FILE [--test=FILE] [--backbone=NAME]
splitner train --config=configs/wnut17.py

Any field of the config can be given: --config.learning_rate=1e-4
--config.classifier.epochs=5. The same command again goes on where an earlier
run was cut off. splitner_jax/experiment/default_config.py explains each field.
"""

from absl import flags
from ml_collections import ConfigDict

from splitner_jax.commands import cli, data_flags
from splitner_jax.runtime import buckets, memory, processes, signals
from splitner_jax.runtime.errors import UserError

_LESS_MEMORY = (
  "lower config.batch_size or config.max_length, in tagging "
  "config.inference_batch_size, or set config.rematerialise"
)


def define_flags() -> None:
  data_flags.define_flags()
  flags.DEFINE_string(
    "backbone", None, "a folder, a hub id or minilm; as --config.backbone"
  )
  flags.DEFINE_string(
    "workdir",
    None,
    "for checkpoints and reports (runs/<config name>); also gs://BUCKET/FOLDER "
    "(extra gcs), where nothing hinders a second run of the same config",
  )
  flags.DEFINE_string(
    "num_processes",
    None,
    "of this run, or auto on Cloud TPU, SLURM, Open MPI (JAX_NUM_PROCESSES)",
  )
  flags.DEFINE_string(
    "process_id", None, "of this process, from 0 (JAX_PROCESS_ID)"
  )
  flags.DEFINE_string(
    "coordinator",
    None,
    "HOST:PORT of the first process (JAX_COORDINATOR_ADDRESS)",
  )
  flags.DEFINE_boolean(
    "check", False, "read all the data, say what is in it, and stop"
  )


def check_flags() -> None:
  _config()
  _place()
  buckets.check(flags.FLAGS.workdir or "")


def _place() -> processes.Place | None:
  given = flags.FLAGS
  return processes.place(
    given.coordinator or "", given.num_processes or "", given.process_id or ""
  )


def _config() -> ConfigDict:
  config = data_flags.config()
  if flags.FLAGS.backbone:
    if data_flags.is_given("backbone"):
      raise UserError(
        "--backbone: and --config.backbone; leave one of the two out"
      )
    config.backbone = flags.FLAGS.backbone
  return config


def main(argv: list[str]) -> None:
  del argv
  signals.exit_at_once(resumable=True)
  memory.disable_malloc_trim()
  config = _config()
  workdir = flags.FLAGS.workdir or f"runs/{data_flags.config_name()}"
  try:
    # Imported here: --help and wrong flags need not wait for JAX.
    from splitner_jax.experiment import corpus, run, settings
    from splitner_jax.runtime import sizes
    from splitner_jax.runtime.progress import start_log

    start_log()
    if not flags.FLAGS.check:
      processes.join(_place())
    settings.check_config(config)
    settings.check_given(config, data_flags.given_fields())
    if flags.FLAGS.check:
      print(corpus.check_data(config))
    else:
      with (
        processes.told(),
        sizes.told(_LESS_MEMORY),
        buckets.opened(workdir) as (folder, mirror),
      ):
        run.run(config, folder, mirror)
      processes.part()
  except UserError as e:
    if processes.count() > 1:
      processes.fail(str(e))
    cli.fail(str(e))
