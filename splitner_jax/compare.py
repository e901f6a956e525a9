"""`python -m splitner_jax.compare` compares runs; see `commands.compare`."""

from splitner_jax.commands import console

if __name__ == "__main__":
  console.run("compare")
