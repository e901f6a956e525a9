"""The runs behind the tables: each made once, and never again once it is."""

import dataclasses
import importlib
import json
import logging
import os
import pathlib
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from splitner_jax.experiment import default_config
from splitner_jax.experiment.corpus import load_corpus
from splitner_jax.experiment.run_folder import locked
from splitner_jax.experiment.settings import as_json, flat, task_settings
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.files import atomic_write
from splitner_jax.tasks.systems import SYSTEMS

log = logging.getLogger(__name__)

_FAILED = "it failed, as its log tells"


@dataclasses.dataclass(frozen=True)
class Run:
  """A system or setting of a table.

  Attributes:
    title: what the tables call it.
    variant: what follows the colon of --config.
    fields: what it changes beside that.
    cost: about how long it takes beside others, to do the cheap ones first.
    seeds: at most so many of the seeds.
    why_not: why it cannot be run, or "".
  """

  title: str
  variant: str = ""
  fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  cost: float = 1.0
  seeds: int = 99
  why_not: str = ""


_SUBSET = {"data.limit": 500}
_SHARED = {
  "classifier.context": "shared",
  "classifier.positions": "question",
  "classifier.pooling": "cls",
}
_MENTION = {"classifier.pooling": "mention"}
_NONE_CLASS = {"classifier.none_class": True}
_TUNED = {"tune_decoding": True}


# By confusion on dev: two groups, and three.
_GROUPS = {
  "wnut17": (
    "corporation,product;creative-work,group,person,location",
    "corporation,product;creative-work,group,person;location",
  ),
  "bionlp13cg": tuple(
    f"Amino_acid,Simple_chemical,Gene_or_gene_product,Organism_substance,"
    f"Organism{cell};Anatomical_system,Multi-tissue_structure,"
    "Immaterial_anatomical_entity,Developing_anatomical_structure,"
    "Organism_subdivision,Organ,Tissue,Cellular_component,Cancer,"
    f"Pathological_formation{rest}"
    for cell, rest in ((",Cell", ""), ("", ";Cell"))
  ),
}


def _split(groups: str) -> str:
  """Groups of the types that `data.split_types` makes of their types."""
  return ";".join(
    ",".join(f"{label}-{i}" for label in group.split(",") for i in (1, 2, 3))
    for group in groups.split(";")
  )


