"""The folder of an exported model: programs for other run times.

export.json    the shapes that each program reads, types, decoding, checksums
               of the parameters
TASK.onnx      a program with its parameters; or
TASK.stablehlo, TASK.safetensors  a program and its parameters
TASK/          the tokenizer's files
README.md      how to run it, and until when
"""

import dataclasses
import datetime
import json
import pathlib
import zlib

import jax
import numpy as np
from flax import traverse_util

import splitner_jax
from splitner_jax.inference import model_folder
from splitner_jax.inference.ner_model import NerModel
from splitner_jax.inference.pipeline import SplitNER
from splitner_jax.integrations.programs import Program, tagger
from splitner_jax.runtime import devices
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.extras import needed
from splitner_jax.runtime.files import atomic_folder, atomic_write
from splitner_jax.runtime.json_text import parse
from splitner_jax.runtime.types import Json

FORMATS = ("onnx", "stablehlo")
_TOKENS = 1024
"""Of a batch, about, where nothing else is asked for."""


def write(
  model: NerModel,
  output: str,
  kind: str,
  *,
  rows: int = 0,
  length: int = 0,
  int8: bool = False,
) -> None:
  """Writes the folder: whole or not at all.

  Args:
    model: with parameters in float32, as all of ours.
    output: the folder; must be empty or not exist.
    kind: one of FORMATS.
    rows: of a batch; 0: as many as about 1,024 tokens are.
    length: tokens of a row; 0: as many as the model reads at most.
    int8: of `onnx_export.write`.

  Raises:
    UserError: the folder cannot be written, an option is impossible, or the
      format's extra is not installed.
  """
  folder = pathlib.Path(output).absolute()
  if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
    raise UserError(f"{folder} is not empty; remove it or give another folder")
  if int8 and kind != "onnx":
    raise UserError("--int8: only with --format=onnx; leave it out")
  if kind == "onnx":
    needed("onnx", "onnx", "--format=onnx")
    needed("onnxruntime", "onnx", "--format=onnx")
  with atomic_folder(folder) as unfinished:
    _write(model, unfinished, kind, rows, length, int8)


def _write(
  model: NerModel,
  folder: pathlib.Path,
  kind: str,
  rows: int,
  length: int,
  int8: bool,
) -> None:
  described: Json = {}
  for name, task in model.tasks.items():
    tokens = length or task.tokenizer.max_length
    program = Program.of(task, rows or max(1, _TOKENS // tokens), tokens)
    if kind == "onnx":
      from splitner_jax.integrations import onnx_export

      onnx_export.write(program, model.params[name], folder, int8=int8)
    else:
      from splitner_jax.integrations import stablehlo

      stablehlo.write(program, model.params[name], folder)
    task.tokenizer.fast.save_pretrained(folder / name)
    described[name] = program.describe()
  fields = {
    "library": "splitner_jax",
    "version": splitner_jax.__version__,
    "format": kind,
    "int8": int8,
    "jax": jax.__version__,
    "labels": list(model.labels),
    "decoding": dataclasses.asdict(model.decoding),
    "checksums": _checksums(model),
    "tasks": described,
  }
  text = json.dumps(fields, indent=2, ensure_ascii=False)
  atomic_write(folder / "export.json", [text + "\n"])
  atomic_write(folder / "README.md", [_readme(kind, list(model.tasks))])


def _checksums(model: NerModel) -> dict[str, int]:
  """CRC-32 of the parameters of each task, which no other training gives."""
  found = {}
  for task, params in model.params.items():
    flat = traverse_util.flatten_dict(devices.to_host(params), sep="/")
    found[task] = 0
    for name, value in sorted(flat.items()):
      for part in (name.encode(), np.asarray(value, np.float32).tobytes()):
        found[task] = zlib.crc32(part, found[task])
  return found


def expiry(kind: str) -> str:
  """Until when an export can be run, in a sentence."""
  today = datetime.date.today().isoformat()
  if kind == "onnx":
    return "Run times that read ONNX's operations of version 18 run it."
  return (
    f"Exported on {today} with JAX {jax.__version__}: JAX runs it in versions "
    "of the following six months; for later ones export the model again."
  )


_RUN = {
  "onnx": """import onnxruntime

session = onnxruntime.InferenceSession("{task}.onnx")
[logits] = session.run(["logits"], batch)
""",
  "stablehlo": """from jax import export
from safetensors.numpy import load_file

with open("{task}.stablehlo", "rb") as file:
  program = export.deserialize(bytearray(file.read()))
params = load_file("{task}.safetensors")
logits = program.call(params, batch)  # on CPU, CUDA or TPU
""",
}


def _readme(kind: str, tasks: list[str]) -> str:
  code = _RUN[kind].format(task=tasks[0])
  return f"""# An exported model

{expiry(kind)}

It is made of the programs {", ".join(tasks)}. Each reads a batch, NumPy arrays
of the shapes in export.json, and gives the logits of its targets, float32:

```python
{code}```

Tokens are packed: rows behind each other, in each of them examples behind each
other. `segments` says which example a token is of (0: none), `parts` which of
its questions (0: what all of them read), `positions` and `token_types` are
those within the example, and `targets` are the tokens whose logits are wanted.
`char_index` and `pattern_index` are rows of the tables of characters, the short
one and behind it the long one. All of it is made by splitner_jax: with it,

```python
from splitner_jax.integrations import exports

ner = exports.load("THIS FOLDER", "FOLDER OF THE MODEL")
ner.predict("Text of any length.")
```

tags text by these programs.
"""


def load(folder: str, model: str) -> SplitNER:
  """A model for tagging text, whose forward passes are exported programs.

  Args:
    folder: that `write` made.
    model: the folder or hub id of the model it was made from.

  Raises:
    UserError: it is no such folder, it is of another model, or a program
      cannot be run here.
  """
  place = pathlib.Path(folder)
  path = place / "export.json"
  try:
    fields = parse(path.read_bytes())
    kind, tasks = fields["format"], dict(fields["tasks"])
    shapes = {n: (t["rows"], t["length"]) for n, t in tasks.items()}
  except OSError as error:
    raise UserError(
      f"{path}: {error.strerror}; give a folder of `splitner export`"
    ) from None
  except (ValueError, KeyError, TypeError) as error:
    raise UserError(f"{path}: cannot be read ({error}); export again") from None
  if kind not in FORMATS:
    raise UserError(
      f"{path}: format {kind!r} is none of {', '.join(FORMATS)}; export again"
    )
  found = model_folder.load(model, compute_dtype="float32")
  programs = {
    name: Program.of(found.tasks[name], *shapes[name])
    for name in found.tasks
    if name in shapes
  }
  same = {
    "tasks": shapes.keys() == found.tasks.keys(),
    "inputs": all(p.describe() == tasks[name] for name, p in programs.items()),
    "types": fields.get("labels") == list(found.labels),
    # Older exports have none.
    "parameters": fields.get("checksums") in (None, _checksums(found)),
  }
  other = [what for what, is_same in same.items() if not is_same]
  if other:
    raise UserError(
      f"{folder}: was not made from the model {model} (other "
      f"{', '.join(other)}); give the model that it was made from, or export "
      "again"
    )
  if kind == "onnx":
    needed("onnx", "onnx", folder)
    needed("onnxruntime", "onnx", folder)
    from splitner_jax.integrations import onnx_export

    forward = onnx_export.forward
  else:
    from splitner_jax.integrations import stablehlo

    forward = stablehlo.forward
  return tagger(
    found, {name: forward(p, place) for name, p in programs.items()}
  )
