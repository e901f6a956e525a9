"""Families of backbones beside each other: parity, cost, and F1 where it is.

launch/reproduce.sh backbones

Each kind of machine on which it was called has its table on the page.
"""

import json
import logging
import pathlib
import re
import statistics
from collections.abc import Iterator
from typing import NamedTuple

import jax
import numpy as np
import tqdm

from splitner_jax.evaluation.tables import markdown_table
from splitner_jax.experiment import default_config
from splitner_jax.experiment.report import machine
from splitner_jax.experiment.task_specs import TaskSpec, prepare
from splitner_jax.inference.forward import Forward
from splitner_jax.models.shapes import parameter_shapes
from splitner_jax.reproduce.imbalance import known
from splitner_jax.runtime import devices
from splitner_jax.runtime.files import atomic_write
from splitner_jax.runtime.types import Json
from splitner_jax.throughput import weights, workloads
from splitner_jax.throughput.backbones import PREFIX, SIZES
from splitner_jax.throughput.compiled import Compiled, MeasuredPrograms
from splitner_jax.throughput.sides import Side
from splitner_jax.throughput.training import Training
from splitner_jax.throughput.turns import take_turns

log = logging.getLogger(__name__)

BASE = "bert-base"
PUBLISHED = {
  BASE: "bert-base-uncased",
  "roberta-base": "roberta-base",
  "electra-base": "google/electra-base-discriminator",
  "modernbert-base": "answerdotai/ModernBERT-base",
  "t5-base": "google-t5/t5-base",
}
"""One of base size of each family, by its name in `SIZES`; its hub id."""
MEASURED = (*PUBLISHED, "minilm")
PHASES = ("train", "inference")
_SENTENCES = {"cpu": 4}
_OTHER_SENTENCES = 32
_SECONDS = 10.0


class _Sides(NamedTuple):
  """A tagger on one backbone: steps, and passes over some sentences."""

  part: TaskSpec
  training: Training
  sides: dict[str, Side]


def run(results: pathlib.Path, workdir: pathlib.Path) -> pathlib.Path:
  """Measures what is not measured on a machine like this; writes the page.

  Args:
    results: gets backbones.md, and runs/backbones/MACHINE.json.
    workdir: for folders of backbones without weights.

  Raises:
    UserError: for anything that the user can mend.
  """
  backend = jax.default_backend()
  settings: Json = {
    "machine": machine(),
    "dtype": devices.compute_dtype("auto"),
    "sentences": _SENTENCES.get(backend, _OTHER_SENTENCES),
    "tokens": workloads.Point().tokens,
  }
  kind = re.sub(r"\W+", "-", jax.devices()[0].device_kind.lower())
  path = results / "runs" / "backbones" / f"{kind}.json"
  path.parent.mkdir(parents=True, exist_ok=True)
  report = known(path, settings) or {"settings": settings, "backbones": {}}
  missing = [name for name in MEASURED if name not in report["backbones"]]
  page = results / "backbones.md"
  base = None
  for name in tqdm.tqdm(missing, desc="backbones", unit="backbone"):
    log.info("backbones: %s", name)
    base = base or _sides(BASE, settings["sentences"], workdir)
    other = base
    if name != BASE:
      other = _sides(name, settings["sentences"], workdir)
    report["backbones"][name] = _measure(base, other)
    if name != BASE:
      other.training.close()
    atomic_write(path, [json.dumps(report, indent=2), "\n"])
    atomic_write(page, [_page(results)])
  if base:
    base.training.close()
  atomic_write(page, [_page(results)])
  return page


def _sides(name: str, count: int, workdir: pathlib.Path) -> _Sides:
  """Compiles a tagger on a backbone of so many sentences a batch."""
  config = default_config.get_config()
  config.system = "single_seqtag"
  config.tagger.features = "none"
  config.batch_size = config.inference_batch_size = count
  config.backbone = PREFIX + name
  workload = workloads.made_up(
    config, workloads.Point(), workdir / "backbones" / name
  )
  experiment = prepare(workload.config, workload.corpus)
  [(task, part)] = experiment.parts.items()
  training = Training(part, workload.corpus.train)
  compiled = Compiled()
  forward = Forward(
    MeasuredPrograms(part.task, count, compiled),
    weights.parameters(part.task),
  )
  examples = experiment.kind.encode(
    {task: part.task}, workload.corpus.test[:count]
  )
  forward(examples)
  tagging = Side(
    lambda: forward(examples),
    tokens=float(examples.lengths.sum()),
    compiled=compiled,
  )
  return _Sides(
    part, training, {"train": training.side(), "inference": tagging}
  )


