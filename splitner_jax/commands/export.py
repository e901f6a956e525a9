"""Writes the encoder of a trained task as a Hugging Face folder:

splitner export --workdir=runs/wnut17 --task=detector --output=FOLDER

Transformers loads it with `AutoModel.from_pretrained(FOLDER)`; config.json and
the tokenizer are the backbone's, which is looked up as in training.
"""

import pathlib

from absl import flags

from splitner_jax.commands import cli
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.files import read_lines
from splitner_jax.runtime.json_text import parse


def export(workdir: pathlib.Path, task: str, output: str) -> None:
  """Writes the folder: whole or not at all.

  Args:
    workdir: of a finished run.
    task: "detector", "classifier", or "tagger" of a single-step system.
    output: the folder; must be empty or not exist.

  Raises:
    UserError: the run is not finished, its backbone is gone, or the folder
      cannot be written.
  """
  from splitner_jax import pretrained
  from splitner_jax.inference import model_folder
  from splitner_jax.runtime import devices

  path = workdir / "config.json"
  try:
    config = parse("\n".join(read_lines(path)))
    settings = config | {
      key: value for key, value in config[task].items() if value is not None
    }
    name = settings.get("checkpoint") or settings["backbone"]
  except (KeyError, TypeError, AttributeError, ValueError) as e:
    if isinstance(e, UserError):
      raise
    raise UserError(f"{path}: is no config of a training run") from e
  trained = model_folder.load(str(workdir / "model"))
  if task not in trained.params:
    raise UserError(
      f"--task: the run has no {task}, only {', '.join(trained.params)}"
    )
  params = trained.params[task]
  backbone = pretrained.read_backbone(pretrained.resolve(name))
  pretrained.export(devices.to_host(params), output, backbone)


def define_flags() -> None:
  flags.DEFINE_string("workdir", None, "of the training run")
  flags.DEFINE_enum(
    "task", "detector", ["detector", "classifier", "tagger"], "whose encoder"
  )
  flags.DEFINE_string("output", None, "folder to be made")


def check_flags() -> None:
  if not flags.FLAGS.workdir or not flags.FLAGS.output:
    raise UserError("--workdir and --output are needed; see --help")


def main(argv: list[str]) -> None:
  del argv
  from splitner_jax.runtime import progress

  progress.start_log()
  task, output = flags.FLAGS.task, flags.FLAGS.output
  try:
    export(pathlib.Path(flags.FLAGS.workdir), task, output)
  except UserError as e:
    cli.fail(str(e))
  print(f"{task}'s encoder: {output}")
