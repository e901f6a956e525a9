"""The page of `annotate`: curves of all strategies, whatever is there yet."""

import pathlib
import statistics
from collections.abc import Callable, Mapping, Sequence

from splitner_jax.evaluation import pictures
from splitner_jax.evaluation.tables import markdown_table
from splitner_jax.experiment.seeds import mean_and_deviation
from splitner_jax.inference.suggesting import MEASURES
from splitner_jax.reproduce import paper, runs
from splitner_jax.runtime.files import atomic_write
from splitner_jax.runtime.types import Json

RANDOM = "random"
STRATEGIES = (RANDOM, *MEASURES)
"""How sentences are chosen: at random, or by a measure of `suggest`."""


def path_of(
  results: pathlib.Path, strategy: str, seed: int | str
) -> pathlib.Path:
  """Of a report."""
  folder = results / "runs" / "annotate" / strategy / f"seed-{seed}"
  return folder / "report.json"


def read(path: pathlib.Path, settings: Json) -> Json | None:
  """A report of these settings, if it is there; see `runs.read_report`."""
  return runs.read_report(path, lambda r: r["settings"] == settings)


def sizes(settings: Json) -> list[int]:
  """Sentences of each round."""
  return [*range(settings["step"], settings["most"] + 1, settings["step"])]


Curves = Mapping[str, Mapping[int, Sequence[Json]]]
"""The rounds of each seed of each strategy."""


def _curves(results: pathlib.Path, settings: Json) -> tuple[Curves, set[str]]:
  """All that is there, and on which machines it was made."""
  curves: dict[str, dict[int, Sequence[Json]]] = {}
  machines: set[str] = set()
  for strategy in STRATEGIES:
    pattern = path_of(pathlib.Path(), strategy, "*")
    for path in sorted(results.glob(str(pattern))):
      report = read(path, settings)
      if report and report["rounds"]:
        machines.add(report["machine"])
        curves.setdefault(strategy, {})[report["seed"]] = report["rounds"]
  return curves, machines


def write(results: pathlib.Path, settings: Json) -> pathlib.Path:
  """Writes annotate.png, then annotate.md, which it returns."""
  page = results / "annotate.md"
  curves, machines = _curves(results, settings)
  page.parent.mkdir(parents=True, exist_ok=True)
  draw(curves, page.with_suffix(".png"))
  atomic_write(page, [_markdown(curves, machines, settings)])
  return page


def _of_round(
  curves: Curves, strategy: str, index: int, key: str
) -> list[float]:
  """A figure of the seeds that have come so far."""
  rows = curves.get(strategy, {}).values()
  return [rounds[index][key] for rounds in rows if index < len(rounds)]


def draw(curves: Curves, path: pathlib.Path) -> None:
  """Draws F1 on test by annotated sentences, and by their words, as a PNG."""
  figure = pictures.new_figure(9.6, 4.0)
  by_sentences, by_words = figure.subplots(1, 2, sharey=True)
  for axes, unit in ((by_sentences, "sentences"), (by_words, "words")):
    for marker, strategy in zip("osD^", STRATEGIES, strict=True):
      if strategy not in curves:
        continue
      rounds = range(max(map(len, curves[strategy].values())))
      x, y = (
        [statistics.fmean(_of_round(curves, strategy, i, key)) for i in rounds]
        for key in (unit, "f1")
      )
      axes.plot(x, y, marker=marker, label=strategy)
    axes.set_xlabel(f"annotated {unit}")
    axes.grid(alpha=0.3)
  by_sentences.set_ylabel("F1 on test, %")
  if curves:
    by_sentences.legend()
  pictures.save_png(figure, path)


