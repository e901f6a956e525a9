"""Writes a trained model for other programs:

splitner export --format=stablehlo --model=runs/wnut17/model --output=FOLDER
splitner export --format=onnx --model=runs/wnut17/model --output=FOLDER
splitner export --workdir=runs/wnut17 --task=detector --output=FOLDER

The first is a program for JAX on CPU, CUDA and TPU, which needs none of this
package; the second runs in any run time of ONNX (pip install
"splitner_jax[onnx]"). Both have fixed shapes, and FOLDER/README.md says how to
call them. The third, --format=hf, is the encoder of one task, which
transformers loads with `AutoModel.from_pretrained(FOLDER)`; config.json and the
tokenizer are the backbone's, which is looked up as in training.
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
    raise UserError(
      f"{path}: is no config of a training run; give the folder of a run"
    ) from e
  if not (workdir / "model").is_dir():  # Or it would be looked for in a hub.
    raise UserError(
      f"--workdir: {workdir} has no folder 'model' yet; let the run finish"
    )
  trained = model_folder.load(str(workdir / "model"))
  if task not in trained.params:
    raise UserError(
      f"--task: the run has no {task}, only {', '.join(trained.params)}"
    )
  params = trained.params[task]
  backbone = pretrained.read_backbone(pretrained.resolve(name))
  pretrained.export(devices.to_host(params), output, backbone)


_OF_PROGRAMS = ("model", "rows", "length", "int8")


def define_flags() -> None:
  flags.DEFINE_enum(
    "format", "hf", ["hf", "onnx", "stablehlo"], "of what is written"
  )
  flags.DEFINE_string("output", None, "folder to be made")
  flags.DEFINE_string("workdir", None, "of the training run; for hf")
  flags.DEFINE_enum(
    "task",
    "detector",
    ["detector", "classifier", "tagger"],
    "whose encoder; for hf",
  )
  flags.DEFINE_string(
    "model", None, "folder of a model, or its hub id; not for hf"
  )
  flags.DEFINE_integer(
    "rows", 0, "of a batch; 0: as many as 1,024 tokens are, about"
  )
  flags.DEFINE_integer(
    "length", 0, "tokens of a row; 0: as many as the model reads"
  )
  flags.DEFINE_bool("int8", False, "matrices as integers of 8 bits; for onnx")


def check_flags() -> None:
  hf = flags.FLAGS.format == "hf"
  needed = "workdir" if hf else "model"
  if not flags.FLAGS[needed].value or not flags.FLAGS.output:
    raise UserError(f"--{needed} and --output are needed; see --help")
  for name in _OF_PROGRAMS if hf else ("workdir", "task"):
    if flags.FLAGS[name].present:
      raise UserError(
        f"--{name}: is not for --format={flags.FLAGS.format}; leave it out"
      )


def main(argv: list[str]) -> None:
  del argv
  from splitner_jax.runtime import progress

  progress.start_log()
  task, output = flags.FLAGS.task, flags.FLAGS.output
  kind = flags.FLAGS.format
  try:
    if kind == "hf":
      export(pathlib.Path(flags.FLAGS.workdir), task, output)
      print(f"{task}'s encoder: {output}")
      return
    from splitner_jax.inference import model_folder
    from splitner_jax.integrations import exports

    exports.write(
      model_folder.load(str(flags.FLAGS.model), compute_dtype="float32"),
      output,
      kind,
      rows=flags.FLAGS.rows,
      length=flags.FLAGS.length,
      int8=flags.FLAGS.int8,
    )
    print(f"{output}. {exports.expiry(kind)}")
  except UserError as e:
    cli.fail(str(e))
