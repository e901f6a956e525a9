"""What `splitner compile_for` finds, as JSON and for readers.

Keys of the JSON:

  programs: a list of name, reads, tokens (of a batch, padding included), fits;
    if it fits: seconds (of compiling), flops, hbm_bytes (see `hlo`),
    accessed_bytes (the compiler's count), arguments, temporaries, code, needed
    (bytes of memory), collectives, roofline; else reason
  largest.TASK: batch_size, and all of a program
  chip: name, flops_per_s, memory_bytes, memory_bytes_per_s, link_bytes_per_s
  topology, chips, backbone, dtype, version, jax, libtpu, command
"""

import importlib.metadata
import pathlib
from collections.abc import Sequence

from ml_collections import ConfigDict

import splitner_jax
from splitner_jax.experiment import task_specs
from splitner_jax.runtime import devices, topologies
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.topologies import Slice
from splitner_jax.runtime.types import Json
from splitner_jax.throughput import ahead
from splitner_jax.throughput.backbones import sized

# What a page should have.
_BACKBONES = ("bert-base", "roberta-base", "bert-large", "modernbert-base")
_TOPOLOGIES = ("v5e:1x1", "v6e:1x1")
_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def report(
  config: ConfigDict,
  topology: str,
  folder: pathlib.Path,
  *,
  command: str = "",
  programs: Sequence[str] = ("training", "tagging"),
  tasks: Sequence[str] = (),
  largest: bool = False,
) -> Json:
  """Compiles the programs of a config for a TPU slice.

  Args:
    config: as for training.
    topology: see `topologies.describe`.
    folder: for a backbone by its sizes.
    command: as the user gave it.
    programs: `training`, `tagging` or both.
    tasks: of the system; empty: all.
    largest: whether to look for the largest batch of training that fits.

  Raises:
    UserError: for anything that the user can mend.
  """
  slice_ = topologies.describe(topology)
  name = config.backbone
  config.backbone = sized(name, None, folder)
  with devices.compiling_for(slice_.devices):
    experiment = task_specs.prepare(config)
    for task in tasks:
      if task not in experiment.parts:
        known = ", ".join(experiment.parts)
        raise UserError(f"--tasks: {task!r} is none of {known}")
    found: Json = {
      "format": 1,
      "version": splitner_jax.__version__,
      "jax": importlib.metadata.version("jax"),
      "libtpu": importlib.metadata.version("libtpu"),
      "command": command,
      "topology": topology,
      "chips": len(slice_.devices),
      "chip": slice_.chip._asdict(),
      "backbone": pathlib.PurePath(name).name,
      "dtype": devices.compute_dtype(config.compute_dtype),
      "programs": [],
      "largest": {},
    }
    for task, part in experiment.parts.items():
      if tasks and task not in tasks:
        continue
      step = None
      if "training" in programs:
        try:
          step = ahead.training(part, experiment)
          found["programs"].append(_fits(step, slice_))
        except ahead.TooLargeError as e:
          found["programs"].append(_too_large(f"{task} training", e))
      if largest:
        best = ahead.largest_batch(part, experiment, slice_, step)
        if best is not None:
          size, program = best
          found["largest"][task] = program.as_json(slice_)
          found["largest"][task]["batch_size"] = size
      if "tagging" in programs:
        try:
          for program in ahead.inference(part):
            found["programs"].append(_fits(program, slice_))
        except ahead.TooLargeError as e:
          found["programs"].append(_too_large(f"{task} tagging", e))
  return found


def _fits(program: ahead.Program, slice_: Slice) -> Json:
  return {"fits": True} | program.as_json(slice_)


def _too_large(name: str, error: ahead.TooLargeError) -> Json:
  return {"name": name, "fits": False, "reason": error.reason}


def text(found: Json) -> str:
  """The report for readers."""
  chip = found["chip"]
  lines = [
    f"{_name(found)}, {found['dtype']}, for {found['chips']} x "
    f"{chip['name']} ({found['topology']}), each with "
    f"{_bytes(chip['memory_bytes'])} of memory, "
    f"{_short(chip['flops_per_s'])}FLOP/s, "
    f"{_short(chip['memory_bytes_per_s'])}B/s to memory, "
    f"{_short(chip['link_bytes_per_s'])}B/s to other chips",
  ]
  for program in found["programs"]:
    lines += ["", *_program(program, chip)]
  for task, program in found["largest"].items():
    lines += [
      "",
      f"largest batch of {task} that fits: {program['batch_size']} examples",
      *_program({"fits": True} | program, chip),
    ]
  return "\n".join(lines)


