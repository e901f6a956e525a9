"""Pictures as PNG: the same figure is the same bytes."""

import os
import pathlib
from typing import TYPE_CHECKING

from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.files import temporary_path

# Slow to import, and needed for pictures only.
if TYPE_CHECKING:
  from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> "Figure":
  """An empty figure, in inches; without pyplot, whose state outlives it."""
  from matplotlib.figure import Figure

  return Figure(figsize=(width, height), dpi=100)


def save_png(figure: "Figure", path: str | os.PathLike[str]) -> None:
  """Writes a figure: whole or not at all.

  Raises:
    UserError: the file cannot be written.
  """
  path = pathlib.Path(path)
  temporary = temporary_path(path)
  try:
    # Else the version of matplotlib is in the file.
    nothing = {"Software": None}
    figure.savefig(
      temporary, format="png", bbox_inches="tight", metadata=nothing
    )
    temporary.replace(path)
  except OSError as e:
    raise UserError(
      f"{path}: cannot be written ({e.strerror}); check the folder"
    ) from None
  finally:
    temporary.unlink(missing_ok=True)
