"""What is said of several systems beside each other."""

import statistics
from collections.abc import Callable
from typing import Any

from splitner_jax.evaluation import metrics
from splitner_jax.evaluation.significance import (
  SAMPLES,
  is_significant,
  p_value,
  unpack,
)
from splitner_jax.evaluation.tables import markdown_table
from splitner_jax.reproduce.figures import (
  DETECTION,
  DEV,
  HONEST,
  ON_GOLD,
  Reports,
)
from splitner_jax.reproduce.runs import RUNS, Budget


def _is_single(name: str) -> bool:
  return "single" in RUNS[name].variant


def verdict(found: dict[str, Reports], budget: Budget) -> list[str]:
  """Which kind of system wins over all sentences, first of all."""
  del budget
  groups: dict[bool, dict[str, Reports]] = {False: {}, True: {}}
  for name, rows in found.items():
    if rows:
      groups["data.limit" in RUNS[name].fields][name] = rows
  sentences = (
    _winner("Over all sentences", groups[False]),
    _winner("Trained on 500 sentences", groups[True]),
  )
  return [sentence for sentence in sentences if sentence]


def _winner(where: str, found: dict[str, Reports]) -> str:
  """One of each kind beside each other; "" if there are not both."""

  def best(single: bool, by: dict[str, float]) -> str | None:
    names = (name for name in found if _is_single(name) == single)
    return max(names, key=by.__getitem__, default=None)

  means, on_dev = (
    {name: statistics.fmean(map(c.figure, r)) for name, r in found.items()}
    for c in (HONEST, DEV)
  )
  # If the choice favours anyone, then not us.
  one, two = best(True, means), best(False, on_dev)
  if one is None or two is None:
    return ""
  seeds = "the pooled seeds"
  both = _of_same_seeds(found[one], found[two])
  if 0 < len(both[0]) < max(len(found[one]), len(found[two])):
    # Else one would be ahead by its seeds.
    found = {one: both[0], two: both[1]}
    means = {x: statistics.fmean(map(HONEST.figure, found[x])) for x in found}
    seeds = f"the seeds that both have ({_seeds(both[0])})"
  difference = metrics.paired_bootstrap(
    _pooled(found[one]), _pooled(found[two]), SAMPLES
  )
  low, high = difference["interval"]
  wins = means[one] > means[two]
  chance = "" if is_significant(difference) else ", which may be chance"
  return (
    f"**{where} a {'single-step' if wins else 'two-step'} system "
    f"{'is ahead' if chance else 'wins'} here{chance}: "
    f"{RUNS[one if wins else two].title}, {means[one if wins else two]:.2f} "
    f"against {means[two if wins else one]:.2f} of "
    f"{RUNS[two if wins else one].title}.** Of the two-step systems it is the "
    "best on dev, of the single-step ones the best on test itself. Two steps "
    f"less one step, over {seeds}: "
    f"{difference['difference']:+.2f}, 95 % interval of a paired bootstrap "
    f"{low:+.2f} to {high:+.2f}, {p_value(difference)}."
  )


def _of_same_seeds(a: Reports, b: Reports) -> tuple[Reports, Reports]:
  """The reports of the seeds that both have, in the same order."""
  each = [{r["config"]["seed"]: r for r in reports_} for reports_ in (a, b)]
  seeds = sorted(each[0].keys() & each[1].keys())
  return [each[0][s] for s in seeds], [each[1][s] for s in seeds]


def _seeds(found: Reports) -> str:
  return ", ".join(str(report["config"]["seed"]) for report in found)


def _pooled(found: Reports) -> Any:
  """Counts of each sentence, added over the seeds."""
  return sum(unpack(report["test"]["per_sentence"]) for report in found)


def differences_to(
  base: str,
) -> Callable[[dict[str, Reports], Budget], list[str]]:
  """Each row less the one of this name, over the seeds that both have."""

  def section(found: dict[str, Reports], budget: Budget) -> list[str]:
    del budget
    rows = [["", "seeds", DEV.title, HONEST.title, "95 % interval"]]
    for name, reports_ in found.items():
      less, own = _of_same_seeds(found[base], reports_)
      if name != base and own:
        rows.append([RUNS[name].title, _seeds(own), *_difference(less, own)])
    if len(rows) == 1:
      return []
    return [
      f"## Differences to {RUNS[base].title}",
      markdown_table(rows, left=2),
      "Of the same seeds; the interval is of the difference on test, of a "
      "paired bootstrap of the sentences over the pooled seeds; what other "
      "seeds would change is not in it.",
    ]

  return section


def _difference(less: Reports, own: Reports) -> list[str]:
  """On dev, on test, and the interval of that on test."""
  dev, test = (
    statistics.fmean(map(c.figure, own)) - statistics.fmean(map(c.figure, less))
    for c in (DEV, HONEST)
  )
  low, high = metrics.paired_bootstrap(_pooled(less), _pooled(own), SAMPLES)[
    "interval"
  ]
  return [f"{dev:+.2f}", f"{test:+.2f}", f"{low:+.2f} to {high:+.2f}"]


def where_points_are_lost(
  found: dict[str, Reports], budget: Budget
) -> list[str]:
  """What each step costs, and which mentions are not found."""
  del budget
  parts = ["## Where the points are lost"]
  head = [
    "",
    "all sentences",
    "predicted spans, gold types",
    "gold spans, predicted types",
  ]
  columns = (HONEST, DETECTION, ON_GOLD)
  rows = [head]
  for name, reports_ in found.items():
    if reports_:
      rows.append([RUNS[name].title, *(c.of(reports_) for c in columns)])
  parts.append(markdown_table(rows, left=1))
  for key, title in (("by_words", "words"), ("by_seen", "seen in train")):
    groups = next(
      list(r[0]["test"]["errors"]["recall"][key]) for r in found.values() if r
    )
    rows = [[f"recall by {title}: found (type right too)", *groups]]
    for name, reports_ in found.items():
      if reports_:
        cells = [_recall(reports_, key, group) for group in groups]
        rows.append([RUNS[name].title, *cells])
    parts.append(markdown_table(rows, left=1))
  return parts


def _recall(found: Reports, key: str, group: str) -> str:
  rows = [r["test"]["errors"]["recall"][key][group] for r in found]
  gold, detected, correct = (
    sum(row[k] for row in rows) for k in ("gold", "detected", "correct")
  )
  if not gold:
    return "-"
  return f"{100 * detected / gold:.1f} ({100 * correct / gold:.1f})"