def page(reports: Sequence[Json], notes: str = "") -> str:
  """A page of several reports, in their order.

  Args:
    reports: as of `report`.
    notes: what people have to add, in Markdown.
  """
  compilers = sorted({f"{r['libtpu']} with JAX {r['jax']}" for r in reports})
  lines = [
    "# Compiled for TPU, without one",
    "",
    "What the compiler for TPU says of the programs of this package; nothing",
    f"here has run on a TPU. It is libtpu {', '.join(compilers)};",
    "`launch/setup.sh --tpu` installs it.",
    "",
    "*At least* is a roofline: the largest of operations / operations a",
    "second, bytes through HBM / bytes a second, and bytes of collectives /",
    "bytes a second of the links, with the rates that Google publishes.",
    "Waiting is not in it, such as between the steps of an LSTM: it is a",
    "limit, not a forecast. Bytes are read off the compiled program",
    "(`throughput/hlo.py`).",
  ]
  training = [
    (found, program)
    for found in reports
    for program in found["programs"]
    if program["name"].endswith("training")
  ]
  if training:
    lines += ["", "## A training step, with the batch of the config", ""]
    lines += _rows(
      ("rows on all chips", "compiled in"),
      [
        (found, program, (program["reads"], f"{program['seconds']:.0f} s"))
        for found, program in training
        if program["fits"]
      ],
    )
    lines += [
      f"\n{_name(found)} on {found['topology']}: {program['name']} does "
      f"not fit ({program['reason']})."
      for found, program in training
      if not program["fits"]
    ]
  largest = [
    (found, program, (f"{program['batch_size']}", program["reads"]))
    for found in reports
    for program in found["largest"].values()
  ]
  if largest:
    lines += ["", "## The largest batch that was compiled and fits", ""]
    lines += _rows(("examples", "rows"), largest)
  wired = [(f, p) for f, p in training if p["fits"] and p["collectives"]]
  if wired:
    lines += ["", "## Collectives of a step", ""]
    lines += ["| backbone | slice | task | collectives |"]
    lines += ["| --- | --- | --- | --- |"]
    for found, program in wired:
      lines.append(
        f"| {_name(found)} | {found['topology']} | "
        f"{program['name'].split()[0]} | {_collectives(program['collectives'])}"
        " |"
      )
  tagging = [
    (found, program, (program["reads"], f"{program['seconds']:.0f} s"))
    for found in reports
    for program in found["programs"]
    if "tagging" in program["name"] and program["fits"]
  ]
  if tagging:
    lines += ["", "## Tagging", ""]
    lines += _rows(("rows on all chips", "compiled in"), tagging)
  lines += ["", "## Commands", "", "```sh"]
  lines += [found["command"] for found in reports]
  lines += ["```", "", *_not_run(reports)]
  if notes:
    lines += ["## Notes", "", notes.rstrip(), ""]
  return "\n".join(lines)


def _not_run(reports: Sequence[Json]) -> list[str]:
  """What belongs on the page and is not there, with its commands."""
  known = {(_name(found), found["topology"]) for found in reports}
  searched = {(_name(f), f["topology"]) for f in reports if f["largest"]}
  lines = ["## Not run", ""]
  for wanted, title in (
    (searched, "The largest batch was not looked for on"),
    (known, "Nothing was compiled for"),
  ):
    missing = [
      f"{backbone} on {topology}"
      for topology in _TOPOLOGIES
      for backbone in _BACKBONES
      if (backbone, topology) not in wanted
    ]
    if missing:
      lines += [f"{title}: {', '.join(missing)}.", ""]
  if len(lines) == 2:
    return []
  return [
    *lines,
    "```sh",
    "splitner compile_for --config=configs/demo.py --tasks=detector \\",
    "  --programs=training --config.backbone=random:BACKBONE \\",
    "  --topology=TOPOLOGY --largest --page=results/tpu-compiled.md",
    "```",
    "",
  ]


def _rows(
  more: Sequence[str], rows: Sequence[tuple[Json, Json, Sequence[str]]]
) -> list[str]:
  """A table of programs; `more` are the names of further columns."""
  columns = (
    *("backbone", "slice", "program", *more, "memory", "operations"),
    *("HBM traffic", "at least", "limit", "tokens/s at most"),
  )
  lines = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
  for found, program, values in rows:
    roofline = program["roofline"]
    cells = (
      _name(found),
      found["topology"],
      program["name"],
      *values,
      _bytes(program["needed"]),
      f"{_short(program['flops'])}FLOP",
      _bytes(program["hbm_bytes"]),
      _ms(roofline["seconds"]),
      roofline["limit"],
      _short(roofline["tokens_per_s"]).strip(),
    )
    lines.append(f"| {' | '.join(cells)} |")
  return lines


def _program(program: Json, chip: Json) -> list[str]:
  if not program["fits"]:
    return [f"{program['name']}: does not fit ({program['reason']})"]
  roofline = program["roofline"]
  tokens, each, most = program["tokens"], "", ""
  if tokens:
    each = f"{program['hbm_bytes'] / tokens / 1e3:.0f} kB a token; "
    most = f", at most {_short(roofline['tokens_per_s'])}tokens/s on all chips"
  parts = [
    f"  memory     {_bytes(program['needed'])} of "
    f"{_bytes(chip['memory_bytes'])}: arguments "
    f"{_bytes(program['arguments'])}, temporary "
    f"{_bytes(program['temporaries'])}, program {_bytes(program['code'])}",
    f"  compute    {_short(program['flops'])}FLOP / "
    f"{_short(chip['flops_per_s'])}FLOP/s = {_ms(roofline['compute'])}",
    f"  traffic    {_short(program['hbm_bytes'])}B / "
    f"{_short(chip['memory_bytes_per_s'])}B/s = {_ms(roofline['memory'])}"
    f" ({each}the compiler counts {_bytes(program['accessed_bytes'])}, fast "
    "memory included)",
    f"  links      {_collectives(program['collectives'])}: "
    f"{_ms(roofline['links'])}",
    f"  at least   {_ms(roofline['seconds'])} ({roofline['limit']}){most}",
  ]
  head = f"{program['name']}: fits; {program['reads']}; compiled in"
  return [f"{head} {program['seconds']:.0f} s", *parts]


def _collectives(found: Sequence[Json]) -> str:
  return (
    ", ".join(f"{c['kind']} of {_bytes(c['bytes'])}" for c in found) or "none"
  )


def _name(found: Json) -> str:
  return found["backbone"].removeprefix("random:")


def _short(value: float) -> str:
  for unit, letter in _UNITS:
    if value >= unit:
      return f"{value / unit:.3g} {letter}"
  return f"{value:.3g} "


def _bytes(value: float) -> str:
  return f"{_short(value)}B"


def _ms(seconds: float) -> str:
  return f"{1e3 * seconds:.3g} ms"
