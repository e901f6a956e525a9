"""`python -m splitner_jax.main` trains and scores; see `commands.train`."""

from splitner_jax.commands import cli

if __name__ == "__main__":
  cli.run("train")
