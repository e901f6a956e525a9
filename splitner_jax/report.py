"""Where `python -m splitner_jax.compare` was before; to go with version 0.3."""

from splitner_jax.commands import cli

if __name__ == "__main__":
  cli.fail("this command is now splitner compare")
