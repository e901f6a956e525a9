"""`python -m splitner_jax.suggest` ranks texts; see `commands.suggest`."""

from splitner_jax.commands import console

if __name__ == "__main__":
  console.run("suggest")
