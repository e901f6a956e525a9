"""What a model reads: tokens, examples, packed batches. No JAX."""
