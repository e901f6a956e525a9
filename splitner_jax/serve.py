"""`python -m splitner_jax.serve` tags over HTTP; see `commands.serve`."""

from splitner_jax.commands import console

if __name__ == "__main__":
  console.run("serve")
