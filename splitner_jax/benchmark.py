"""`python -m splitner_jax.benchmark` measures; see `commands.benchmark`."""

from splitner_jax.commands import console

if __name__ == "__main__":
  console.run("benchmark")
