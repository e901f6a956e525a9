"""`python -m splitner_jax.export` writes an encoder; see `commands.export`."""

from splitner_jax.commands import console

if __name__ == "__main__":
  console.run("export")
