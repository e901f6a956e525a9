"""`python -m splitner_jax.export` writes an encoder; see `commands.export`."""

from splitner_jax.commands import cli

if __name__ == "__main__":
  cli.run("export")
