"""Writes the encoder of a trained task as a Hugging Face folder:

python -m splitner_jax.export --workdir=runs/wnut17 --task=detector \
  --output=FOLDER

Transformers loads it with `AutoModel.from_pretrained(FOLDER)`; config.json and
the tokenizer are the backbone's, which is looked up as in training.
"""

import functools
import json
import pathlib

from absl import app, flags

from splitner_jax import cli
from splitner_jax.data.lines import read_lines
from splitner_jax.errors import UserError


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
  from splitner_jax import model_folder, parallel, pretrained

  path = workdir / "config.json"
  try:
    config = json.loads("\n".join(read_lines(path)))
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
  pretrained.export(parallel.to_host(params), output, backbone)


def _check_flags() -> None:
  if not flags.FLAGS.workdir or not flags.FLAGS.output:
    raise UserError("--workdir and --output are needed; see --help")


def main(argv: list[str]) -> None:
  del argv
  from splitner_jax import runtime

  runtime.start_log()
  task, output = flags.FLAGS.task, flags.FLAGS.output
  try:
    export(pathlib.Path(flags.FLAGS.workdir), task, output)
  except UserError as e:
    cli.fail(str(e))
  print(f"{task}'s encoder: {output}")


if __name__ == "__main__":
  # Here, for other commands have flags of these names.
  flags.DEFINE_string("workdir", None, "of the training run")
  flags.DEFINE_enum(
    "task", "detector", ["detector", "classifier", "tagger"], "whose encoder"
  )
  flags.DEFINE_string("output", None, "folder to be made")
  app.run(
    main, flags_parser=functools.partial(cli.parse_flags, check=_check_flags)
  )
