"""`python -m splitner_jax.compile_for`; see `commands.compile_for`."""

from splitner_jax.commands import cli

if __name__ == "__main__":
  cli.run("compile_for")
