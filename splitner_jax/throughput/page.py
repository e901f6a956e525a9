"""The page of a benchmark: which system is faster, why, and when."""

from collections.abc import Mapping, Sequence

from splitner_jax.evaluation.tables import markdown_table
from splitner_jax.runtime.types import Json
from splitner_jax.throughput import plots

_TERMS = {
  "ratio": "SplitNER's sentences/s over the system's; in parentheses the "
  "quartiles over turns; by length, types or mentions that of the medians",
  "token ratio": "the other's tokens for the same sentences over SplitNER's: "
  "what the ratio would be if every token cost the same",
  "reached": "the ratio's share of the token ratio; above 100 % a token of "
  "SplitNER's costs less than one of the other's",
  "weighted token ratio": "the token ratio, with tokens weighted by the "
  "measured cost of the features",
  "paper's ratio": "from the times in the paper's Table 3 for this corpus",
  "sentences/s": "the median over turns, which the systems take in rotation: "
  "what slows the machine slows all of them; in parentheses the quartiles",
  "tokens/s": "tokens that the encoder reads, those of questions too, as in "
  "*tokens a sentence*",
  "padding": "share of the encoder's input that is no token",
  "programs": "shapes of input that were compiled, in the seconds of *compile*",
  "peak MB": "most memory in use, in millions of bytes",
  "GFLOP/s": "10⁹ floating-point operations a second that the encoder needs, "
  "padding not counted",
  "MFU": "these operations over those of the machine's measured matrix "
  "product in the same dtype",
  "callers": "they ask at the same time, each for one text after the other; "
  "p50, p95 and p99 are percentiles of the time that an answer takes",
  "part of a step": "milliseconds; in parentheses the share of the step, from "
  "the operations' time in a profile of the compiled step",
  "µs a sentence token": "a sentence's time over its tokens, each counted "
  "once, however often the encoder reads it",
  "relative cost": "microseconds a sentence token over the system's own at "
  "100 tokens a sentence or, where it has none there and on other axes, at "
  "its first point",
  "relative FLOPs": "the same of the model FLOPs a sentence token",
}
"""What is said of each column, where the page has it."""

_WORKLOAD = {
  "train_sentences": "{:,} sentences in training",
  "inference_sentences": "{:,} in inference",
  "types": "{} entity types",
  "tokens_per_sentence": "{:.1f} tokens a sentence",
  "mentions_per_100_tokens": "{:.1f} mentions per 100 tokens",
  "backbone": "backbone {}",
}
_BASE = {
  "tokens": "{:g} tokens a sentence",
  "types": "{:g} entity types",
  "mentions": "{:g} mentions per 100 tokens",
}
_USUAL_TOKENS = 100


def markdown(
  report: Json, paper: Mapping[str, Mapping[str, float]] = {}
) -> str:
  """The whole page, with what was measured alone.

  Args:
    report: what stands in `benchmark.json`.
    paper: the paper's ratios on this corpus, by phase and system.
  """
  table = ", as in the paper's Table 3" if paper else ""
  parts = [f"# Throughput on {report['workload']['name']}{table}"]
  parts += _ratios(report, paper)
  for phase, title in plots.PHASES.items():
    parts += _section(title, _systems(report, phase))
  parts += _section("Latency", _latency(report))
  parts += _section("Parts of a training step", _step_parts(report))
  parts += _grid(report)
  left_out = [f"- {what}" for what in report.get("left_out", [])]
  parts += _section("What was left out", "\n".join(left_out))
  parts += [*_origin(report), _terms(parts)]
  return "\n\n".join(filter(None, parts)) + "\n"


def _section(title: str, text: str) -> list[str]:
  """A heading and what stands under it, if there is anything."""
  return [f"## {title}", text] if text else []


