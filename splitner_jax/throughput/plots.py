"""Pictures of a benchmark's grid, and what the page shares with them."""

import pathlib
from typing import TYPE_CHECKING, NamedTuple

from splitner_jax.evaluation import pictures
from splitner_jax.runtime.types import Json

# As in `pictures`: slow, and only its type is needed.
if TYPE_CHECKING:
  from matplotlib.axes import Axes

NAMES = {
  "splitner": "SplitNER",
  "single_qa": "Single(QA)",
  "single_seqtag": "Single(SeqTag)",
  "torch_tagger": "tagger on PyTorch",
}
"""What a reader sees a system called; one that is not here as it is."""

PHASES = {"train": "Training", "inference": "Inference"}

_MARKERS = "osD^vP*X"


class Axis(NamedTuple):
  """What varies along an axis of the grid, and what its picture shows.

  Attributes:
    title: of the section and the picture.
    label: what is varied, with its unit.
    of_tokens: whether the picture shows the microseconds of a sentence token,
      from 0 on, and not sentences/s, on a logarithmic scale.
    logarithmic: whether what is varied has such a scale too.
  """

  title: str
  label: str
  of_tokens: bool = False
  logarithmic: bool = False


AXES = {
  "tokens": Axis(
    "By the length of sentences", "tokens of a sentence", logarithmic=True
  ),
  "types": Axis("By the number of types", "entity types"),
  "mentions": Axis(
    "By the density of mentions", "mentions per 100 tokens", of_tokens=True
  ),
}


class Point(NamedTuple):
  """What a system has at a value of an axis, in a phase.

  Attributes:
    value: of what is varied.
    figures: the measured ones.
    tokens: of a sentence.
  """

  value: float
  figures: Json
  tokens: float

  def microseconds(self) -> float:
    """Of a sentence token."""
    return _microseconds(self.figures["sentences_per_s"], self.tokens)


def name_of(system: str) -> str:
  """A system's name for readers."""
  return NAMES.get(system, system)


def picture_name(axis: str) -> str:
  """The file of an axis, in the folder of the page."""
  return f"by-{axis}.png"


def lines(report: Json, axis: str, phase: str) -> dict[str, list[Point]]:
  """The points of each system that has any, by their values.

  Args:
    report: what stands in `benchmark.json`.
    axis: of AXES.
    phase: of PHASES.
  """
  grid = report.get("grid", {})
  found: dict[str, list[Point]] = {}
  for point in sorted(grid.get(axis, []), key=lambda point: point["value"]):
    value = point["value"]
    tokens = value if axis == "tokens" else grid["base"]["tokens"]
    for system, phases in point["systems"].items():
      if phase in phases:
        row = found.setdefault(system, [])
        row.append(Point(value, phases[phase], tokens))
  return found


def measured(report: Json) -> dict[str, dict[str, dict[str, list[Point]]]]:
  """The lines of each phase of each axis, where there are any."""
  whole = {
    axis: {
      phase: found for phase in PHASES if (found := lines(report, axis, phase))
    }
    for axis in AXES
  }
  return {axis: phases for axis, phases in whole.items() if phases}


def draw(report: Json, folder: pathlib.Path) -> list[pathlib.Path]:
  """Draws each axis that was measured: a panel for each phase, side by side.

  Args:
    report: what stands in `benchmark.json`.
    folder: gets the pictures.

  Returns:
    Their paths.

  Raises:
    UserError: one cannot be written.
  """
  found = measured(report)
  systems = {
    system
    for phases in found.values()
    for rows in phases.values()
    for system in rows
  }
  # A system looks the same in all pictures, whichever others are there.
  order = [*NAMES, *sorted(systems - NAMES.keys())]
  paths = []
  for axis, phases in found.items():
    figure = pictures.new_figure(5.2 * len(phases), 4.0)
    figure.set_layout_engine("constrained")
    figure.suptitle(AXES[axis].title)
    panels = figure.subplots(1, len(phases), squeeze=False)[0]
    for panel, (phase, rows) in zip(panels, phases.items(), strict=True):
      panel.set_title(PHASES[phase])
      for system in sorted(rows, key=order.index):
        _draw_line(panel, axis, system, rows[system], order.index(system))
      _draw_scales(panel, axis, rows)
    paths.append(folder / picture_name(axis))
    pictures.save_png(figure, paths[-1])
  return paths


def _draw_line(
  panel: "Axes", axis: str, system: str, points: list[Point], number: int
) -> None:
  """A system's points, each with a bar from one quartile to the other."""
  of_tokens = AXES[axis].of_tokens
  middles, below, above = [], [], []
  for _, figures, tokens in points:
    rate = figures["sentences_per_s"]
    ends = [rate, *figures.get("quartiles", [])]
    if of_tokens:
      rate, *ends = (_microseconds(each, tokens) for each in (rate, *ends))
    middles.append(rate)
    below.append(rate - min(ends))
    above.append(max(ends) - rate)
  panel.errorbar(
    [point.value for point in points],
    middles,
    yerr=[below, above],
    color=f"C{number}",
    marker=_MARKERS[number % len(_MARKERS)],
    markersize=4,  # Larger ones hide the bars.
    capsize=3,
    label=name_of(system),
  )


def _draw_scales(
  panel: "Axes", axis: str, rows: dict[str, list[Point]]
) -> None:
  from matplotlib.ticker import LogLocator, MaxNLocator

  _, label, of_tokens, logarithmic = AXES[axis]
  if logarithmic:
    values = sorted(
      {point.value for points in rows.values() for point in points}
    )
    panel.set_xscale("log")
    panel.set_xticks(values, [f"{value:g}" for value in values])
  else:
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
  if of_tokens:
    panel.set_ylim(bottom=0)
    panel.set_ylabel("µs per sentence token")
  else:
    panel.set_yscale("log")
    # Often there is no power of ten among the values.
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter("{x:,g}")
    panel.set_ylabel("sentences/s")
  panel.minorticks_off()
  panel.set_xlabel(label)
  panel.grid(alpha=0.3)
  panel.legend()


def _microseconds(sentences_per_s: float, tokens: float) -> float:
  return 1e6 / (sentences_per_s * tokens)
