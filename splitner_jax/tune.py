"""`python -m splitner_jax.tune` tunes thresholds; see `commands.tune`."""

from splitner_jax.commands import cli

if __name__ == "__main__":
  cli.run("tune")