def _markdown(curves: Curves, machines: set[str], settings: Json) -> str:
  """The whole page."""
  seeds = sorted({seed for rows in curves.values() for seed in rows})
  parts = [
    f"# What to annotate next, on {paper.DATASETS[settings['dataset']]}",
    *_headlines(curves, settings),
    f"SplitNER is trained on {settings['step']} random sentences; then as many "
    "are added again and again, and each time a new model is trained from the "
    "backbone: random ones, or those of which the last model is least sure, by "
    "a measure of `splitner suggest`. *mean*: surprise of its own answer, both "
    "steps added up, by words (the default); *sum*: not divided, so that long "
    "sentences come first; *max*: of the least sure decision.",
    "![F1 by annotated sentences and words](annotate.png)",
    "## F1 on test",
    _score_table(curves, settings, "f1"),
    "All sentences of test, in percent; mean and standard deviation of the "
    "seeds, which draw the first sentences too, the same for all strategies. "
    "In parentheses the difference to random choice, of the same seeds.",
    "## What was annotated",
    _cost_table(curves, settings),
    "Mean of the seeds: words, and mentions in them. Who annotates is paid for "
    "these rather than for sentences, so that the right half of the picture is "
    "the fairer one.",
    "## The two steps",
    _score_table(curves, settings, "detection"),
    "Spans on test, whatever their type.",
    _score_table(curves, settings, "classification"),
    "Types of gold mentions on test.",
    "## How it was made",
    f"`launch/reproduce.sh annotate`: backbone {settings['backbone']}, "
    f"{settings['epochs']} epochs, learning rate "
    f"{settings['learning_rate']:g}, the best epoch by "
    f"{settings['dev_sentences']} sentences of dev, decoding not tuned; seeds "
    f"{', '.join(map(str, seeds))}. Machine: {', '.join(sorted(machines))}.",
  ]
  return "\n\n".join(parts) + "\n"


def _headlines(curves: Curves, settings: Json) -> list[str]:
  """What each measure comes to in the last round."""
  size = sizes(settings)[-1]
  lines = []
  for strategy in curves:
    pairs = _pairs(curves, strategy, len(sizes(settings)) - 1)
    if pairs:
      f1, chance = (statistics.fmean(r["f1"] for r in rows) for rows in pairs)
      words, others = (sum(r["words"] for r in rows) for rows in pairs)
      each = ", ".join(
        f"{a['f1'] - b['f1']:+.2f}" for a, b in zip(*pairs, strict=True)
      )
      lines.append(
        f"**With {size} sentences chosen by *{strategy}* F1 is {f1:.2f}, with "
        f"random ones {chance:.2f} ({f1 - chance:+.2f}; by seed {each}). They "
        f"have {words / others:.2f} of the words of those.**"
      )
  return lines


def _table(
  curves: Curves, settings: Json, cell: Callable[[str, int], str]
) -> str:
  """By sentences, a column for each strategy.

  Args:
    curves: of the page.
    settings: of the page.
    cell: text of a strategy and the index of a round that some seed has.
  """
  rows = [["sentences", *curves]]
  for index, size in enumerate(sizes(settings)):
    rows.append(
      [
        str(size),
        *(
          cell(strategy, index)
          if _of_round(curves, strategy, index, "f1")
          else "-"
          for strategy in curves
        ),
      ]
    )
  return markdown_table(rows, left=0)


def _score_table(curves: Curves, settings: Json, key: str) -> str:
  def cell(strategy: str, index: int) -> str:
    values = _of_round(curves, strategy, index, key)
    mean, deviation = mean_and_deviation(values)
    spread = "" if deviation is None else f" ± {deviation:.2f}"
    difference = _difference(curves, strategy, index, key)
    return f"{mean:.2f}{spread}{difference}"

  return _table(curves, settings, cell)


def _cost_table(curves: Curves, settings: Json) -> str:
  def cell(strategy: str, index: int) -> str:
    return ", ".join(
      f"{statistics.fmean(_of_round(curves, strategy, index, key)):,.0f}"
      for key in ("words", "mentions")
    )

  return _table(curves, settings, cell)


def _difference(curves: Curves, strategy: str, index: int, key: str) -> str:
  """To random choice."""
  pairs = _pairs(curves, strategy, index)
  if not pairs:
    return ""
  difference = statistics.fmean(
    a[key] - b[key] for a, b in zip(*pairs, strict=True)
  )
  return f" ({difference:+.2f})"


def _pairs(
  curves: Curves, strategy: str, index: int
) -> tuple[list[Json], list[Json]] | None:
  """A round of a measure and of random choice, of the seeds that both have."""
  both = [
    (rounds[index], other[index])
    for seed, rounds in curves[strategy].items()
    if strategy != RANDOM
    and index < len(rounds)
    and index < len(other := curves.get(RANDOM, {}).get(seed, ()))
  ]
  return ([a for a, _ in both], [b for _, b in both]) if both else None
