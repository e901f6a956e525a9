"""Says whether the difference between two runs is more than chance:

splitner compare A B

A and B are folders of runs, or their report.json.
"""

from splitner_jax.commands import cli
from splitner_jax.runtime.errors import UserError

POSITIONAL = 2


def define_flags() -> None:
  """There are none."""


def check_flags() -> None:
  """Nothing can be wrong with them."""


def main(argv: list[str]) -> None:
  if len(argv) != 3:
    cli.fail("give two runs: splitner compare A B")
  from splitner_jax.experiment import compare

  try:
    compare.run(*argv[1:])
  except UserError as e:
    cli.fail(str(e))
