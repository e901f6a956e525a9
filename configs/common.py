"""What every config starts from; the package has it, for all of them."""

from splitner_jax.experiment.default_config import (
  VARIANTS,
  get_config,
  with_variant,
)

__all__ = ["VARIANTS", "get_config", "with_variant"]
