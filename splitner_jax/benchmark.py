"""`python -m splitner_jax.benchmark` measures; see `commands.benchmark`."""

from splitner_jax.commands import cli

if __name__ == "__main__":
  cli.run("benchmark")
