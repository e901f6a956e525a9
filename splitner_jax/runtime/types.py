"""Types that have no better name in the language."""

from typing import Any

Json = dict[str, Any]
"""An object of JSON: a report, a record of a file, fields of a config."""
Tree = Any
"""A tree of arrays: parameters, the state of a training, a batch."""
