"""A model behind HTTP: requests are packed together and answered one by one.

All but `batching` and `questions` need the extra `serve`.
"""
