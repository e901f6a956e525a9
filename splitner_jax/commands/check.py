"""Says what is in a corpus and what in it looks like a mistake:

splitner check --train=FILE --dev=FILE [--test=FILE]
splitner check --config=configs/wnut17.py
"""

from splitner_jax.commands import cli, data_flags
from splitner_jax.runtime.errors import UserError


def define_flags() -> None:
  data_flags.define_flags()


def check_flags() -> None:
  data_flags.config()


def main(argv: list[str]) -> None:
  del argv
  from splitner_jax.experiment import corpus
  from splitner_jax.runtime.progress import start_log

  start_log()
  try:
    print(corpus.check_data(data_flags.config()))
  except UserError as e:
    cli.fail(str(e))
