"""Measures systems beside each other and writes DIR/benchmark.json.

Keys of the file; what was not measured is absent:

  systems.NAME.{train,inference}: sentences_per_s, quartiles (of it, over turns
    taken in rotation), tokens_per_s (that the models read, questions included,
    padding not), tokens_per_sentence, padding, programs, compile_s, peak_bytes
    (of the largest program, by the compiler), flops_per_s, flops_per_token (of
    the sentences' own tokens), mfu, turns
  systems.NAME.latency.CALLERS: p50_ms, p95_ms, p99_ms, texts_per_s
  ratios, ratio_quartiles, token_ratios, weighted_token_ratios: .PHASE.NAME
  parts.NAME.TASK: step_s, parts
  grid.{tokens,types,mentions}: a list of value, systems; grid.base
  machine, workload, command, version, left_out
"""

import dataclasses
import json
import pathlib
import tempfile
from collections.abc import Iterator

import jax
from ml_collections import ConfigDict

import splitner_jax
from splitner_jax.experiment.report import machine
from splitner_jax.runtime import devices, memory
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.files import atomic_write, make_folder
from splitner_jax.runtime.progress import bar
from splitner_jax.runtime.types import Json
from splitner_jax.throughput import flops, page, paper, plots, workloads
from splitner_jax.throughput.measuring import (
  PHASES,
  SYSTEMS,
  Clock,
  Measuring,
  Settings,
)
from splitner_jax.throughput.workloads import Point


@dataclasses.dataclass(frozen=True)
class Options:
  """What to measure, how long, and where it goes.

  Attributes:
    output: folder of what is written.
    command: as the user gave it, for the page.
    settings: of each workload.
    axes: values of each field of `Point`, for made-up sentences.
    positions: see `backbones.sized`.
    minutes: after which nothing is begun; None: all is measured.
  """

  output: pathlib.Path
  command: str
  settings: Settings
  axes: dict[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
  positions: int | None = None
  minutes: float | None = None


def points(options: Options) -> Iterator[tuple[str, float, Point]]:
  """The axis, the value and the sentences of each point of the grid."""
  for axis, values in options.axes.items():
    for value in values:
      changed: Json = {axis: value}
      yield axis, value, Point()._replace(**changed)


def check(options: Options) -> None:
  """Raises UserError for options that have no meaning."""
  settings = options.settings
  for flag, given, known in (
    ("systems", settings.systems, SYSTEMS),
    ("phases", settings.phases, PHASES),
  ):
    for name in given:
      if name not in known:
        raise UserError(f"--{flag}: {name!r} is none of {', '.join(known)}")
    if not given:
      raise UserError(f"--{flag}: name some of {', '.join(known)}")
  for flag, number in (
    ("seconds", settings.seconds),
    ("budget", options.minutes),
    ("positions", options.positions),
  ):
    if number is not None and not number > 0:
      raise UserError(f"--{flag}: {number} is not above 0; raise it")
  for _, _, point in points(options):
    workloads.check(point)


def run(config: ConfigDict, options: Options) -> Json:
  """Measures, and writes benchmark.json, benchmark.md and pictures.

  They are written after each workload: a run that is stopped keeps what it has.

  Args:
    config: as for training; its system and variants apart.
    options: what to measure.

  Raises:
    UserError: for anything that the user can mend.
  """
  check(options)
  make_folder(options.output)
  clock = Clock(options.minutes)
  with tempfile.TemporaryDirectory() as place:
    folders = (pathlib.Path(place) / str(n) for n in range(10_000))
    # What is wrong with any of them is said before anything is measured.
    real = workloads.real(config, next(folders), options.positions)
    grid = [
      (
        axis,
        value,
        workloads.made_up(config, point, next(folders), options.positions),
      )
      for axis, value, point in points(options)
    ]
    dtype = devices.compute_dtype(config.compute_dtype)
    product = flops.MatrixProduct(dtype)
    report: Json = {
      "format": 1,
      "version": splitner_jax.__version__,
      "command": options.command,
      "machine": {
        "name": machine(),
        "backend": jax.default_backend(),
        "devices": devices.device_count(),
        "dtype": dtype,
      },
    }
    with bar(total=1 + len(grid), desc="benchmark", unit="workload") as shown:
      common = options.settings, clock, product, shown.set_postfix_str
      report |= Measuring(real, *common).run(closer=True)
      _write(report, clock, product, options.output)
      shown.update()
      for axis, value, workload in grid:
        found = Measuring(workload, *common).run(closer=False)
        if found["systems"]:
          rows = report.setdefault("grid", {"base": Point()._asdict()})
          row = {"value": value, "systems": found["systems"]}
          rows.setdefault(axis, []).append(row)
        _write(report, clock, product, options.output)
        shown.update()
  return report


def _write(
  report: Json,
  clock: Clock,
  product: flops.MatrixProduct,
  output: pathlib.Path,
) -> None:
  """What there is so far."""
  report["machine"]["matmul_flops_per_s"] = product.flops_per_s
  report["machine"]["process_peak_bytes"] = memory.peak_bytes()
  if clock.left_out:
    report["left_out"] = clock.left_out
  text = json.dumps(report, indent=2) + "\n"
  atomic_write(output / "benchmark.json", [text])
  plots.draw(report, output)
  ratios = paper.ratios(report["workload"]["name"])
  atomic_write(output / "benchmark.md", [page.markdown(report, ratios)])
