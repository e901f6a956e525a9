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

from ml_collections import ConfigDict

from splitner_jax.experiment import default_config
from splitner_jax.experiment.corpus import load_corpus
from splitner_jax.experiment.run_folder import locked
from splitner_jax.experiment.settings import as_json, flat, task_settings
from splitner_jax.reproduce.recipes import RUNS, Run
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.files import atomic_write
from splitner_jax.runtime.types import Json
from splitner_jax.tasks.systems import SYSTEMS

log = logging.getLogger(__name__)

_FAILED = "it failed, as its log tells"


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
  more: Mapping[str, object] = dataclasses.field(default_factory=dict)

  @property
  def backbone_name(self) -> str:
    """As pages have it: a folder is of one machine only."""
    return pathlib.PurePath(self.backbone).name

  @property
  def kept(self) -> str:
    """The folder of the reports, in `runs`: one for each `more`."""
    return "-".join([self.dataset, *(f"{k}={v}" for k, v in self.more.items())])

  @property
  def workdirs(self) -> pathlib.Path:
    """Where the workdirs of these runs are, and no others."""
    budget = f"{self.epochs}-epochs-{self.learning_rate:g}"
    return self.work / self.kept / self.backbone_name / budget

  def fields(self, run: Run, seed: int | str) -> Json:
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


def reports(budget: Budget, names: Sequence[str]) -> dict[str, list[Json]]:
  """The reports of each run that are there, in the order of the seeds.

  Raises:
    UserError: one cannot be read, is of other settings, or not of the same
      data as the others.
  """
  found: dict[str, list[Json]] = {name: [] for name in names}
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
  return budget.results / "runs" / budget.kept / name / f"seed-{seed}"


def config_of(budget: Budget, name: str, seed: int) -> ConfigDict:
  """The config of a run."""
  module = importlib.import_module(f"configs.{budget.dataset}")
  config = module.get_config(RUNS[name].variant or None)
  config.update_from_flattened_dict(budget.fields(RUNS[name], seed))
  return config


def _report(budget: Budget, name: str, seed: int) -> Json | None:
  """The report of a run, if it is of the config that is wanted."""
  path = _folder(budget, name, seed) / "report.json"
  return _read(path, config_of(budget, name, seed))


def read_report(
  path: pathlib.Path, is_wanted: Callable[[Json], bool]
) -> Json | None:
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


def _read(path: pathlib.Path, wanted: ConfigDict) -> Json | None:
  return read_report(path, lambda report: _is_of(report["config"], wanted))


def _is_of(found: Json, wanted: ConfigDict) -> bool:
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


def _task_key(config: ConfigDict, task: str) -> object:
  """All that decides a task's parameters; None if there is no such task."""
  if task not in SYSTEMS[config.system].task_names:
    return None
  settings = as_json(task_settings(config, task))
  # Those act after training.
  for late in ("o_bias", "tune_decoding", "checkpoint_every"):
    settings.pop(late, None)
  if task == "classifier":
    settings.pop("system")  # All that have one train it alike.
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
