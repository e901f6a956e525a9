"""Compiles for a TPU that is not there, and says what it would do:

splitner compile_for --config=configs/wnut17.py --topology=v5e:2x4
splitner compile_for --config=configs/wnut17.py --topology=v5e:1x1 \\
  --config.backbone=random:bert-base --largest --json=compiled.json

For each program of training and tagging: whether it fits into a chip's memory,
operations, bytes, collectives, and the least time that they take (a roofline),
with its arithmetic. It needs `launch/setup.sh --tpu`. A program of BERT-base
compiles in some minutes; no weights are needed with `random:` and one of the
sizes that `splitner benchmark` knows.
"""

import json
import logging
import os
import pathlib
import re
import shlex
import sys
import tempfile

from absl import flags
from ml_collections import ConfigDict, config_flags

from splitner_jax.commands import cli
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.json_text import parse
from splitner_jax.runtime.types import Json

_PROGRAMS = ("training", "tagging")


def define_flags() -> None:
  config_flags.DEFINE_config_file("config", None, "as for training")
  flags.DEFINE_string("topology", None, "v5e or v6e, and rows x columns")
  flags.DEFINE_list("programs", "training,tagging", "one of them, or both")
  flags.DEFINE_list("tasks", "", "some of the system's; all if not given")
  flags.DEFINE_boolean(
    "largest", False, "also look for the largest batch of training that fits"
  )
  flags.DEFINE_string("json", None, "file for the same to compute with")
  flags.DEFINE_string(
    "page",
    None,
    "PAGE.md, of all that was given it so far, which is kept as JSON in PAGE/, "
    "and of PAGE/notes.md",
  )


def check_flags() -> None:
  cli.check_config(flags.FLAGS.config)
  if not flags.FLAGS.topology:
    raise UserError("--topology is missing; try --topology=v5e:2x4")
  for name in flags.FLAGS.programs:
    if name not in _PROGRAMS:
      raise UserError(f"--programs: {name!r} is none of training, tagging")


def _report(path: pathlib.Path) -> Json:
  try:
    return parse(path.read_bytes())
  except ValueError as e:
    raise UserError(f"{path}: not JSON ({e}); remove it") from None


def main(argv: list[str]) -> None:
  del argv
  # What is compiled for is not this machine.
  os.environ["JAX_PLATFORMS"] = "cpu"
  from splitner_jax.runtime.files import atomic_write, make_folder
  from splitner_jax.runtime.progress import start_log
  from splitner_jax.throughput import compiled_page

  start_log()
  logging.getLogger("splitner_jax.experiment").setLevel(logging.ERROR)
  values = flags.FLAGS
  try:
    with tempfile.TemporaryDirectory() as folder:
      report = compiled_page.report(
        ConfigDict(values.config),
        values.topology,
        pathlib.Path(folder),
        command=shlex.join(["splitner", "compile_for", *sys.argv[1:]]),
        programs=tuple(values.programs),
        tasks=tuple(values.tasks),
        largest=values.largest,
      )
    print(compiled_page.text(report))
    as_json = json.dumps(report, indent=2) + "\n"
    if values.json:
      atomic_write(pathlib.Path(values.json), [as_json])
    if values.page:
      page = pathlib.Path(values.page)
      folder_of_page = page.with_suffix("")
      make_folder(folder_of_page)
      name = re.sub(r"\W+", "-", f"{report['backbone']} {values.topology}")
      atomic_write(folder_of_page / f"{name}.json", [as_json])
      known = sorted(folder_of_page.glob("*.json"))
      reports = [_report(path) for path in known]
      notes = folder_of_page / "notes.md"
      text = notes.read_text("utf-8") if notes.is_file() else ""
      atomic_write(page, [compiled_page.page(reports, text)])
  except UserError as e:
    cli.fail(str(e))
