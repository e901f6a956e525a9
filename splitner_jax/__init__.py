"""SplitNER for JAX: named entity recognition in two questions."""

import os
from typing import TYPE_CHECKING, Any

# Else transformers advises to install PyTorch, which nothing here needs.
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")

if TYPE_CHECKING:
  from splitner_jax.inference.pipeline import Entity, SplitNER

__version__ = "0.1.0"
__all__ = ["Entity", "SplitNER", "__version__"]


def __getattr__(name: str) -> Any:
  # Not before they are asked for: `import splitner_jax` stays light.
  if name in ("Entity", "SplitNER"):
    from splitner_jax.inference import pipeline

    return getattr(pipeline, name)
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
