"""From a config to what a run and each of its tasks are told."""

import json
import math
from collections.abc import Sequence
from typing import NoReturn

from ml_collections import ConfigDict

from splitner_jax.experiment import default_config
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.types import Json
from splitner_jax.tasks.base import choice
from splitner_jax.tasks.systems import SYSTEMS
from splitner_jax.training.losses import AVERAGES, LOSSES

# The least that a field may be, at the top level and in the tasks' parts.
_LEAST = {
  "batch_size": 1,
  "epochs": 0,
  "patience": 1,
  "weight_decay": 0,
  "inference_batch_size": 1,
  "checkpoint_every": 1,
  "row_length": 0,
  "max_minutes": 0,
  "accumulate_steps": 1,
  "seed": 0,
}

# Fields of `config.data` that are of one's own files alone.
_OF_FILES = (
  *("train", "dev", "test", "dev_fraction"),
  *("word_column", "tag_column", "pos_column"),
)

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
  for field, value in flat(config.to_dict()).items():
    if isinstance(value, float) and not math.isfinite(value):
      raise UserError(f"config.{field}: {value} is not finite; give a number")
  _check_data(config.data)
  parse_seeds(config.seeds)
  for name in SYSTEMS[config.system].task_names:
    settings = task_settings(config, name)

    def refuse(key: str, why: str, name=name, settings=settings) -> NoReturn:
      own = config[name].get(key) is not None
      field = f"config.{name}.{key}" if own else f"config.{key}"
      raise UserError(f"{field}: {settings[key]} is {why}")

    for key, least in _LEAST.items():
      if not settings[key] >= least:
        refuse(key, f"below the least, {least}; raise it")
    for key in ("learning_rate", "clip_norm"):
      if not settings[key] > 0:
        refuse(key, "not positive; give a number above 0")
    if settings.get("labels") and settings.checkpoint is None:
      refuse("labels", "for a checkpoint, and none is given; leave it out")
    choice(f"{name}.loss", settings.loss, LOSSES)
    if config.start_from is not None and settings.checkpoint is not None:
      refuse(
        "checkpoint",
        "one way to start, config.start_from another; leave one of them out",
      )
    if settings.loss_average not in AVERAGES:
      refuse("loss_average", f"none of {', '.join(AVERAGES)}")
    if not 0 <= settings.dropout < 1:
      refuse("dropout", "not in [0, 1); 0.1 is usual")
    if not 0 <= settings.replace_mentions <= 1:
      refuse("replace_mentions", "no probability; give one from 0 to 1")
    if settings.seed > _MOST_SEED:
      refuse("seed", f"above the most, {_MOST_SEED}; lower it")
  for field, least in (("context", 1), ("max_context", 1), ("folds", 2)):
    value = config.classifier[field]
    # `context` may be a number, see tasks/mentions.py.
    if isinstance(value, int) and value < least:
      raise UserError(
        f"config.classifier.{field}: {value} is below {least}; raise it"
      )


def check_given(config: ConfigDict, fields: Sequence[str]) -> None:
  """Raises UserError for a field that was asked for, and that nobody reads.

  Args:
    config: that `check_config` takes.
    fields: what the user set beside a config file, such as tagger.scheme.
  """
  tasks = {name for kind in SYSTEMS.values() for name in kind.task_names}
  unread = tasks - set(SYSTEMS[config.system].task_names)
  for field in fields:
    why = ""
    if field.split(".")[0] in unread:
      why = f"config.system is {config.system}"
    elif field == "seed" and config.seeds:
      why = f"config.seeds is {config.seeds}"
    elif field == "classifier.folds" and not config.classifier.none_class:
      why = "config.classifier.none_class is off"
    elif field == "detector.groups" and config.system != "hierarchical":
      why = f"config.system is {config.system}"
    if why:
      raise UserError(f"--config.{field}: is not read, for {why}; leave it out")


def _check_data(data: ConfigDict) -> None:
  """Raises UserError for fields of `config.data` that would not be read."""
  if data.limit < 0:
    raise UserError(
      f"config.data.limit: {data.limit} is below 0; give 0 for all"
    )
  if data.name == "files":
    if data.dir is not None:
      raise UserError(
        f"config.data.dir: {data.dir} is not read, for config.data.name is "
        "files; name them in config.data.train and so on"
      )
    return
  usual = default_config.get_config().data
  for field in _OF_FILES:
    if data[field] != usual[field]:
      raise UserError(
        f"config.data.{field}: {data[field]} is not read, for config.data.name "
        f"is {data.name}; with --config.data.name=files it is"
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


def as_json(config: ConfigDict) -> Json:
  """The config as reports and config.json have it."""
  return json.loads(config.to_json_best_effort())


def flat(tree: Json, prefix: str = "") -> Json:
  """The fields of nested dicts, by names such as `data.dir`."""
  fields: Json = {}
  for key, value in tree.items():
    if isinstance(value, dict):
      fields |= flat(value, f"{prefix}{key}.")
    else:
      fields[prefix + key] = value
  return fields
