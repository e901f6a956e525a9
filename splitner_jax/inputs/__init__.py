"""What a model reads: tokens, examples, packed batches. NumPy only."""
