"""`python -m splitner_jax.tune` tunes thresholds; see `commands.tune`."""

from splitner_jax.commands import console

if __name__ == "__main__":
  console.run("tune")
