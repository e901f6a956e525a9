"""Text, files and NumPy arrays; nothing in here knows JAX."""
