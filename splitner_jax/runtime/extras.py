"""Packages that only an extra of this one brings."""

import importlib
import importlib.util
from types import ModuleType

from splitner_jax.runtime.errors import UserError


def needed(module: str, extra: str, what: str) -> ModuleType:
  """A module of an extra, imported now.

  Args:
    module: its name.
    extra: the extra that brings it.
    what: needs it, for the message.

  Raises:
    UserError: it is not installed.
  """
  root = module.partition(".")[0]
  try:
    return importlib.import_module(module)
  except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != root:
      raise
    raise UserError(
      f'{what}: needs {root}; pip install "splitner_jax[{extra}]"'
    ) from None
