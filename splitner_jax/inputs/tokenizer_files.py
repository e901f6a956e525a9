"""The tokenizer files of a folder, read as they are meant."""

import json
import os
from typing import TYPE_CHECKING

import tokenizers
from tokenizers import models, normalizers

from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.json_text import parse
from splitner_jax.runtime.types import Json

if TYPE_CHECKING:
  from transformers import PreTrainedTokenizerFast

NEEDED = "tokenizer.json, or vocab.txt and tokenizer_config.json"
"""What a folder needs."""

# In place of the vocabulary, which takes most of the time.
_NO_VOCABULARY = {"type": "BPE", "vocab": {}, "merges": []}

_OBJECTS = (
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
)

# What `encode` is tried with: some errors come with an unknown word only.
_UNKNOWN = "\N{EGYPTIAN HIEROGLYPH A001}"


def load(folder: str, **options: bool | None) -> "PreTrainedTokenizerFast":
  """The tokenizer of transformers, without any network or code of others.

  It normalises and splits text as tokenizer.json says, of which some classes
  of transformers take the vocabulary only; what tokenizer_config.json says of
  BERT's normalisation comes first, as in transformers.

  Args:
    folder: a Hugging Face model folder.
    **options: of the class of tokenizers.

  Raises:
    UserError: no fast tokenizer can be read.
  """
  # Slow to import: what is refused, and a saved model, does not wait for it.
  import transformers

  try:
    for name in _OBJECTS:
      _fields(_read(folder, name) or b"{}", name)
    text = _read(folder, "tokenizer.json")
    own = tokenizers.Tokenizer(models.BPE()) if text is None else _parts(text)
    normalizer, pre_tokenizer = own.normalizer, own.pre_tokenizer
    if isinstance(normalizer, normalizers.BertNormalizer):
      config = _read(folder, "tokenizer_config.json")
      said = _fields(config or b"{}", "tokenizer_config.json")
      found = {
        "do_lower_case": normalizer.lowercase,
        "strip_accents": normalizer.strip_accents,
        "tokenize_chinese_chars": normalizer.handle_chinese_chars,
      }
      options |= {k: v for k, v in found.items() if k not in said}
      normalizer = None
    fast = transformers.AutoTokenizer.from_pretrained(
      folder, local_files_only=True, trust_remote_code=False, **options
    )
    if not isinstance(fast, transformers.PreTrainedTokenizerFast):
      raise TypeError("its class is a slow one")
    backend = fast.backend_tokenizer
    if normalizer is not None:
      backend.normalizer = normalizer
    if pre_tokenizer is not None:
      backend.pre_tokenizer = pre_tokenizer
    backend.encode(_UNKNOWN, add_special_tokens=False)
    return fast
  # Of each file, and of config.json, there are errors of many types.
  except Exception as e:
    raise _unreadable(folder, e) from e


def load_saved(
  folder: str,
) -> tuple[tokenizers.Tokenizer, dict[str, str]] | None:
  """The tokenizer that `save_pretrained` wrote, without transformers.

  What a class of transformers made of a folder is in the tokenizer.json that
  it writes, so that none has to make it again.

  Args:
    folder: of a saved model.

  Returns:
    It, and the special tokens that are named, by `cls` and the like; None
    without a tokenizer.json.

  Raises:
    UserError: it cannot be read.
  """
  try:
    named = {}
    for name in reversed(_OBJECTS):  # The last word has the config.
      for key, value in _fields(_read(folder, name) or b"{}", name).items():
        token = value.get("content") if isinstance(value, dict) else value
        if key.endswith("_token") and isinstance(token, str):
          named[key.removesuffix("_token")] = token
    text = _read(folder, "tokenizer.json")
    if text is None:
      return None
    backend = tokenizers.Tokenizer.from_buffer(text)
    backend.encode(_UNKNOWN, add_special_tokens=False)
    return backend, named
  except Exception as e:
    raise _unreadable(folder, e) from e


def _unreadable(folder: str, error: Exception) -> UserError:
  reason = " ".join(str(error).split())[:200]
  return UserError(
    f"{folder}: no tokenizer could be read ({reason}); the folder needs "
    f"{NEEDED}"
  )


def _read(folder: str, name: str) -> bytes | None:
  """What is in a file, None if it is not there."""
  try:
    with open(os.path.join(folder, name), "rb") as file:
      return file.read()
  except FileNotFoundError:
    return None


def _fields(text: bytes, name: str) -> Json:
  try:
    fields = parse(text)
  except ValueError as e:
    raise ValueError(f"{name}: {e}") from None
  if not isinstance(fields, dict):
    raise ValueError(f"{name}: no JSON object")
  return fields


def _parts(text: bytes) -> tokenizers.Tokenizer:
  """What a tokenizer.json says, but for the vocabulary."""
  name = "tokenizer.json"
  # Nearly all of it is the vocabulary, which is last as a rule.
  head, _, _ = text.partition(b'"model"')
  try:
    fields = _fields(head + b'"model": null}', name)
  except ValueError:
    fields = {}
  if not fields.keys() >= {"normalizer", "pre_tokenizer"}:
    fields = _fields(text, name)
  fields |= {"model": _NO_VOCABULARY, "added_tokens": []}
  return tokenizers.Tokenizer.from_str(json.dumps(fields))
