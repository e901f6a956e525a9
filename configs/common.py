"""What the configs beside this file start from; the package has it."""

from splitner_jax.experiment.default_config import (
  VARIANTS,
  get_config,
  with_variant,
)

__all__ = ["VARIANTS", "get_config", "with_variant"]
