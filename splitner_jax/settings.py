"""From a config to what a run and each of its tasks are told."""

import contextlib
import json
import pathlib
from collections.abc import Iterator
from typing import Any, NoReturn

import filelock
from ml_collections import ConfigDict

from splitner_jax.data.lines import write_whole
from splitner_jax.errors import UserError
from splitner_jax.systems import SYSTEMS, task_names

# What may differ between two runs of the same command in one workdir.
_FREE_FIELDS = ("checkpoint_every",)

# The least that a field may be, at the top level and in the tasks' parts.
_LEAST = {
  "batch_size": 1,
  "epochs": 0,
  "patience": 1,
  "weight_decay": 0,
  "inference_batch_size": 1,
  "checkpoint_every": 1,
  "seed": 0,
}

_MOST_SEED = 2**32 - 1


def task_settings(config: ConfigDict, name: str) -> ConfigDict:
  """A task's part of the config; what it leaves open is the top level's."""
  settings = ConfigDict(
    {
      key: value
      for key, value in config.items()
      if not isinstance(value, ConfigDict)
    }
  )
  for key, value in config[name].items():
    if value is not None or key not in settings:
      settings[key] = value
  return settings


def check_config(config: ConfigDict) -> None:
  """Raises UserError for values that no run can have."""
  if config.system not in SYSTEMS:
    raise UserError(
      f"config.system: {config.system!r} is none of {', '.join(SYSTEMS)}"
    )
  parse_seeds(config.seeds)
  for name in task_names(config.system):
    settings = task_settings(config, name)

    def refuse(key: str, why: str, name=name, settings=settings) -> NoReturn:
      own = config[name].get(key) is not None
      field = f"config.{name}.{key}" if own else f"config.{key}"
      raise UserError(f"{field}: {settings[key]} is {why}")

    for key, least in _LEAST.items():
      if not settings[key] >= least:
        refuse(key, f"below the least, {least}")
    for key in ("learning_rate", "clip_norm"):
      if not settings[key] > 0:
        refuse(key, "not positive")
    if not 0 <= settings.dropout < 1:
      refuse("dropout", "not in [0, 1)")
    if settings.seed > _MOST_SEED:
      refuse("seed", f"above the most, {_MOST_SEED}")
  if config.data.limit < 0:
    raise UserError(f"config.data.limit: {config.data.limit} is below 0")
  for field, least in (("context", 1), ("folds", 2)):
    if config.classifier[field] < least:
      raise UserError(
        f"config.classifier.{field}: {config.classifier[field]} is below "
        f"{least}"
      )


def parse_seeds(text: str) -> list[int]:
  """Reads `config.seeds`, such as 1,2,3; empty: none.

  Raises:
    UserError: it is something else, or names a seed twice.
  """
  try:
    seeds = [int(part) for part in text.split(",")] if text else []
  except ValueError:
    seeds = [-1]
  if len(set(seeds)) < len(seeds) or not all(
    0 <= seed <= _MOST_SEED for seed in seeds
  ):
    raise UserError(
      f"config.seeds: {text!r} is no list of different numbers from 0 to "
      f"{_MOST_SEED}, such as 1,2,3"
    )
  return seeds


@contextlib.contextmanager
def claimed(
  config: ConfigDict, workdir: pathlib.Path, content_hash: str
) -> Iterator[None]:
  """Keeps a workdir to one run: of one config, on one corpus, at a time.

  WORKDIR/config.json has the config and the corpus's `content_hash`. A start
  that failed before its first checkpoint binds nobody.

  Raises:
    UserError: it holds another run, another process is at work there, or it
      cannot be written.
  """
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(workdir / ".lock", timeout=0)
    lock.acquire()
  except filelock.Timeout as e:
    raise UserError(
      f"--workdir {workdir}: another process is at work there; wait for it, or "
      "choose another --workdir"
    ) from e
  except OSError as e:
    raise _cannot_write(workdir, e) from e
  try:
    _claim(as_json(config) | {"content_hash": content_hash}, workdir)
    yield
  finally:
    lock.release()


def _claim(mine: dict[str, Any], workdir: pathlib.Path) -> None:
  """Writes WORKDIR/config.json, or checks that it is of the same run."""
  path = workdir / "config.json"
  try:
    theirs = json.loads(path.read_bytes()) if path.exists() else mine
    there, here = flat(theirs), flat(mine)
  except OSError as e:
    raise _cannot_write(workdir, e) from e
  except (AttributeError, ValueError) as e:
    raise UserError(
      f"{path}: is not a config; delete it, or choose another --workdir"
    ) from e
  begun = any(
    any(workdir.glob(f"{depth}/checkpoints/latest/[0-9]*"))
    for depth in ("*", "seed-*/*")
  )
  # Other keys: the config.json of some other program.
  if begun or theirs.keys() != mine.keys():
    for key in sorted(there.keys() | here.keys()):
      if key in _FREE_FIELDS or there.get(key) == here.get(key):
        continue
      if key == "seeds" and there.get(key) and here.get(key):
        continue  # Each seed has a folder, and some are done.
      raise UserError(
        f"--workdir {workdir}: holds another run ({key} is "
        f"{there.get(key)!r} there, {here.get(key)!r} here); choose another "
        "--workdir, or delete it"
      )
  write_whole(path, [json.dumps(mine, indent=2), "\n"])


def _cannot_write(workdir: pathlib.Path, error: OSError) -> UserError:
  return UserError(
    f"--workdir {workdir}: cannot be written ({error.strerror}); choose another"
  )


def as_json(config: ConfigDict) -> dict[str, Any]:
  """The config as reports and config.json have it."""
  return json.loads(config.to_json_best_effort())


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
  """The fields of nested dicts, by names such as `data.dir`."""
  fields: dict[str, Any] = {}
  for key, value in tree.items():
    if isinstance(value, dict):
      fields |= flat(value, f"{prefix}{key}.")
    else:
      fields[prefix + key] = value
  return fields
