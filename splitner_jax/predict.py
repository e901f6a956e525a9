"""`python -m splitner_jax.predict` tags a file; see `commands.predict`."""

from splitner_jax.commands import console

if __name__ == "__main__":
  console.run("predict")