RUNS: dict[str, Run] = {
  "qa_qa": Run("SplitNER(QA-QA)"),
  "no_char_pattern": Run("SplitNER(QA-NoCharPattern-QA)", "no_char_pattern"),
  "seqtag_qa": Run("SplitNER(SeqTag-QA)", "seqtag_qa"),
  "single_seqtag": Run("Single(SeqTag)", "single_seqtag"),
  "single_qa": Run("Single(QA)", "single_qa", cost=9.0, seeds=1),
  "qa_qa_500": Run(
    "SplitNER(QA-QA), 500 sentences", fields=_SUBSET, cost=0.3, seeds=1
  ),
  "single_qa_500": Run(
    "Single(QA), 500 sentences", "single_qa", _SUBSET, cost=8.0, seeds=1
  ),
  "char": Run("characters only", fields={"detector.features": "char"}),
  "pattern": Run("patterns only", fields={"detector.features": "pattern"}),
  "both_pos": Run(
    "characters, patterns, parts of speech",
    fields={"detector.features": "both+pos"},
    why_not="the data has no parts of speech",
  ),
  "dice": Run("dice", fields={"classifier.loss": "dice"}),
  "where": Run(
    "Where is the entity mentioned in the text ?",
    "no_char_pattern",
    {"detector.question": "Where is the entity mentioned in the text ?"},
  ),
  "find": Run(
    "Find named entities in the following text .",
    "no_char_pattern",
    {"detector.question": "Find named entities in the following text ."},
  ),
  "no_question": Run("(no question)", "no_char_pattern,seqtag_qa"),
  "own": Run("a context of its own", fields={"classifier.context": "own"}),
  "shared_cls": Run("shared: own [CLS]", fields=_SHARED, cost=0.5),
  "shared_positions": Run(
    "shared: own [CLS], the mention's positions",
    fields={**_SHARED, "classifier.positions": "sentence"},
    cost=0.5,
  ),
  "mention": Run("SplitNER, mention pooling", fields=_MENTION, cost=0.6),
  "tuned": Run("SplitNER, tuned decoding", fields=_TUNED, cost=0.3),
  **{
    f"{name}_{epochs}": Run(
      f"{title}, at most {epochs} epochs",
      variant,
      {**_TUNED, "epochs": epochs},
      cost=epochs / 6,
    )
    for name, title, variant in (
      ("tuned", "SplitNER", ""),
      ("single_seqtag_tuned", "Single(SeqTag)", "single_seqtag"),
    )
    for epochs in (6, 10)
  },
  **{
    name: Run(title, fields={**_TUNED, "detector.features": features})
    for name, title, features in (
      ("no_features", "none", "none"),
      ("shape", "characters, shape of the whole word", "char+shape"),
      ("affix", "both, prefixes and suffixes", "both+affix"),
      ("capitals", "both, capitals of the sentence", "both+capitals"),
      ("gazetteer", "both, gazetteer of training mentions", "both+gazetteer"),
    )
  },
  "finer": Run(
    "three types for each", fields={**_TUNED, "data.split_types": True}
  ),
  **{
    f"{name}_{dataset}": Run(
      f"{title}hierarchical, {groups.count(';') + 1} groups",
      fields={
        **_TUNED,
        "system": "hierarchical",
        "detector.groups": groups,
        **({"data.split_types": True} if title else {}),
      },
    )
    for name, dataset, title, groups in (
      ("groups_2", "wnut17", "", _GROUPS["wnut17"][0]),
      ("groups_3", "wnut17", "", _GROUPS["wnut17"][1]),
      (
        "finer_groups",
        "wnut17",
        "three types for each, ",
        _split(_GROUPS["wnut17"][1]),
      ),
      ("groups_2", "bionlp13cg", "", _GROUPS["bionlp13cg"][0]),
      ("groups_3", "bionlp13cg", "", _GROUPS["bionlp13cg"][1]),
    )
  },
  "replaced": Run(
    "mentions replaced", fields={**_TUNED, "replace_mentions": 0.5}
  ),
  "tuned_500": Run("500 sentences", fields={**_TUNED, **_SUBSET}, cost=0.3),
  "replaced_500": Run(
    "500 sentences, mentions replaced",
    fields={**_TUNED, **_SUBSET, "replace_mentions": 0.5},
    cost=0.4,
  ),
  "longer_500": Run(
    "500 sentences, as many steps as with mentions replaced",
    fields={
      **_TUNED,
      **_SUBSET,
      "detector.epochs": 4,
      "classifier.epochs": 5,
    },
    cost=0.4,
  ),
  "smoothed": Run(
    "label smoothing of the types",
    fields={**_TUNED, "classifier.loss": "smoothed_cross_entropy"},
  ),
  "types_asked": Run(
    "the types listed in the question",
    fields={
      **_TUNED,
      "classifier.question": "Is {mention} a {types} ?",
    },
  ),
  "label_names": Run(
    "the last layer starts from the types' names",
    fields={**_TUNED, "classifier.start": "names"},
  ),
  "averaged": Run(
    "averaged weights",
    fields={**_TUNED, "average_weights": 0.99},
  ),
  "none_class": Run("SplitNER, none class", fields=_NONE_CLASS, cost=2.0),
  "joined": Run(
    "SplitNER, none class, tuned decoding",
    fields={**_NONE_CLASS, **_TUNED},
    cost=2.1,
  ),
  "single_seqtag_tuned": Run(
    "Single(SeqTag), tuned decoding",
    "single_seqtag",
    _TUNED,
    cost=0.5,
  ),
}
"""All runs, by the name of their folder."""