def _table(rows: Sequence[Mapping[str, str]], left: int) -> str:
  """A table without the columns that are empty; "" without rows.

  Args:
    rows: the cells by the titles of their columns, "" where nothing was
      measured; all have the same titles.
    left: as in `markdown_table`.
  """
  if not rows:
    return ""
  heads = [head for head in rows[0] if any(row[head] for row in rows)]
  cells = [[row[head] or "-" for head in heads] for row in rows]
  return markdown_table([heads, *cells], left)


def _ratios(
  report: Json, paper: Mapping[str, Mapping[str, float]]
) -> list[str]:
  """What to read first, if there is anything to compare SplitNER with."""

  def figures(key: str, phase: str) -> Json:
    return report.get(key, {}).get(phase, {})

  rows = []
  for phase, title in plots.PHASES.items():
    for system, ratio in figures("ratios", phase).items():
      ceiling = figures("token_ratios", phase).get(system)
      weighted = figures("weighted_token_ratios", phase).get(system)
      quartiles = figures("ratio_quartiles", phase).get(system)
      published = paper.get(phase, {}).get(system)
      rows.append(
        {
          "phase": title.lower(),
          "against": plots.name_of(system),
          "ratio": _with_quartiles(ratio, quartiles),
          "token ratio": _short(ceiling),
          "reached": _percent(ceiling and ratio / ceiling),
          "weighted token ratio": _short(weighted),
          "paper's ratio": _short(published),
        }
      )
  if not rows:
    return []
  return [
    "Read the ratios, in which SplitNER is 1: above 1 it is so many times as "
    "fast as the other, below 1 slower; speeds are of this machine alone.",
    _table(rows, left=2),
  ]


def _systems(report: Json, phase: str) -> str:
  """The systems' table of a phase."""
  rows = []
  for system, phases in report.get("systems", {}).items():
    if phase not in phases:
      continue
    figures = phases[phase]
    rows.append(
      {
        "system": plots.name_of(system),
        "sentences/s": _rate(figures),
        "tokens/s": _short(figures.get("tokens_per_s")),
        "tokens a sentence": _short(figures.get("tokens_per_sentence")),
        "padding": _percent(figures.get("padding")),
        "programs": _whole(figures.get("programs")),
        "compile s": _short(figures.get("compile_s")),
        "peak MB": _whole(figures.get("peak_bytes"), 1e6),
        "GFLOP/s": _short(figures.get("flops_per_s"), 1e9),
        "MFU": _percent(figures.get("mfu")),
        "turns": _whole(figures.get("turns")),
      }
    )
  return _table(rows, left=1)


def _latency(report: Json) -> str:
  rows = []
  for system, phases in report.get("systems", {}).items():
    latency = phases.get("latency", {})
    for callers in sorted(latency, key=int):
      figures = latency[callers]
      times = {
        f"{p} ms": _short(figures.get(f"{p}_ms")) for p in ("p50", "p95", "p99")
      }
      rows.append(
        {
          "system": plots.name_of(system),
          "callers": callers,
          **times,
          "texts/s": _short(figures.get("texts_per_s")),
        }
      )
  return _table(rows, left=1)


def _step_parts(report: Json) -> str:
  """A column for each task of each system."""
  steps = {
    f"{plots.name_of(system)}, {task}": step
    for system, tasks in report.get("parts", {}).items()
    for task, step in tasks.items()
  }
  names = dict.fromkeys(
    part for step in steps.values() for part in step["parts"]
  )
  rows = []
  # What has no name of its own comes last.
  for name in sorted(names, key="other".__eq__):
    row = {"part of a step": name}
    for title, step in steps.items():
      seconds = step["parts"].get(name)
      row[title] = ""
      if seconds is not None:
        share = _percent(seconds / step["step_s"])
        row[title] = f"{_short(seconds, 1e-3)} ({share})"
    rows.append(row)
  if rows:
    whole = {t: _short(step["step_s"], 1e-3) for t, step in steps.items()}
    rows.append({"part of a step": "whole step", **whole})
  return _table(rows, left=1)


