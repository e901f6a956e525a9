"""Weights from a checkpoint into our parameters, and back.

The use of the table is total in both directions: a tensor or a parameter
without a partner is an error, unless a list below names it.
"""

import dataclasses
import json
import logging
import os
import re
import shutil
from collections.abc import Iterable, Mapping

import numpy as np
from flax import traverse_util

from splitner_jax.pretrained.entries import WeightMapping
from splitner_jax.pretrained.family import Family
from splitner_jax.pretrained.folders import (
  TOKENIZER_FILES,
  Backbone,
  read_config,
  read_family,
)
from splitner_jax.pretrained.table import published, table
from splitner_jax.pretrained.tensors import (
  Tensors,
  read_tensors,
  write_safetensors,
)
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.files import atomic_folder
from splitner_jax.runtime.types import Json, Tree

Params = Mapping[str, Tree]

log = logging.getLogger(__name__)

# Heads of the task that a backbone was last trained for; a whole task's
# checkpoint may leave none of them over.
_OTHER_TASK = re.compile(
  r"(classifier|qa_outputs|char_cnn|pattern_cnn|pattern_lstm)\."
)
# Parts of ours that start new if the backbone has nothing for them.
_NEW_PARTS = ("pooler", "char", "pattern", "pos", "words", "classifier")
# Their last row stands for characters outside the reference's alphabet.
_ALPHABETS = ("char/cnn/embedding", "pattern/cnn/embedding")


def _read(folder: str, family: Family) -> tuple[Tensors, dict[str, str]]:
  """Tensors under the table's spelling, and their names in the file."""
  tensors: Tensors = {}
  originals: dict[str, str] = {}
  for original, tensor in read_tensors(folder).items():
    name = family.canonical(original)
    if name in tensors:
      raise UserError(
        f"{folder}: {originals[name]} and {original} are the same tensor; "
        "remove one of them"
      )
    tensors[name] = tensor
    originals[name] = original
  return tensors, originals


def _flatten(params: Params) -> Json:
  return traverse_util.flatten_dict(params, sep="/")


def _table_for(params: Params, family: Family) -> dict[str, WeightMapping]:
  encoder = params.get("encoder", {})
  return table(family, sum(name.startswith("layer_") for name in encoder))


def _shorten(names: Iterable[str]) -> str:
  listed = sorted(names)
  rest = f" and {len(listed) - 4} more" if len(listed) > 4 else ""
  return ", ".join(listed[:4]) + rest or "none"


def fill(params: Params, folder: str, *, complete: bool = False) -> Json:
  """Puts the weights of a checkpoint into a model's parameters.

  Args:
    params: what `model.init` gives: `encoder`, and what the model has of
      `pooler`, `char`, `pattern`, `pos`, `classifier`.
    folder: the checkpoint; see `resolve`.
    complete: whether the checkpoint is one of the same task, which must fill
      every parameter. If not, it is a backbone: the parts above the encoder
      that it does not have stay as they are, and its own heads are dropped.

  Returns:
    The same tree, as float32 NumPy arrays.

  Raises:
    UserError: if the checkpoint is broken, or does not fit: with tensors or
      parameters left over, or of another shape.
  """
  family, _ = read_family(folder)
  tensors, originals = _read(folder, family)
  entries = _table_for(params, family)
  flat = {k: np.asarray(v, np.float32) for k, v in _flatten(params).items()}
  new = set() if complete else _new_parts(flat, entries, tensors)
  taken = [entries[path] for path in flat if path.split("/")[0] not in new]
  wanted = {name for entry in taken for name in entry.foreign}
  missing = wanted - tensors.keys()
  left_over = [
    originals[name]
    for name in tensors.keys() - wanted
    if not name.startswith(family.unused)
    and (complete or not _OTHER_TASK.match(name))
  ]
  if missing or left_over:
    raise UserError(
      f"{folder} does not fit the model: the model also needs "
      f"{_shorten(missing)}; the checkpoint also has {_shorten(left_over)}; "
      "get config.json and weights from the same model"
    )
  for entry in taken:
    where = {name: f"{folder}: {originals[name]}" for name in entry.foreign}
    flat[entry.ours] = _take(entry, flat[entry.ours], tensors, where)
  if new:
    log.info("new, not in %s: %s", folder, ", ".join(sorted(new)))
  return traverse_util.unflatten_dict(flat, sep="/")


def _new_parts(
  flat: Mapping[str, np.ndarray],
  entries: Mapping[str, WeightMapping],
  tensors: Tensors,
) -> set[str]:
  """The parts of a model for which a backbone has nothing."""
  new = set()
  for part in {path.split("/")[0] for path in flat} & set(_NEW_PARTS):
    own = [entries[path] for path in flat if path.startswith(f"{part}/")]
    names = [name for entry in own for name in entry.foreign]
    if not any(name in tensors for name in names) or (
      # A classifier of another shape is that of another task.
      part == "classifier"
      and any(
        tensors[name].shape != tensor.shape
        for entry in own
        for name, tensor in _saved(entry, flat[entry.ours])
        if name in tensors
      )
    ):
      new.add(part)
  return new


def _saved(
  entry: WeightMapping, value: np.ndarray
) -> Iterable[tuple[str, np.ndarray]]:
  return zip(entry.foreign, entry.layout.save(value), strict=True)