@dataclasses.dataclass(frozen=True)
class Budget:
  """What all runs of a page share.

  Attributes:
    dataset: the name of its config.
    results: folder of the pages; reports are under its `runs`.
    work: folder of the workdirs.
    more: fields of the config that are changed in all runs.
  """

  dataset: str
  backbone: str
  epochs: int
  learning_rate: float
  seeds: tuple[int, ...]
  results: pathlib.Path
  work: pathlib.Path
  more: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  @property
  def backbone_name(self) -> str:
    """As pages have it: a folder is of one machine only."""
    return pathlib.PurePath(self.backbone).name

  @property
  def workdirs(self) -> pathlib.Path:
    """Where the workdirs of these runs are, and no others."""
    budget = f"{self.epochs}-epochs-{self.learning_rate:g}"
    return self.work / self.dataset / self.backbone_name / budget

  def fields(self, run: Run, seed: int | str) -> dict[str, Any]:
    """Everything that a run's command sets."""
    data = pathlib.Path("data") / self.dataset
    return {
      "backbone": self.backbone,
      "epochs": self.epochs,
      "learning_rate": self.learning_rate,
      "seed": seed,
      **({"data.dir": str(data)} if data.exists() else {}),
      **self.more,
      **run.fields,
    }

  def command(self, run: Run, seed: int | str) -> list[str]:
    """The arguments of `splitner_jax.main`, its workdir apart."""
    variant = f":{run.variant}" if run.variant else ""
    return [
      f"--config=configs/{self.dataset}.py{variant}",
      *(
        f"--config.{name}={value}"
        for name, value in self.fields(run, seed).items()
      ),
    ]


