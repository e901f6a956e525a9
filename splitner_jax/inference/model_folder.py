"""The published folder of a trained system: made to be shared and loaded.

  config.json             the tasks' settings, thresholds, how text is split
  TASK.safetensors        parameters of each task, float32, our own names
  tokenizer files         of all tasks; in TASK/ where the tasks' differ
  README.md               the model card

Nothing in it is executable or pickled.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import safetensors
from flax import traverse_util
from safetensors.numpy import load_file
from safetensors.numpy import save as to_bytes

import splitner_jax
from splitner_jax.data.tags import LabelScheme
from splitner_jax.data.text import TextStyle
from splitner_jax.inference.ner_model import NerModel
from splitner_jax.inputs.mention_examples import CONTEXTS, PLACES
from splitner_jax.inputs.tokenizer import Tokenizer
from splitner_jax.models.heads import (
  POOLINGS,
  PooledClassifier,
  TokenClassifier,
)
from splitner_jax.models.shapes import parameter_shapes
from splitner_jax.models.transformer import EncoderConfig
from splitner_jax.pretrained import FAMILIES, Family
from splitner_jax.pretrained.folders import TOKENIZER_FILES, folder_or_download
from splitner_jax.runtime import devices
from splitner_jax.runtime.errors import UserError
from splitner_jax.tasks import AnyTask, MentionTask, TokenTask
from splitner_jax.tasks.decoding import Decoding, Thresholds
from splitner_jax.tasks.systems import SYSTEMS, SystemKind

FORMAT_VERSION = 4
"""Raised when an older program could not read the folder correctly."""

# What older folders leave out.
_SINCE_1: dict[str, dict[str, Any]] = {
  "mention": {
    "none_class": False,
    "pooling": "cls",
    "positions": "question",
    "question": ["What", "is", "{mention}", "?"],
  },
  "token": {"pos_tags": [], "double_sep": False, "pos_vocab_size": 0},
}

# Of `models.heads.TokenClassifier`.
_HEAD_FIELDS = (
  "char_vocab_size",
  "pattern_vocab_size",
  "mask_char_padding",
  "pos_vocab_size",
)

_FILES = (
  "config.json",
  "README.md",
  "*.safetensors",
  *TOKENIZER_FILES,
  *(f"*/{name}" for name in TOKENIZER_FILES),
)


def save(folder: str | os.PathLike[str], model: NerModel) -> None:
  """Writes the folder: whole or not at all.

  Args:
    folder: to be made. A folder of a model that is there is replaced.

  Raises:
    UserError: there is another folder or file, or it cannot be written.
  """
  folder = pathlib.Path(os.path.abspath(folder))
  occupied = folder.is_file() or (folder.is_dir() and any(folder.iterdir()))
  if occupied and not _is_model(folder):
    raise UserError(
      f"{folder}: is there already and is no model; give another folder"
    )
  unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
  previous = folder.with_name(f".{folder.name}.{os.getpid()}.old")
  try:
    unfinished.mkdir(parents=True)
    _write(unfinished, model)
    with contextlib.suppress(FileNotFoundError):
      folder.replace(previous)
    try:
      unfinished.replace(folder)
    except OSError:
      with contextlib.suppress(FileNotFoundError):
        previous.replace(folder)
      raise
  except OSError as e:
    raise UserError(
      f"{folder}: cannot be written ({e.strerror}); check the folder"
    ) from e
  finally:
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.rmtree(previous, ignore_errors=True)


def _is_model(folder: pathlib.Path) -> bool:
  try:
    text = (folder / "config.json").read_text(encoding="utf-8")
    return json.loads(text)["library"] == "splitner_jax"
  except (OSError, ValueError, KeyError, TypeError):
    return False


def _write(folder: pathlib.Path, model: NerModel) -> None:
  tokenizers = [task.tokenizer for task in model.tasks.values()]
  shared = all(_same(tokenizers[0], other) for other in tokenizers)
  config: dict[str, Any] = {
    "library": "splitner_jax",
    "version": splitner_jax.__version__,
    "format_version": FORMAT_VERSION,
    "system": model.kind.name,
    "tasks": {},
    "decoding": dataclasses.asdict(model.decoding),
    "text_style": dataclasses.asdict(model.text_style),
  }
  for name, task in model.tasks.items():
    where = "." if shared else name
    config["tasks"][name] = {"tokenizer": where, **_describe(task)}
    task.tokenizer.fast.save_pretrained(folder / where)
    flat = traverse_util.flatten_dict(
      devices.to_host(model.params[name]), sep="/"
    )
    # Through bytes: the library makes files that only their owner can read.
    data = to_bytes(
      {key: np.ascontiguousarray(x, np.float32) for key, x in flat.items()}
    )
    (folder / f"{name}.safetensors").write_bytes(data)
  text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
  (folder / "config.json").write_text(text, encoding="utf-8")
  (folder / "README.md").write_text(model.card, encoding="utf-8")


def _same(one: Tokenizer, other: Tokenizer) -> bool:
  return one is other or (
    one.pairs == other.pairs
    and one.fast.special_tokens_map == other.fast.special_tokens_map
    and one.fast.backend_tokenizer.to_str()
    == other.fast.backend_tokenizer.to_str()
  )


def _describe(task: AnyTask) -> dict[str, Any]:
  """A task's part of config.json; `_make_task` undoes it."""
  encoder = dataclasses.asdict(task.model.encoder)
  del encoder["dtype"]  # The machine's choice, not the model's.
  common = {
    "encoder": encoder,
    "reference": task.tokenizer.reference,
    "max_length": task.tokenizer.max_length,
  }
  if isinstance(task, MentionTask):
    return {
      "kind": "mention",
      **common,
      "labels": list(task.labels),
      "none_class": task.none_class,
      "pooling": task.model.pooling,
      "question": list(task.question),
      "context": task.context,
      "max_context": task.max_context,
      "positions": task.positions,
    }
  asked: dict[str, Any] = {"kind": "token"}
  if task.asked:
    asked = {
      "kind": "type questions",
      "asked": [
        {"type": label, "question": list(words)}
        for label, words in zip(task.asked, task.questions, strict=True)
      ],
    }
  longest = max(task.questions, key=len)
  return {
    **asked,
    **common,
    "scheme": task.scheme.name,
    "types": list(task.scheme.types),
    "question": list(longest),
    "labels_on": task.labels_on,
    "features": list(task.features),
    "pos_tags": list(task.pos_tags),
    "double_sep": task.double_sep,
    **{field: getattr(task.model, field) for field in _HEAD_FIELDS},
  }


