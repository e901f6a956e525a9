"""config.json of a model's folder: fields of a model, and of older formats."""

import dataclasses

import splitner_jax
from splitner_jax.evaluation.thresholds import Thresholds
from splitner_jax.inference.ner_model import NerModel
from splitner_jax.models.transformer import EncoderConfig
from splitner_jax.pretrained import FAMILIES, Family
from splitner_jax.runtime.types import Json
from splitner_jax.tasks.decoding import Decoding

FORMAT_VERSION = 4
"""Raised when an older program could not read the folder correctly."""

# What the first folders of format 1 leave out.
_SINCE_1: dict[str, Json] = {
  "mention": {
    "none_class": False,
    "pooling": "cls",
    "positions": "question",
    "question": ["What", "is", "{mention}", "?"],
  },
  "token": {"pos_tags": [], "double_sep": False, "pos_vocab_size": 0},
}


def describe(model: NerModel, tokenizers: dict[str, str]) -> Json:
  """The fields of a model.

  Args:
    model: the model.
    tokenizers: of each task the folder of its tokenizer.
  """
  return {
    "library": "splitner_jax",
    "version": splitner_jax.__version__,
    "format_version": FORMAT_VERSION,
    "system": model.kind.name,
    "tasks": {
      name: {
        "tokenizer": tokenizers[name],
        "encoder": _describe_encoder(task.model.encoder),
        "reference": task.tokenizer.reference,
        "max_length": task.tokenizer.max_length,
        **task.describe(),
      }
      for name, task in model.tasks.items()
    },
    "decoding": dataclasses.asdict(model.decoding),
    "text_style": dataclasses.asdict(model.text_style),
  }


def upgraded(config: Json) -> Json:
  """The same fields in the newest format.

  Raises:
    KeyError, TypeError, ValueError, AttributeError: they are of no format.
  """
  if config["format_version"] == FORMAT_VERSION:
    return config
  config = dict(config)
  # The least score of a mention was beside the thresholds, the rest with the
  # tasks.
  least = float(config.pop("min_score", 0.0))
  found = config.pop("thresholds")
  tasks = {name: _upgraded_task(f) for name, f in config["tasks"].items()}
  biases = [f.pop("o_bias") for f in tasks.values() if "o_bias" in f]
  temperatures = [
    f.pop("temperature") for f in tasks.values() if "temperature" in f
  ]
  config["decoding"] = {
    "outside_bias": biases[0],
    "temperature": temperatures[0] if temperatures else 1.0,
    "thresholds": {
      "default": max(least, float(found["default"])),
      "per_type": {
        label: max(least, float(value))
        for label, value in found["per_type"].items()
      },
    },
  }
  return config | {"tasks": tasks, "format_version": FORMAT_VERSION}


def _upgraded_task(fields: Json) -> Json:
  """The fields of a task, its part of the decoding left as it is."""
  fields = _SINCE_1.get(fields["kind"], {}) | fields
  if fields["kind"] == "mention" and "max_context" not in fields:
    # Until format 2 that was `context`.
    fields |= {"context": "own", "max_context": fields["context"]}
  # Until format 3 there were two families.
  family = "roberta" if fields.pop("is_roberta") else "bert"
  fields["encoder"] = {**fields["encoder"], "family": family}
  fields.pop("loss", None)
  return fields


def decoding(fields: Json) -> Decoding:
  """The decoding that `dataclasses.asdict` made fields of."""
  thresholds = fields["thresholds"]
  return Decoding(
    float(fields["outside_bias"]),
    float(fields["temperature"]),
    Thresholds(
      float(thresholds["default"]),
      {label: float(v) for label, v in thresholds["per_type"].items()},
    ),
  )


def _describe_encoder(encoder: EncoderConfig) -> Json:
  fields = dataclasses.asdict(encoder)
  for name in ("dtype", "rematerialise"):  # Choices of the machine's user.
    del fields[name]
  return fields


def encoder(
  fields: Json, max_length: int, dtype: str
) -> tuple[Family, EncoderConfig]:
  """Family and config of an encoder.

  Args:
    fields: its own.
    max_length: of the inputs that it is to read.
    dtype: of the computation.
  """
  family = FAMILIES[fields["family"]]
  made = family.config(**fields, dtype=dtype)
  if max_length > made.max_length:
    # A gather beyond the positions would raise nothing.
    raise ValueError(
      f"max_length {max_length} is more than the {made.max_length} that the "
      "encoder can read"
    )
  return family, made
