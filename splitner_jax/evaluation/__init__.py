"""Scores of predicted beside gold mentions; NumPy only."""
