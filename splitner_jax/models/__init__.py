"""Flax modules; nothing in here knows text, configs or losses."""
