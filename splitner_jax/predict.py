"""`python -m splitner_jax.predict` tags a file; see `commands.predict`."""

from splitner_jax.commands import cli

if __name__ == "__main__":
  cli.run("predict")