def _grid(report: Json) -> list[str]:
  """A section for each axis, with its picture and a table for each phase."""
  parts = []
  for axis, phases in plots.measured(report).items():
    title, label, *_ = plots.AXES[axis]
    parts += [f"## {title}", f"![{title}]({plots.picture_name(axis)})"]
    base = report["grid"].get("base", {})
    kept = {key: base[key] for key in base if key != axis}
    if fixed := _listed(kept, _BASE):
      parts.append(f"All else stays: {fixed}.")
    for phase, lines in phases.items():
      parts += [f"### {plots.PHASES[phase]}", _grid_table(axis, label, lines)]
  return parts


def _grid_table(
  axis: str, label: str, lines: Mapping[str, Sequence[plots.Point]]
) -> str:
  rates = {
    point.value: point.figures["sentences_per_s"]
    for point in lines.get("splitner", [])
  }
  rows = []
  for system, points in lines.items():
    usual = (p for p in points if (axis, p.value) == ("tokens", _USUAL_TOKENS))
    first = next(usual, points[0])
    least = first.figures.get("flops_per_token")
    for point in points:
      figures = point.figures
      ratio = rates.get(point.value, 0.0) / figures["sentences_per_s"]
      flops = figures.get("flops_per_token")
      rows.append(
        {
          "system": plots.name_of(system),
          label: f"{point.value:g}",
          "sentences/s": _rate(figures),
          "ratio": _short(ratio or None),
          "µs a sentence token": _short(point.microseconds()),
          "relative cost": _short(point.microseconds() / first.microseconds()),
          "relative FLOPs": _short(flops and least and flops / least),
        }
      )
  return _table(rows, left=1)


def _origin(report: Json) -> list[str]:
  """How the figures came about."""
  workload, machine = report["workload"], report["machine"]
  sentences = [
    f"splitner_jax {report['version']} on {workload['name']}: "
    f"{_listed(workload, _WORKLOAD)}.",
    f"Machine: {machine['name']}, computing in {machine['dtype']}.",
  ]
  if "matmul_flops_per_s" in machine:
    product = _short(machine["matmul_flops_per_s"], 1e9)
    sentences.append(
      f"Its matrix product, the best in turns with the rest: {product} GFLOP/s."
    )
  if "process_peak_bytes" in machine:
    peak = _whole(machine["process_peak_bytes"], 1e6)
    sentences.append(f"Most memory of the process: {peak} MB.")
  return [
    "## How it was made",
    f"```\n{report['command']}\n```",
    " ".join(sentences),
  ]


def _terms(parts: Sequence[str]) -> str:
  """What the columns of these parts' tables mean."""
  lines = [part.partition("\n")[0] for part in parts]
  heads = {cell.strip() for line in lines for cell in line.split("|")}
  return "\n".join(
    f"- *{term}*: {meaning}."
    for term, meaning in _TERMS.items()
    if term in heads
  )


def _listed(figures: Json, texts: Mapping[str, str]) -> str:
  """The texts of the figures that there are, in a row."""
  found = [texts[key].format(figures[key]) for key in texts if key in figures]
  return ", ".join(found)


def _rate(figures: Json) -> str:
  """Sentences/s with their quartiles."""
  return _with_quartiles(figures["sentences_per_s"], figures.get("quartiles"))


def _with_quartiles(middle: float, quartiles: Sequence[float] | None) -> str:
  ends = " to ".join(map(_short, quartiles or []))
  return f"{_short(middle)} ({ends})" if ends else _short(middle)


def _short(figure: float | None, unit: float = 1.0) -> str:
  """To three digits or whole; "" if not measured."""
  if figure is None:
    return ""
  figure /= unit
  return f"{figure:,.{0 if figure >= 100 else 1 if figure >= 10 else 2}f}"


def _whole(figure: float | None, unit: float = 1.0) -> str:
  return "" if figure is None else f"{figure / unit:,.0f}"


def _percent(share: float | None) -> str:
  return "" if share is None else f"{100 * share:.1f} %"
