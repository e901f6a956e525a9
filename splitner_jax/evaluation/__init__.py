"""Scores of predicted beside gold mentions; no JAX."""