def _take(
  entry: WeightMapping,
  value: np.ndarray,
  tensors: Tensors,
  where: Mapping[str, str],
) -> np.ndarray:
  """One parameter from its tensors; `value` is what it has been so far."""
  loaded: list[np.ndarray] = []
  for name, expected in _saved(entry, value):
    tensor = tensors[name]
    # ml_dtypes' bfloat16 is of no kind that NumPy knows as floating.
    if tensor.dtype.kind != "f" and tensor.dtype.name != "bfloat16":
      raise UserError(
        f"{where[name]} is {tensor.dtype}; only floating-point weights are "
        "supported; use a checkpoint that is not quantized"
      )
    tensor = tensor.astype(np.float32)
    if not np.isfinite(tensor).all():
      raise UserError(
        f"{where[name]} is not finite (NaN or infinity); download it again"
      )
    if entry.ours in _ALPHABETS and tensor.shape == value[:-1].shape:
      tensor = np.concatenate([tensor, value[-1:]])
    if tensor.shape != expected.shape:
      raise UserError(
        f"{where[name]} has shape {tensors[name].shape}, but the model has "
        f"{expected.shape} there; compare config.json and the weights"
      )
    loaded.append(tensor)
  return np.ascontiguousarray(entry.layout.load(loaded))


def to_hf(params: Params, family: Family) -> Tensors:
  """The reverse of `fill`: parameters under the names of a checkpoint.

  Args:
    params: of a whole model, or some of its parts.
    family: whose names to use.

  Returns:
    float32 arrays. torch's second LSTM bias, only ever added to the first,
    is 0.
  """
  entries = _table_for(params, family)
  tensors: Tensors = {}
  for path, value in _flatten(params).items():
    part = path.split("/")[0]
    for name, tensor in _saved(entries[path], np.asarray(value, np.float32)):
      # safetensors writes the memory as it lies, whatever the strides.
      tensors[published(name, part, family)] = np.ascontiguousarray(tensor)
  return tensors


def export(params: Params, folder: str, backbone: Backbone) -> None:
  """Writes a model's encoder as a folder that transformers can load.

  Args:
    params: of a whole model; `encoder` is written and, in a family that has
      one, `pooler`. A model without it leaves the backbone's as it was.
    folder: to be made, with weights, config.json and the tokenizer's files;
      it is complete or not there at all.
    backbone: what the model started from.

  Raises:
    UserError: if the folder exists and is not empty, or cannot be written.
  """
  if os.path.isdir(folder) and os.listdir(folder):
    raise UserError(f"{folder} is not empty; remove it or give another folder")
  family = backbone.family
  tensors: Tensors = {}
  if family.has_pooler and "pooler" not in params:
    tensors = {
      name: np.ascontiguousarray(tensor, np.float32)
      for name, tensor in _read(backbone.folder, family)[0].items()
      if name.startswith("pooler.")
    }
  names = ("encoder", "pooler") if family.has_pooler else ("encoder",)
  parts = {k: params[k] for k in names if k in params}
  for name, tensor in to_hf(parts, family).items():
    tensors[family.canonical(name)] = tensor

  config = read_config(backbone.folder)
  config.pop("auto_map", None)  # Names code that is not part of the folder.
  config.pop("torch_dtype", None)  # The older name of `dtype`.
  config |= {
    "model_type": family.name,
    "architectures": [family.architecture],
    "dtype": "float32",
  }
  with atomic_folder(folder) as unfinished:
    write_safetensors(
      unfinished / "model.safetensors",
      tensors,
      {"format": "pt"},  # transformers reads no file without it.
    )
    with (unfinished / "config.json").open("w", encoding="utf-8") as file:
      json.dump(config, file, indent=2, sort_keys=True)
      file.write("\n")
    for name in TOKENIZER_FILES:
      source = os.path.join(backbone.folder, name)
      if os.path.isfile(source):
        shutil.copyfile(source, unfinished / name)


@dataclasses.dataclass(frozen=True)
class CheckpointHead:
  """What a checkpoint of a whole task has on top of its encoder.

  Attributes:
    features: those of `models.heads.TokenClassifier`.
    char_vocab_size, pattern_vocab_size: rows of their embeddings, 0 without.
  """

  num_labels: int
  features: tuple[str, ...]
  char_vocab_size: int
  pattern_vocab_size: int


def read_head(folder: str) -> CheckpointHead:
  """Infers the head of a detector, classifier or tagger from its tensors.

  Raises:
    UserError: if the checkpoint has no classifier, or is broken.
  """
  tensors, _ = _read(folder, read_family(folder)[0])
  if "classifier.weight" not in tensors:
    raise UserError(
      f"{folder} has no classifier.weight: it is a backbone, not a checkpoint "
      "of a task; give it as the backbone"
    )

  def rows(name: str) -> int:
    return len(tensors[name]) if name in tensors else 0

  vocabs = {
    "char": rows("char_cnn.emb.weight"),
    "pattern": rows("pattern_cnn.emb.weight"),
  }
  return CheckpointHead(
    num_labels=rows("classifier.weight"),
    features=tuple(name for name, size in vocabs.items() if size),
    char_vocab_size=vocabs["char"],
    pattern_vocab_size=vocabs["pattern"],
  )