def load(name: str, *, compute_dtype: str = "auto") -> NerModel:
  """Reads a folder, or a model of the Hugging Face hub.

  Args:
    name: the folder, or the model's id.
    compute_dtype: float32, bfloat16, or auto: bfloat16 on TPU and GPU.

  Raises:
    UserError: there is no such model, or its files are not as `save` writes
      them.
  """
  dtype = devices.compute_dtype(compute_dtype)
  folder = pathlib.Path(folder_or_download(str(name), _FILES))
  config = _read_config(folder)
  with _blamed_on(folder / "config.json"):
    if config["system"] not in SYSTEMS:
      raise ValueError(
        f"system {config['system']!r} is none of {', '.join(SYSTEMS)}"
      )
    kind = SYSTEMS[config["system"]]
    decoding = _read_decoding(config, kind)
    text_style = TextStyle(**config["text_style"])
    fields = {name: dict(config["tasks"][name]) for name in kind.task_names}
  tasks, params = {}, {}
  for name, settings in fields.items():
    tasks[name] = _make_task(folder, name, settings, dtype)
    params[name] = _read_params(folder / f"{name}.safetensors", tasks[name])
  card_file = folder / "README.md"
  text = card_file.read_text("utf-8") if card_file.is_file() else ""
  return NerModel(kind, tasks, params, decoding, text_style, text)


def _read_decoding(config: dict[str, Any], kind: SystemKind[Any]) -> Decoding:
  """The decoding of a folder, whatever its format."""
  if config["format_version"] >= 4:
    fields = config["decoding"]
    found = fields["thresholds"]
    bias, temperature = fields["outside_bias"], fields["temperature"]
    least = 0.0
  else:
    # It was among the tasks' fields, with a least score beside the thresholds.
    tasks, found = config["tasks"], config["thresholds"]
    bias = tasks[kind.detection_task]["o_bias"]
    temperature = tasks.get("classifier", {}).get("temperature", 1.0)
    least = float(config.get("min_score", 0.0))
  thresholds = Thresholds(
    max(least, float(found["default"])),
    {k: max(least, float(v)) for k, v in found["per_type"].items()},
  )
  return Decoding(float(bias), float(temperature), thresholds)


