"""`python -m splitner_jax.score` scores a file; see `commands.score`."""

from splitner_jax.commands import cli

if __name__ == "__main__":
  cli.run("score")
