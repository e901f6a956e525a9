"""`python -m splitner_jax.score` scores a file; see `commands.score`."""

from splitner_jax.commands import console

if __name__ == "__main__":
  console.run("score")
