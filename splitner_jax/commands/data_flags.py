"""Flags of commands that read a corpus: a config, one's own files, columns."""

import os

from absl import flags
from ml_collections import ConfigDict, config_flags

from splitner_jax.commands import cli
from splitner_jax.experiment import files_config
from splitner_jax.runtime.errors import UserError

_SPLITS = ("train", "dev", "test")


def define_flags() -> None:
  config_flags.DEFINE_config_file(
    "config",
    files_config.__file__,
    "a file such as those in configs/, and `:variant` if it has any; without "
    "it one's own files are read",
  )
  for split, what in zip(
    _SPLITS,
    ("to train on", "that chooses the best epoch", "to score on, if there is"),
    strict=True,
  ):
    flags.DEFINE_string(split, None, f"one's own file {what}")


def define_columns(**kinds: str) -> None:
  """Flags that say where words and tags are, in files of columns.

  Args:
    **kinds: names of flags, and which tags they are about.
  """
  flags.DEFINE_integer(
    "word_column", 0, "of the words, in files of columns; 0: the first"
  )
  for name, kind in kinds.items():
    flags.DEFINE_integer(name, -1, f"of the {kind} tags; -1: the last")


def config() -> ConfigDict:
  """The config with the files that the flags name.

  Raises:
    UserError: no data is named, or the config has a corpus of another kind.
  """
  given: ConfigDict = flags.FLAGS.config
  cli.check_config(given)
  files = {split: flags.FLAGS[split].value for split in _SPLITS}
  named = [split for split, path in files.items() if path]
  for split in named:
    if is_given(f"data.{split}"):
      raise UserError(
        f"--{split}: and --config.data.{split}; leave one of the two out"
      )
  if given.data.name == "files":
    given.data.update({split: files[split] for split in named})
    if not given.data.train:
      raise UserError(
        "--train is missing; give --train=FILE and --dev=FILE, or a --config "
        "such as configs/demo.py"
      )
  elif named:
    raise UserError(
      f"--{named[0]}: the config has the corpus {given.data.name}; leave one "
      "of the two out"
    )
  return given


def is_given(field: str) -> bool:
  """Whether the command line sets a field of the config, such as data.train."""
  name = f"config.{field}"
  return name in flags.FLAGS and flags.FLAGS[name].present > 0


def given_fields() -> list[str]:
  """The fields of the config that the command line sets."""
  fields = [n.removeprefix("config.") for n in flags.FLAGS if "config." in n]
  return [field for field in fields if is_given(field)]


def config_name() -> str:
  """wnut17 of configs/wnut17.py, wnut17-paper of its :paper.

  Without --config it is the corpus's name, `files` of one's own files.
  """
  if not flags.FLAGS["config"].present:
    return flags.FLAGS.config.data.name
  path = config_flags.get_config_filename(flags.FLAGS["config"])
  name, _, variant = os.path.basename(path).partition(":")
  stem = name.removesuffix(".py")
  return f"{stem}-{variant}" if variant else stem
