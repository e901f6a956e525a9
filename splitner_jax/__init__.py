"""SplitNER for JAX: named entity recognition in two questions."""

__version__ = "0.1.0"