def _measure(base: _Sides, other: _Sides) -> Json:
  """A backbone's figures, taken in turns with those of BERT of base size."""
  shapes = parameter_shapes(other.part.task.model)
  row: Json = {
    "family": other.part.backbone.family.name,
    "parameters": sum(
      int(np.prod(shape))
      for name, shape in shapes.items()
      if name.startswith("encoder/")
    ),
    "layers": other.part.backbone.encoder.num_layers,
  }
  for phase in PHASES:
    sides = {"base": base.sides[phase], "other": other.sides[phase]}
    acts = {name: side.act for name, side in sides.items()}
    if base is other:
      del acts["base"]
    taken = take_turns(acts, _SECONDS)
    speeds = {
      name: sides[name].tokens
      / (statistics.median(seconds) * sides[name].turns_a_pass)
      for name, seconds in taken.items()
    }
    compiled = sides["other"].compiled
    row[phase] = {
      "tokens_per_s": speeds["other"],
      "of_base": speeds["other"] / speeds.get("base", speeds["other"]),
      "peak_bytes": compiled.peak_bytes if compiled else 0,
    }
  return row


def _page(results: pathlib.Path) -> str:
  parts = [
    "# Backbones: what each family costs",
    "The five families read the same packed rows and are chosen by "
    "`config.backbone` alone. Which one is best cannot be said here: their "
    "weights could not be had, and only a small BERT's were.",
    "## Parity",
    "Random encoders of transformers and ours with their weights: all hidden "
    "states, and all gradients, within 1e-5, with each sequence in a row of "
    "its own and with all of them packed into one; after three steps of "
    "training too; and written as a folder that transformers reads back.",
    markdown_table(list(_parity()), left=2),
    "## Cost",
    *_costs(results),
    "A tagger without features on random weights of the published sizes, "
    f"made-up sentences of {workloads.Point().tokens} tokens of the same "
    "vocabulary. *Of BERT's* is the speed beside BERT of base size, the two "
    "taking turns; above 1 is faster. Memory is what the compiler says of the "
    "largest program: of training with parameters, gradients and the state of "
    "the optimizer, of tagging with parameters.",
    "## F1",
    markdown_table(list(_scores(results)), left=1),
    "Mentions of WNUT17, all test sentences, mean of the seeds. A command of "
    "the table makes a page of that backbone's F1 where its weights can be "
    "downloaded; they could not be here.",
    "## How it was made",
    "`launch/reproduce.sh backbones`, on each of the machines.",
  ]
  return "\n\n".join(parts) + "\n"


def _parity() -> Iterator[list[str]]:
  yield ["family", "held by", "of published weights"]
  for name in PUBLISHED:
    family = SIZES[name]["model_type"]
    yield [
      family,
      f"`tests/parity_torch_test.py -k {family}`",
      "MiniLM (`test_minilm`)" if name == BASE else "not run",
    ]


def _costs(results: pathlib.Path) -> Iterator[str]:
  """A table for each machine."""
  head = ["backbone", "layers", "parameters"]
  for phase in ("training", "tagging"):
    head += [f"{phase}, tokens/s", "of BERT's", "memory"]
  for path in sorted((results / "runs" / "backbones").glob("*.json")):
    report = json.loads(path.read_bytes())
    settings, rows = report["settings"], [head]
    for name, row in report["backbones"].items():
      cells = [name, f"{row['layers']}", f"{row['parameters'] / 1e6:.0f} M"]
      for phase in PHASES:
        found = row[phase]
        cells += [
          f"{found['tokens_per_s']:,.0f}",
          f"{found['of_base']:.2f}",
          f"{found['peak_bytes'] / 2**30:.2f} GiB",
        ]
      rows.append(cells)
    yield (
      f"{settings['machine']}, {settings['dtype']}, "
      f"{settings['sentences']} sentences a batch:"
    )
    yield markdown_table(rows, left=1)


def _scores(results: pathlib.Path) -> Iterator[list[str]]:
  yield ["backbone", "SplitNER", "Single(SeqTag)"]
  yield ["minilm", *(_f1(results, run) for run in ("qa_qa", "single_seqtag"))]
  for name in PUBLISHED.values():
    short = name.split("/")[-1]
    command = (
      f"launch/reproduce.sh table2 wnut17 --backbone={name} "
      f"--results=results/{short} --work=runs/{short}"
    )
    yield [f"`{command}`", "not run", "not run"]


def _f1(results: pathlib.Path, run: str) -> str:
  paths = (results / "runs" / "wnut17" / run).glob("seed-*/report.json")
  found = [
    json.loads(path.read_bytes())["test"]["all_sentences"]["f1"]
    for path in paths
  ]
  return f"{statistics.fmean(found):.2f}" if found else "not run"
