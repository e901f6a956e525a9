"""The same run with several seeds: mean and standard deviation."""

import copy
import json
import logging
import pathlib
import statistics
from collections.abc import Callable

from ml_collections import ConfigDict

from splitner_jax.evaluation import tables
from splitner_jax.experiment import report
from splitner_jax.experiment.run_folder import locked
from splitner_jax.experiment.settings import as_json, parse_seeds
from splitner_jax.runtime import buckets, processes
from splitner_jax.runtime.files import atomic_write
from splitner_jax.runtime.json_text import parse
from splitner_jax.runtime.types import Json

log = logging.getLogger(__name__)

RunOne = Callable[[ConfigDict, pathlib.Path], Json]


def run(
  config: ConfigDict,
  workdir: pathlib.Path,
  content_hash: str,
  sources: Json,
  run_one: RunOne,
  mirror: buckets.Mirror = buckets.DISK,
) -> Json:
  """Runs each seed in WORKDIR/seed-N, or goes on where it was cut off.

  Args:
    config: with `seeds`.
    workdir: gets the summary as report.json and report.md.
    content_hash: of the corpus.
    sources: see `Experiment`; those of all seeds.
    run_one: the run of one seed.
    mirror: of the workdir.

  Returns:
    What stands in WORKDIR/report.json; see `summary`.
  """
  with locked(config, workdir, content_hash, sources, mirror):
    results = []
    for seed in parse_seeds(config.seeds):
      one = copy.deepcopy(config)
      one.seed, one.seeds = seed, ""
      folder = workdir / f"seed-{seed}"
      done = _finished(one, folder, content_hash, mirror)
      log.info("seed %d%s", seed, ": done" if done else "")
      results.append(done or run_one(one, folder))
    result = summary(config, results)

    def write() -> None:
      atomic_write(workdir / "report.md", [markdown(result)])
      text = json.dumps(result, indent=2) + "\n"
      atomic_write(workdir / "report.json", [text])
      mirror.send()
      place = mirror.place(workdir / "report.md")
      print(f"\n{table(result)}\n\nreport: {place}")

    processes.by_first(write)
  return result


def _finished(
  config: ConfigDict,
  folder: pathlib.Path,
  content_hash: str,
  mirror: buckets.Mirror,
) -> dict | None:
  """The report of a run that need not be repeated."""
  try:
    data = mirror.read(folder / "report.json")
  except OSError:
    return None
  if data is None or not mirror.has(folder / "model" / "config.json"):
    return None
  try:
    found = parse(data)
    whole = (
      found["corpus"]["content_hash"] == content_hash
      and found["config"] == as_json(config)
      and report.ROWS.keys() & found["dev"].keys()
    )
    return found if whole else None
  except (ValueError, KeyError, TypeError):
    return None


def mean_and_deviation(values: list[float]) -> tuple[float, float | None]:
  """The mean, and from two values on the sample standard deviation."""
  deviation = statistics.stdev(values) if len(values) > 1 else None
  return statistics.fmean(values), deviation


def summary(config: ConfigDict, results: list[Json]) -> dict:
  """Of each score of each split, `mean`, `deviation` and `values`.

  Args:
    config: with `seeds`.
    results: a report of each seed.
  """
  scores: Json = {}
  for split in report.SPLITS:
    for key in report.ROWS:
      rows = [r[split][key] for r in results if key in r.get(split, {})]
      if not rows:
        continue
      for measure in ("precision", "recall", "f1"):
        values = [row[measure] for row in rows]
        mean, deviation = mean_and_deviation(values)
        scores.setdefault(split, {}).setdefault(key, {})[measure] = {
          "mean": mean,
          "deviation": deviation,
          "values": values,
        }
  return {
    "config": as_json(config),
    "corpus": results[0]["corpus"],
    "seeds": parse_seeds(config.seeds),
    **scores,
  }


def table(result: Json) -> str:
  """Mean and standard deviation of each score, Markdown."""
  title = report.title(result["config"])
  rows = [["", "split", "precision", "recall", "F1"]]
  for key, name in report.ROWS.items():
    for split in report.SPLITS:
      if key in result.get(split, {}):
        figures = [
          _show(result[split][key][m]) for m in ("precision", "recall", "f1")
        ]
        rows.append([name.format(title), split, *figures])
  return tables.markdown_table(rows, left=2)


def _show(figure: Json) -> str:
  if figure["deviation"] is None:
    return f"{figure['mean']:.2f}"
  return f"{figure['mean']:.2f} ± {figure['deviation']:.2f}"


def markdown(result: Json) -> str:
  """The whole report.md."""
  corpus, config = result["corpus"], result["config"]
  seeds = ", ".join(map(str, result["seeds"]))
  parts = [
    f"# {report.title(config)} on {corpus['name']}, seeds {seeds}",
    f"Backbone {config['backbone']}; content {corpus['content_hash']}; mean "
    "and sample standard deviation over the seeds. Each seed has its own "
    "report in its folder.",
    table(result),
  ]
  return "\n\n".join(parts) + "\n"
