"""What a model's config.json may hold, as JSON Schema, and the check of it.

Fields that are not named here are left alone, so that a newer version may add
some; those of an encoder are its config's, and no others.
"""

import dataclasses
import sys
from collections.abc import Iterator

import jsonschema

from splitner_jax.data.tags import MODEL_SCHEMES
from splitner_jax.data.words import check_word, label_fault
from splitner_jax.inputs.mention_examples import CONTEXTS, PLACES
from splitner_jax.inputs.questions import MENTION
from splitner_jax.inputs.word_features.reading import FEATURES, WORD_FEATURES
from splitner_jax.models.heads import POOLINGS
from splitner_jax.models.transformer import ACTIVATIONS, EncoderConfig
from splitner_jax.pretrained import FAMILIES
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.types import Json
from splitner_jax.tasks.tokens import LABELS_ON

_BOOLEAN = {"type": "boolean"}
_COUNT = {"type": "integer", "minimum": 0}
_SIZE = {"type": "integer", "minimum": 1}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_POSITIVE = {"type": "number", "exclusiveMinimum": 0}

_LABEL = {"type": "string", "label": True}
_LABELS = {"type": "array", "items": _LABEL, "uniqueItems": True}
_WORDS = {"type": "array", "items": {"type": "string", "word": True}}

# Fields of encoders whose name says more than their type.
_ENCODER_FIELDS: Json = {
  "activation": {"enum": [*ACTIVATIONS]},
  "hidden_dropout": _SHARE,
  "attention_dropout": _SHARE,
  # More would only be traced for hours before their parameters are missed.
  "num_layers": {"type": "integer", "minimum": 1, "maximum": 1000},
  "position_offset": _COUNT,
  "type_vocab_size": _COUNT,
}
_BY_TYPE: dict[object, Json] = {int: _SIZE, float: _POSITIVE, bool: _BOOLEAN}


def _object(fields: Json, optional: tuple[str, ...] = ()) -> Json:
  required = [name for name in fields if name not in optional]
  return {"type": "object", "properties": fields, "required": required}


def _encoder(family: str, config: type[EncoderConfig]) -> Json:
  fields: Json = {"family": {"const": family}}
  needed = []
  for field in dataclasses.fields(config):
    if field.name in ("dtype", "rematerialise", "family"):
      continue  # Choices of the machine's user.
    by_type = _BY_TYPE.get(field.type, {})
    fields[field.name] = _ENCODER_FIELDS.get(field.name, by_type)
    if field.default is dataclasses.MISSING:
      needed.append(field.name)
  return {
    "type": "object",
    "properties": fields,
    "required": [*needed, "family"],
    "additionalProperties": False,
  }


_TOKEN = {
  "scheme": {"enum": [*MODEL_SCHEMES]},
  "types": _LABELS,
  "question": _WORDS,
  "labels_on": {"enum": [*LABELS_ON]},
  "features": {
    "type": "array",
    "items": {"enum": [*FEATURES]},
    "uniqueItems": True,
  },
  "pos_tags": {
    "type": "array",
    "items": {"type": "string"},
    "uniqueItems": True,
  },
  "double_sep": _BOOLEAN,
  "char_vocab_size": _COUNT,
  "pattern_vocab_size": _COUNT,
  "mask_char_padding": _BOOLEAN,
  "pos_vocab_size": _COUNT,
  "word_features": {
    "type": "object",
    "properties": {name: f.schema for name, f in WORD_FEATURES.items()},
  },
}
_NOT_ALWAYS = ("word_features",)
_ASKED = {
  "type": "array",
  "minItems": 1,
  "items": _object({"type": _LABEL, "question": _WORDS}),
}
_MENTION = {
  "labels": _LABELS | {"minItems": 1},
  "none_class": _BOOLEAN,
  "pooling": {"enum": [*POOLINGS]},
  "question": _WORDS
  | {"contains": {"const": MENTION}, "minContains": 1, "maxContains": 1},
  "context": {"enum": [*CONTEXTS]},
  "max_context": _SIZE,
  "positions": {"enum": [*PLACES]},
}
_OF_KINDS: dict[str, Json] = {
  "token": _object(_TOKEN, _NOT_ALWAYS),
  "group": _object(_TOKEN, _NOT_ALWAYS),
  "type questions": _object(_TOKEN | {"asked": _ASKED}, _NOT_ALWAYS),
  "mention": _object(_MENTION),
}


def _task() -> Json:
  encoder = _object({"family": {"enum": [*FAMILIES]}})
  common = _object(
    {
      "kind": {"type": "string"},
      "tokenizer": {"type": "string"},
      "encoder": encoder,
      "reference": _BOOLEAN,
      "max_length": _SIZE,
    }
  )
  # What is registered from outside the package checks its own fields.
  kinds = [
    {"if": {"properties": {"kind": {"const": kind}}}, "then": schema}
    for kind, schema in _OF_KINDS.items()
  ]
  families = [
    {
      "if": {"properties": {"family": {"const": name}}},
      "then": _encoder(name, family.config),
    }
    for name, family in FAMILIES.items()
  ]
  common["properties"]["encoder"] = encoder | {"allOf": families}
  return common | {"allOf": kinds}


def _schema() -> Json:
  thresholds = _object(
    {
      "default": _SHARE,
      "per_type": {"type": "object", "additionalProperties": _SHARE},
    }
  )
  decoding = _object(
    {
      "outside_bias": {"type": "number"},
      # Far below what is ever fitted; probabilities are finite.
      "temperature": {"type": "number", "minimum": 0.001},
      "thresholds": thresholds,
    }
  )
  style = _object({"split_hyphens": _BOOLEAN, "unit_words": _COUNT})
  return _object(
    {
      "system": {"type": "string"},
      "tasks": {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": _task(),
      },
      "decoding": decoding,
      "text_style": style | {"additionalProperties": False},
      "files": {"type": "object", "additionalProperties": _COUNT},
    },
    optional=("files",),
  )


def _is_integer(_: object, value: object) -> bool:
  return type(value) is int  # By the standard 12.0 is one too.


def _is_number(_: object, value: object) -> bool:
  # Whole numbers have no end in JSON.
  most = sys.float_info.max
  if isinstance(value, bool) or not isinstance(value, int | float):
    return False
  return -most <= value <= most


def _label(_: object, wanted: bool, value: object, __: object) -> Iterator:
  """The keyword of names of types."""
  fault = label_fault(value) if wanted and isinstance(value, str) else ""
  if fault:
    yield jsonschema.ValidationError(f"{value!r} {fault}")


def _word(_: object, wanted: bool, value: object, __: object) -> Iterator:
  """The keyword of words."""
  try:
    if wanted and isinstance(value, str):
      check_word(value, "question")
  except UserError as e:
    yield jsonschema.ValidationError(str(e))


_Checker = jsonschema.validators.extend(
  jsonschema.Draft202012Validator,
  {"label": _label, "word": _word},
  type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
    {"integer": _is_integer, "number": _is_number}
  ),
)


def check(config: Json) -> None:
  """Checks all fields of the newest format.

  Raises:
    ValueError: one is missing, or is not what it may be; says which.
  """
  # FAMILIES may have grown since the import.
  error = jsonschema.exceptions.best_match(
    _Checker(_schema()).iter_errors(config)
  )
  if error is not None:
    place = error.json_path.removeprefix("$.")
    raise ValueError(f"{place}: {error.message}"[:300])
