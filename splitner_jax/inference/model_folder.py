"""The published folder of a model: made to be shared and loaded.

  config.json             the tasks' settings, decoding, how text is split
  TASK.safetensors        parameters of each task, float32, our own names
  tokenizer files         of all tasks; in TASK/ where the tasks' differ
  README.md               the model card

Nothing in it is executable or pickled.
"""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import shutil
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from flax import traverse_util

from splitner_jax.data.text import TextStyle
from splitner_jax.inference import model_config, model_files, model_schema
from splitner_jax.inference.ner_model import NerModel
from splitner_jax.inputs.tokenizer import Tokenizer
from splitner_jax.models.shapes import parameter_shapes
from splitner_jax.pretrained.folders import (
  TOKENIZER_FILES,
  check_numbers,
  folder_or_download,
)
from splitner_jax.pretrained.tensors import (
  read_safetensors,
  write_safetensors,
)
from splitner_jax.runtime import devices
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.files import atomic_write, writing
from splitner_jax.runtime.json_text import parse
from splitner_jax.runtime.types import Json, Tree
from splitner_jax.tasks import TASK_KINDS, AnyTask
from splitner_jax.tasks.decoding import Decoding
from splitner_jax.tasks.systems import SYSTEMS

_WEIGHTS = "*.safetensors"
_FILES = (
  "config.json",
  "README.md",
  _WEIGHTS,
  *TOKENIZER_FILES,
  *(f"*/{name}" for name in TOKENIZER_FILES),
)


def save(folder: str | os.PathLike[str], model: NerModel) -> None:
  """Writes the folder: whole or not at all, whenever the process ends.

  Args:
    folder: to be made. A folder of a model that is there is replaced.

  Raises:
    UserError: there is another folder or file, or it cannot be written.
  """
  folder = _place(folder)
  _recover(folder)
  occupied = folder.is_file() or (folder.is_dir() and any(folder.iterdir()))
  if occupied and not _is_model(folder):
    raise UserError(
      f"{folder}: is there already and is no model; move it away, or give "
      "another folder"
    )
  new, previous = _beside(folder)
  try:
    with writing(folder):
      for left in (new, previous):
        _remove(left)
      new.mkdir(parents=True)
      _write(new, model)
      # One of the two is whole at any moment; see `_recover`.
      with contextlib.suppress(FileNotFoundError):
        folder.rename(previous)
      new.rename(folder)
  finally:
    _recover(folder)
    for left in (new, previous):
      if folder.exists() or not _is_model(left):
        _remove(left)


def _place(name: str | os.PathLike[str]) -> pathlib.Path:
  """Where a folder is; of a link its target, which may be on another disk."""
  path = os.path.abspath(os.path.expanduser(name))
  return pathlib.Path(os.path.realpath(path) if os.path.islink(path) else path)


def _remove(folder: pathlib.Path) -> None:
  """Removes what is there, of a link nothing but itself."""
  if folder.is_symlink():
    with contextlib.suppress(OSError):
      folder.unlink()
  shutil.rmtree(folder, ignore_errors=True)


