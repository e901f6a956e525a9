"""`python -m splitner_jax.compare` compares runs; see `commands.compare`."""

from splitner_jax.commands import cli

if __name__ == "__main__":
  cli.run("compare")
