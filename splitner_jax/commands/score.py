"""Scores a file of predictions against a gold file of the same sentences:

splitner score gold.tsv predicted.tsv [--train=train.tsv] [--json=FILE]

Each is columns or JSON Lines; of JSON Lines that a run or `splitner predict`
wrote the predictions are read. Said are precision, recall and F1 over all
sentences and of each type, with an interval, of spans whatever their type, and
the kinds of errors; with --train also of mentions seen in training and others.
"""

import json

from absl import flags

from splitner_jax.commands import cli, data_flags
from splitner_jax.evaluation import scores
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.files import atomic_write

POSITIONAL = 2


def define_flags() -> None:
  flags.DEFINE_string("json", None, "file for all figures")
  flags.DEFINE_string("train", None, "what the system was trained on")
  data_flags.define_columns(gold_column="gold", predicted_column="predicted")


def check_flags() -> None:
  """Nothing can be wrong with them."""


def main(argv: list[str]) -> None:
  if len(argv) != 3:
    cli.fail("give two files: splitner score gold.tsv predicted.tsv")
  _, gold, predicted = argv
  try:
    result = scores.score_files(
      gold,
      predicted,
      flags.FLAGS.train,
      word_column=flags.FLAGS.word_column,
      gold_column=flags.FLAGS.gold_column,
      predicted_column=flags.FLAGS.predicted_column,
    )
    print(scores.markdown(result))
    if flags.FLAGS.json:
      atomic_write(flags.FLAGS.json, [json.dumps(result, indent=2), "\n"])
  except UserError as e:
    cli.fail(str(e))
