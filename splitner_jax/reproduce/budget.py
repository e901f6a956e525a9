"""F1 against training time: what more epochs buy each system.

Runs may be made on any machine. Their time is that of one on which the systems
took turns: epochs by the sentences a second of `splitner benchmark`.
"""

import json
import pathlib
import statistics
from collections.abc import Mapping, Sequence

from splitner_jax.evaluation import pictures
from splitner_jax.evaluation.tables import markdown_table
from splitner_jax.reproduce.runs import Budget
from splitner_jax.runtime.types import Json

SYSTEMS = {"tuned": "splitner", "single_seqtag_tuned": "single_seqtag"}
"""Runs of three epochs, with what the benchmark calls their system. Those of
more have the same name and a number."""
RUNS = tuple(f"{name}{more}" for name in SYSTEMS for more in ("", "_6", "_10"))
"""All of the page."""
_TITLES = {"splitner": "SplitNER", "single_seqtag": "Single(SeqTag)"}

Found = Mapping[str, Sequence[Json]]


def sections(found: Found, budget: Budget) -> list[str]:
  """Writes RESULTS/budget-DATASET.png; returns the parts of the page.

  None where the speeds have not been measured.

  Args:
    found: reports of RUNS.
    budget: of the runs.
  """
  path = budget.results / f"throughput-{budget.dataset}" / "benchmark.json"
  if not path.exists():
    return []
  systems = json.loads(path.read_bytes())["systems"]
  speeds = {
    system: systems[system]["train"]["sentences_per_s"] for system in _TITLES
  }
  rows = [["", "epochs run", "minutes"]]
  curves: dict[str, list[tuple[float, float, float]]] = {}
  for name in RUNS:
    if not found.get(name):
      continue
    system = SYSTEMS[name.rstrip("_0123456789")]
    epochs = statistics.fmean(map(_epochs, found[name]))
    sentences = found[name][0]["corpus"]["sentences"]["train"]
    minutes = epochs * sentences / speeds[system] / 60
    dev, test = (
      statistics.fmean(r[split]["all_sentences"]["f1"] for r in found[name])
      for split in ("dev", "test")
    )
    curves.setdefault(system, []).append((minutes, dev, test))
    most = name.rpartition("_")[2]
    title = f"{_TITLES[system]}, at most {most if most.isdigit() else 3} epochs"
    rows.append([title, f"{epochs:.1f}", f"{minutes:.1f}"])
  picture = f"budget-{budget.dataset}.png"
  _draw(curves, budget.results / picture)
  machine = json.loads(path.read_bytes())["machine"]["name"]
  return [
    f"![F1 by minutes of training]({picture})",
    markdown_table(rows, left=1),
    "Means of the seeds. Minutes: the sentences that were read, at the speed "
    f"of the [benchmark](throughput-{budget.dataset}/benchmark.md), "
    + ", ".join(f"{_TITLES[s]} {v:.1f}" for s, v in speeds.items())
    + f" sentences a second on {machine}.",
  ]


def _epochs(report: Json) -> float:
  """How many were run, the mean of the tasks."""
  return statistics.fmean(
    len(task["evaluations"]) for task in report["training"].values()
  )


def _draw(
  curves: Mapping[str, Sequence[tuple[float, float, float]]],
  path: pathlib.Path,
) -> None:
  """Draws (minutes, F1 on dev, F1 on test) of each system."""
  figure = pictures.new_figure(9.6, 4.0)
  for i, axes in enumerate(figure.subplots(1, 2)):
    for marker, (system, points) in zip("os", curves.items(), strict=False):
      x, y = [p[0] for p in points], [p[1 + i] for p in points]
      axes.plot(x, y, marker=marker, label=_TITLES[system])
    axes.set_xlabel("minutes of training")
    axes.set_ylabel(f"F1 on {('dev', 'test')[i]}, %")
    axes.legend()
  pictures.save_png(figure, path)
