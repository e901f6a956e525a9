"""From examples to parameters."""
