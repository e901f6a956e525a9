"""Plugs for other programs: spaCy, Hugging Face, engines, exports.

Each module needs an extra of its own, which is imported nowhere else.
"""
