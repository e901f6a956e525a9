"""Tags many files on an engine of Apache Beam:

splitner bulk --model=FOLDER --input='texts/*.jsonl' --output=FOLDER

Files are JSON Lines, Parquet or plain text. The output has a shard for every
--shard_texts texts (of Parquet: for every row group), each whole or not there:
the same command goes on with those that are missing, also of new files; a file
that has changed since is refused. What could not be read is in FOLDER/failed,
with file, line and reason. --runner=FlinkRunner, SparkRunner or DataflowRunner
runs it elsewhere, with --beam=OPTION=VALUE,...

Needs pip install "splitner_jax[beam]".
"""

from absl import flags

from splitner_jax.commands import cli, tagging_flags
from splitner_jax.inference import checks
from splitner_jax.runtime import sizes
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.extras import needed


def define_flags() -> None:
  flags.DEFINE_string(
    "model", None, "folder of a model, or its hub id; for all workers"
  )
  flags.DEFINE_string("input", None, "a pattern that matches files")
  flags.DEFINE_string("output", None, "folder of the shards")
  flags.DEFINE_enum("format", "jsonl", ["jsonl", "parquet"], "of the shards")
  flags.DEFINE_string(
    "runner", None, "of Beam; if not given, its own in this process"
  )
  flags.DEFINE_list("beam", [], "options of the runner: region=...,...")
  flags.DEFINE_integer(
    "shard_texts", 2000, "texts of a shard, at most", lower_bound=1
  )
  tagging_flags.define_choice()
  tagging_flags.define_batch_size()


def check_flags() -> None:
  for name in ("model", "input", "output"):
    if not flags.FLAGS[name].value:
      raise UserError(f"--{name} is missing; see --help")
  checks.check_choice(flags.FLAGS.threshold, flags.FLAGS.labels)


def main(argv: list[str]) -> None:
  del argv
  try:
    needed("apache_beam", "beam", "splitner bulk")
    from splitner_jax.integrations import bulk

    labels = flags.FLAGS.labels
    options = bulk.Options(
      model=str(flags.FLAGS.model),
      format=flags.FLAGS.format,
      threshold=flags.FLAGS.threshold,
      labels=tuple(labels) if labels else None,
      batch_size=flags.FLAGS.batch_size,
      shard_texts=flags.FLAGS.shard_texts,
    )
    given = [f"--{option.removeprefix('--')}" for option in flags.FLAGS.beam]
    if flags.FLAGS.runner:
      given.append(f"--runner={flags.FLAGS.runner}")
    with sizes.told("lower --batch_size"):
      texts, failed = bulk.run(
        flags.FLAGS.input, flags.FLAGS.output, options, given
      )
  except UserError as e:
    cli.fail(str(e))
  shown = f"{texts} texts tagged"
  if failed:
    shown += f", {failed} failed: see {flags.FLAGS.output}/failed"
  print(shown)
