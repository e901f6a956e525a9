"""`python -m splitner_jax.main` trains and scores; see `commands.train`."""

from splitner_jax.commands import console

if __name__ == "__main__":
  console.run("train")
