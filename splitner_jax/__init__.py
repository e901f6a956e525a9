"""SplitNER for JAX: named entity recognition in two questions."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from splitner_jax.predict import Entity, SplitNER

__version__ = "0.1.0"
__all__ = ["Entity", "SplitNER", "__version__"]


def __getattr__(name: str) -> Any:
  # Not before they are asked for: `import splitner_jax` stays light.
  if name in ("Entity", "SplitNER"):
    from splitner_jax import predict

    return getattr(predict, name)
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