def reports(
  budget: Budget, names: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
  """The reports of each run that are there, in the order of the seeds.

  Raises:
    UserError: one cannot be read, is of other settings, or not of the same
      data as the others.
  """
  found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
  firsts: dict[int, tuple[str, pathlib.Path]] = {}
  for name in names:
    for seed in _seeds(budget, name):
      report = _report(budget, name, seed)
      if not report:
        continue
      found[name].append(report)
      mine = report["corpus"]["content_hash"], _folder(budget, name, seed)
      # What is trained on a part has its own.
      first = firsts.setdefault(report["config"]["data"]["limit"], mine)
      if first[0] != mine[0]:
        raise UserError(
          f"{mine[1]}: is of other data (content {mine[0]}) than {first[1]} "
          f"(content {first[0]}); keep these pages apart with --results and "
          "--work"
        )
  return found


def _seeds(budget: Budget, name: str) -> tuple[int, ...]:
  return budget.seeds[: RUNS[name].seeds]


def _folder(budget: Budget, name: str, seed: int) -> pathlib.Path:
  return budget.results / "runs" / budget.dataset / name / f"seed-{seed}"


def config_of(budget: Budget, name: str, seed: int) -> Any:
  """The config of a run."""
  module = importlib.import_module(f"configs.{budget.dataset}")
  config = module.get_config(RUNS[name].variant or None)
  config.update_from_flattened_dict(budget.fields(RUNS[name], seed))
  return config


def _report(budget: Budget, name: str, seed: int) -> dict[str, Any] | None:
  """The report of a run, if it is of the config that is wanted."""
  path = _folder(budget, name, seed) / "report.json"
  return _read(path, config_of(budget, name, seed))


def read_report(
  path: pathlib.Path, is_wanted: Callable[[dict[str, Any]], bool]
) -> dict[str, Any] | None:
  """A report.json, if it is there.

  Raises:
    UserError: it cannot be read, or is not the one that is wanted.
  """
  try:
    report = json.loads(path.read_bytes())
    wanted = is_wanted(report)
  except FileNotFoundError:
    return None
  except (ValueError, KeyError, TypeError) as e:
    raise UserError(f"{path}: cannot be read ({e}); delete it") from e
  if not wanted:
    raise UserError(
      f"{path}: is of other settings; keep these pages apart with --results "
      "and --work, or delete it to have it made again"
    )
  return report


def _read(path: pathlib.Path, wanted: Any) -> dict[str, Any] | None:
  return read_report(path, lambda report: _is_of(report["config"], wanted))


def _is_of(found: dict[str, Any], wanted: Any) -> bool:
  """Whether a config in JSON is the wanted one, wherever its data lay."""
  theirs, defaults = flat(found), flat(as_json(default_config.get_config()))
  return all(
    # A field younger than the report had its default then.
    theirs.get(key, defaults[key]) == value
    for key, value in flat(as_json(wanted)).items()
    if key != "data.dir"
  )


def make(budget: Budget, name: str) -> list[str]:
  """Makes the reports of a run that are not there yet.

  Returns:
    Why there is none, for each seed of which there is none.
  """
  run = RUNS[name]
  if run.why_not:
    return [run.why_not]
  problems = []
  for seed in _seeds(budget, name):
    if _report(budget, name, seed):
      continue
    workdir = budget.workdirs / name / f"seed-{seed}"
    if not _read(workdir / "report.json", config_of(budget, name, seed)):
      problem = _run(budget, name, seed, workdir)
      if problem:
        problems.append(problem)
        continue
    target = _folder(budget, name, seed)
    target.mkdir(parents=True, exist_ok=True)
    atomic_write(
      target / "report.json", [(workdir / "report.json").read_text("utf-8")]
    )
  return problems


def _run(budget: Budget, name: str, seed: int, workdir: pathlib.Path) -> str:
  """Runs the command of a run; returns why it failed, or ""."""
  try:
    content = load_corpus(config_of(budget, name, seed).data).content_hash
  except UserError as e:
    return str(e)
  _take_finished_tasks(budget, name, seed, workdir, content)
  log.info("%s on %s, seed %d", RUNS[name].title, budget.dataset, seed)
  command = [
    *(sys.executable, "-m", "splitner_jax.main"),
    *budget.command(RUNS[name], seed),
    f"--workdir={workdir}",
  ]
  if sys.stderr.isatty():
    failed = subprocess.run(command, check=False).returncode
    return _FAILED if failed else ""
  # Not a terminal: progress goes to a file.
  path = workdir.with_name(f"{workdir.name}.log")
  path.parent.mkdir(parents=True, exist_ok=True)
  log.info("its progress: %s", path)
  with open(path, "wb") as file:
    if not subprocess.run(command, stderr=file, check=False).returncode:
      return ""
  reason = path.read_text("utf-8", "replace").strip().split("\n")[-1]
  print(reason, file=sys.stderr)
  # Anything else is no message for readers of a page.
  known = reason.startswith("error: ")
  return reason.removeprefix("error: ") if known else _FAILED


def _take_finished_tasks(
  budget: Budget, name: str, seed: int, workdir: pathlib.Path, content: str
) -> None:
  """Spares the training of a task that another run has trained just so."""
  config = config_of(budget, name, seed)
  for task in SYSTEMS[config.system].task_names:
    wanted = _task_key(config, task)
    if (workdir / task).exists() or wanted is None:
      continue
    for other in sorted(budget.workdirs.glob("*/seed-*")):
      other_run = other.parent.name
      finished = (other / "report.json").exists() and (other / task).exists()
      if not finished or other_run not in RUNS:
        continue
      theirs = config_of(budget, other_run, int(other.name[5:]))
      # What the folder says must be what the name says.
      found = json.loads((other / "config.json").read_bytes())
      if found["content_hash"] != content or not _is_of(found, theirs):
        continue
      if _task_key(theirs, task) == wanted:
        log.info("%s: taken from %s", task, other)
        with locked(config, workdir, content, found.get("sources")):
          pass  # So that the folder says what is in it.
        folders = [other / task]
        if task == "classifier" and config.classifier.none_class:
          folders += other.glob("detector-fold*")
        for folder in folders:
          # Whole or not at all, for what is there is trusted.
          part = workdir / f".{folder.name}"
          shutil.rmtree(part, ignore_errors=True)
          shutil.copytree(folder, part, copy_function=_link)
          part.rename(workdir / folder.name)
        break


def _link(source: str, target: str) -> None:
  """A hard link; a copy where there can be none."""
  try:
    os.link(source, target)
  except OSError:
    shutil.copy2(source, target)


def _task_key(config: Any, task: str) -> Any:
  """All that decides a task's parameters; None if there is no such task."""
  if task not in SYSTEMS[config.system].task_names:
    return None
  settings = as_json(task_settings(config, task))
  # Those act after training.
  for late in ("o_bias", "tune_decoding", "checkpoint_every"):
    settings.pop(late, None)
  # What such a classifier is trained on depends on the detector.
  others = _task_key(config, "detector") if settings.get("none_class") else None
  return settings, others, as_json(config.data)


def shown_command(budget: Budget, name: str, seeds: Sequence[int]) -> str:
  """The command of a run, for each of these seeds, as its page has it."""
  seed = f"{{{','.join(map(str, seeds))}}}" if len(seeds) > 1 else str(seeds[0])
  shown = dataclasses.replace(budget, backbone=budget.backbone_name)
  arguments = shown.command(RUNS[name], "SEED")
  text = shlex.join(["python", "-m", "splitner_jax.main", *arguments])
  return text.replace("SEED", seed)