def _beside(folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
  """Where a folder's next version is written, and its last one goes."""
  hidden = f".{folder.name}"
  return folder.with_name(f"{hidden}.new"), folder.with_name(
    f"{hidden}.previous"
  )


def _recover(folder: pathlib.Path) -> None:
  """Ends the replacement of a folder if it was cut off half-way.

  Then nothing has the folder's name; the next version is whole, for its
  config.json is written last, or else the last one is.
  """
  if folder.exists():
    return
  for version in _beside(folder):
    if _is_model(version) and not folder.exists():
      with contextlib.suppress(OSError):
        version.rename(folder)


def save_decoding(folder: str | os.PathLike[str], decoding: Decoding) -> None:
  """Changes how a folder's model decodes: rewrites config.json alone.

  Raises:
    UserError: it is no folder of a model, or cannot be written.
  """
  folder = pathlib.Path(folder)
  config = _read_config(folder)
  config["decoding"] = dataclasses.asdict(decoding)
  atomic_write(folder / "config.json", [_json(config)])


def _is_model(folder: pathlib.Path) -> bool:
  try:
    text = (folder / "config.json").read_bytes()
    return parse(text)["library"] == "splitner_jax"
  except (OSError, ValueError, KeyError, TypeError):
    return False


def _json(config: Json) -> str:
  """The text of config.json: the fields, and a checksum of theirs."""
  sealed = config | {"checksum": _checksum_of_fields(config)}
  return json.dumps(sealed, indent=2, ensure_ascii=False) + "\n"


def _checksum_of_fields(config: Json) -> int:
  fields = {key: v for key, v in config.items() if key != "checksum"}
  return zlib.crc32(json.dumps(fields, sort_keys=True).encode())


def _write(folder: pathlib.Path, model: NerModel) -> None:
  tokenizers = [task.tokenizer for task in model.tasks.values()]
  shared = all(tokenizers[0].is_like(other) for other in tokenizers)
  places = {name: "." if shared else name for name in model.tasks}
  for name, task in model.tasks.items():
    task.tokenizer.fast.save_pretrained(folder / places[name])
    flat = traverse_util.flatten_dict(
      devices.to_host(model.params[name]), sep="/"
    )
    write_safetensors(
      folder / f"{name}.safetensors",
      {key: np.ascontiguousarray(x, np.float32) for key, x in flat.items()},
    )
  atomic_write(folder / "README.md", [model.card])
  files = {"files": model_files.checksums(folder)}
  text = _json(model_config.describe(model, places) | files)
  atomic_write(folder / "config.json", [text])


def load(
  name: str, *, compute_dtype: str = "auto", weights: bool = True
) -> NerModel:
  """Reads a folder, or a model of the Hugging Face hub.

  Args:
    name: the folder, or the model's id.
    compute_dtype: float32, bfloat16, or auto: bfloat16 on TPU and GPU.
    weights: whether to read them. A model without says what it is, and takes
      no device.

  Raises:
    UserError: there is no such model, or its files are not as `save` writes
      them.
  """
  dtype = devices.compute_dtype(compute_dtype) if weights else "float32"
  wanted = [f for f in _FILES if weights or f != _WEIGHTS]
  _recover(_place(name))
  folder = pathlib.Path(folder_or_download(str(name), wanted))
  config = _read_config(folder)
  with _blamed_on(folder / "config.json"):
    if config["system"] not in SYSTEMS:
      raise ValueError(
        f"system {config['system']!r} is none of {', '.join(SYSTEMS)}"
      )
    kind = SYSTEMS[config["system"]]
    decoding = model_config.decoding(config["decoding"])
    text_style = TextStyle(**config["text_style"])
    fields = {name: dict(config["tasks"][name]) for name in kind.task_names}
  # Older folders have none.
  files = config.get("files", {})
  tasks, params = {}, {}
  tokenizer = functools.cache(Tokenizer)  # Tasks may share one.
  with model_files.checking(folder, fields, files, weights=weights):
    for name, settings in fields.items():
      task = _make_task(folder, name, settings, dtype, tokenizer)
      if not files:
        task.tokenizer.check_vocabulary(task.model.encoder.vocab_size)
      tasks[name] = task
      if weights:
        params[name] = _read_params(folder / f"{name}.safetensors", task)
  card_file = folder / "README.md"
  text = ""
  if card_file.is_file():
    text = card_file.read_text("utf-8", errors="replace")
  model = NerModel(kind, tasks, params, decoding, text_style, text)
  with _blamed_on(folder / "config.json"):
    unknown = sorted(decoding.thresholds.per_type.keys() - set(model.labels))
    if unknown:
      raise ValueError(
        f"decoding.thresholds.per_type: the model has no type {unknown[0]!r}"
      )
  return model


def _read_config(folder: pathlib.Path) -> Json:
  """The fields of config.json, in the newest format."""
  path = folder / "config.json"
  try:
    text = path.read_bytes()
  except OSError:
    text = b"{}"
  with _blamed_on(path):
    config = parse(text)
  if not isinstance(config, dict) or config.get("library") != "splitner_jax":
    raise UserError(
      f"{folder}: no model of splitner_jax: its config.json is missing or of "
      "something else; give the folder `model` of a training run"
    )
  version = config.get("format_version")
  newest = model_config.FORMAT_VERSION
  with _blamed_on(path):
    if type(version) is not int or version < 1:
      raise ValueError(f"format_version {version!r} is no number of a format")
  if version > newest:
    raise UserError(
      f"{path}: format {version} is newer than this program reads ({newest}); "
      "upgrade splitner_jax"
    )
  # Older files have none.
  if config.get("checksum") not in (None, _checksum_of_fields(config)):
    raise UserError(
      f"{path}: is not as it was saved (another checksum); get the folder "
      "again, or, if you changed it yourself, delete its line 'checksum'"
    )
  with _blamed_on(path):
    config = model_config.upgraded(config)
    model_schema.check(config)
  return config


@contextlib.contextmanager
def _blamed_on(path: pathlib.Path) -> Iterator[None]:
  """Turns the errors of impossible contents into one that names the file."""
  try:
    yield
  except (KeyError, TypeError, ValueError, AttributeError) as e:
    reason = f"{e} is missing" if isinstance(e, KeyError) else str(e)
    raise UserError(
      f"{path}: not as this program writes it ({' '.join(reason.split())}); "
      "get the folder again"
    ) from e


def _make_task(
  folder: pathlib.Path,
  name: str,
  fields: Json,
  dtype: str,
  make_tokenizer: Callable[..., Tokenizer],
) -> AnyTask:
  with _blamed_on(folder / "config.json"):
    where, length = fields["tokenizer"], fields["max_length"]
    if where not in (".", name):
      raise ValueError(f"tokenizer {where!r} is no folder of a task")
    family, encoder = model_config.encoder(fields["encoder"], length, dtype)
    if fields["kind"] not in TASK_KINDS:
      raise ValueError(
        f"kind {fields['kind']!r} is none of {', '.join(TASK_KINDS)}"
      )
    restore = TASK_KINDS[fields["kind"]].restore
  if not any((folder / where / f).is_file() for f in TOKENIZER_FILES):
    raise UserError(
      f"{folder / where}: the tokenizer's files are missing; get the folder "
      "again"
    )
  tokenizer = make_tokenizer(
    str(folder / where),
    family.pairs,
    length,
    fields["reference"],
    saved=True,
  )
  with _blamed_on(folder / "config.json"):
    return restore(name, fields, encoder, tokenizer)


def _read_params(path: pathlib.Path, task: AnyTask) -> Tree:
  """Parameters from a file, after a look at their names and shapes."""
  if not path.is_file():
    raise UserError(f"{path}: is missing; get the folder again")
  numbers = path.stat().st_size // np.dtype(np.float32).itemsize
  check_numbers(str(path.with_name("config.json")), task.model.encoder, numbers)
  found = read_safetensors(str(path), "get the folder again")
  with _blamed_on(path.with_name("config.json")):
    wanted = parameter_shapes(task.model)
  odd = sorted(found.keys() ^ wanted.keys())
  if odd:
    which = "one too many" if odd[0] in found else "missing"
    raise UserError(
      f"{path}: parameter {odd[0]} is {which}; get config.json and this file "
      "from the same model"
    )
  for name, value in found.items():
    if value.shape != wanted[name] or value.dtype != np.float32:
      raise UserError(
        f"{path}: parameter {name} is {value.dtype}{list(value.shape)}, not "
        f"float32{list(wanted[name])}; get config.json and this file from the "
        "same model"
      )
    if not np.isfinite(value).all():
      raise UserError(
        f"{path}: parameter {name} is not finite; get the folder again"
      )
  return devices.replicate(traverse_util.unflatten_dict(found, sep="/"))
