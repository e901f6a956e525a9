"""Pictures as PNG: the same figure is the same bytes."""

import io
import os
from typing import TYPE_CHECKING

from splitner_jax.runtime.files import atomic_write

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
  # Else the version of matplotlib is in the file.
  nothing = {"Software": None}
  data = io.BytesIO()
  figure.savefig(data, format="png", bbox_inches="tight", metadata=nothing)
  atomic_write(path, [data.getvalue()])