def _read_config(folder: pathlib.Path) -> dict[str, Any]:
  path = folder / "config.json"
  if not _is_model(folder):
    raise UserError(
      f"{folder}: no model of splitner_jax: its config.json is missing or of "
      "something else; give the folder `model` of a training run"
    )
  config = json.loads(path.read_text(encoding="utf-8"))
  version = config.get("format_version")
  if not isinstance(version, int) or version > FORMAT_VERSION:
    raise UserError(
      f"{path}: format {version} is newer than this program reads "
      f"({FORMAT_VERSION}); upgrade splitner_jax"
    )
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


def _make_encoder(
  fields: dict[str, Any], dtype: str
) -> tuple[Family, EncoderConfig]:
  """Family and config of a task's encoder."""
  sizes = dict(fields["encoder"])
  if "family" not in sizes:  # Until format 3 there were two.
    sizes["family"] = "roberta" if fields["is_roberta"] else "bert"
  name = sizes["family"]
  if name not in FAMILIES:
    raise ValueError(f"family {name!r} is none of {', '.join(FAMILIES)}")
  family = FAMILIES[name]
  return family, family.config(**sizes, dtype=dtype)


def _make_task(
  folder: pathlib.Path, name: str, fields: dict[str, Any], dtype: str
) -> AnyTask:
  with _blamed_on(folder / "config.json"):
    where = fields["tokenizer"]
    if where not in (".", name):
      raise ValueError(f"tokenizer {where!r} is no folder of a task")
    family, encoder = _make_encoder(fields, dtype)
    reading = family.pairs, fields["max_length"], fields["reference"]
    if fields["max_length"] > encoder.max_length:
      # A gather beyond the positions would raise nothing.
      raise ValueError(
        f"max_length {fields['max_length']} is more than the "
        f"{encoder.max_length} that the encoder can read"
      )
    fields = _SINCE_1.get(fields["kind"], {}) | fields
  if not any((folder / where / f).is_file() for f in TOKENIZER_FILES):
    raise UserError(
      f"{folder / where}: the tokenizer's files are missing; get the folder "
      "again"
    )
  tokenizer = Tokenizer(str(folder / where), *reading)
  with _blamed_on(folder / "config.json"):
    if fields["kind"] == "mention":
      if "max_context" not in fields:  # Until format 2 that was `context`.
        fields |= {"context": "own", "max_context": fields["context"]}
      for key, options in (
        ("context", CONTEXTS),
        ("positions", PLACES),
        ("pooling", POOLINGS),
      ):
        if fields[key] not in options:
          raise ValueError(
            f"{key} {fields[key]!r} is none of {', '.join(options)}"
          )
      labels, none_class = tuple(fields["labels"]), fields["none_class"]
      return MentionTask(
        name=name,
        model=PooledClassifier(
          encoder, len(labels) + none_class, fields["pooling"]
        ),
        tokenizer=tokenizer,
        labels=labels,
        none_class=none_class,
        question=tuple(fields["question"]),
        context=fields["context"],
        max_context=fields["max_context"],
        positions=fields["positions"],
      )
    scheme = LabelScheme(fields["scheme"], tuple(fields["types"]))
    features = tuple(fields["features"])
    asked = fields.get("asked", [])
    return TokenTask(
      name=name,
      model=TokenClassifier(
        encoder,
        len(scheme.labels),
        features,
        **{field: fields[field] for field in _HEAD_FIELDS},
      ),
      tokenizer=tokenizer,
      scheme=scheme,
      questions=tuple(tuple(each["question"]) for each in asked)
      or (tuple(fields["question"]),),
      asked=tuple(each["type"] for each in asked),
      labels_on=fields["labels_on"],
      features=features,
      pos_tags=tuple(fields["pos_tags"]),
      double_sep=fields["double_sep"],
    )


def _read_params(path: pathlib.Path, task: AnyTask) -> Any:
  """Parameters from a file, after a look at their names and shapes."""
  if not path.is_file():
    raise UserError(f"{path}: is missing; get the folder again")
  try:
    found = load_file(path)
  except (safetensors.SafetensorError, OSError, KeyError, ValueError) as e:
    reason = " ".join(str(e).split())
    raise UserError(
      f"{path}: cannot be read ({reason}); get the folder again"
    ) from e
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
  return devices.replicate(traverse_util.unflatten_dict(found, sep="/"))
