"""Finding a checkpoint's folder and reading its config.json."""

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence

from splitner_jax.models.transformer import EncoderConfig
from splitner_jax.pretrained.families import FAMILIES
from splitner_jax.pretrained.family import ConfigFields, Family
from splitner_jax.runtime import files
from splitner_jax.runtime.cache import cache_dir
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.json_text import parse
from splitner_jax.runtime.types import Json

TOKENIZER_FILES = (
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.txt",
  "vocab.json",
  "merges.txt",
)

_SAFETENSORS = (
  "model.safetensors",
  "model.safetensors.index.json",
  "model-*-of-*.safetensors",
)

_BIN = "pytorch_model.bin"

_MINILM = "all-MiniLM-L6-v2"
_MINILM_ON_THE_HUB = f"sentence-transformers/{_MINILM}"


@dataclasses.dataclass(frozen=True)
class Backbone:
  """A pretrained encoder: where its files are, and its sizes."""

  folder: str
  encoder: EncoderConfig

  @property
  def family(self) -> Family:
    """The family of its encoder."""
    return FAMILIES[self.encoder.family]


def resolve(name: str) -> str:
  """The local folder of a checkpoint.

  Args:
    name: "minilm" (the default backbone, which the set-up script puts into
      the cache; where it is not, the hub has it), a folder, or the id of a
      model on the Hugging Face hub, which is downloaded (weights, config,
      vocabulary; never code).

  Raises:
    UserError: if there is no such folder, or the hub cannot be reached or has
      no such model.
  """
  if name == "minilm":
    folder = cache_dir() / _MINILM
    if folder.is_dir():
      return str(folder)
    try:
      return resolve(_MINILM_ON_THE_HUB)
    except UserError as e:
      raise UserError(
        f"minilm: is not in {folder}, where launch/setup.sh of a checkout puts "
        f"it; {e}"
      ) from e
  wanted = ("config.json", *TOKENIZER_FILES)
  found = folder_or_download(name, [*wanted, *_SAFETENSORS])
  if os.path.isdir(os.path.expanduser(name)):
    return found
  if not any(f.endswith(".safetensors") for f in os.listdir(found)):
    found = folder_or_download(name, [*wanted, _BIN])
  return found


def folder_or_download(name: str, patterns: Sequence[str]) -> str:
  """A folder, or where a model of the Hugging Face hub has been put.

  Args:
    name: a folder, or a model's id.
    patterns: which files of the model to download.

  Raises:
    UserError: see `resolve`.
  """
  folder = os.path.expanduser(name)
  if os.path.isdir(folder):
    if not files.is_utf_8(folder):
      raise UserError(f"{folder}: its name is not UTF-8; rename the folder")
    return folder
  if not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name):
    raise UserError(
      f"{name!r} is no folder, and no model of the Hugging Face hub has such "
      "a name; give an existing folder, or owner/name"
    )
  # Here, since a start with a local folder should not wait for it.
  import huggingface_hub
  from huggingface_hub import errors

  try:
    return huggingface_hub.snapshot_download(name, allow_patterns=[*patterns])
  except errors.GatedRepoError as e:
    raise UserError(
      f"{name}: the hub asks for permission; ask for it on the model's page, "
      "then log in with `hf auth login`"
    ) from e
  except (errors.RepositoryNotFoundError, errors.HFValidationError) as e:
    raise UserError(
      f"{name}: no such folder, and no such model on the Hugging Face hub; "
      "check the name, or log in with `hf auth login` if it is private"
    ) from e
  # Whatever else there is: the HTTP library's errors are not the hub's.
  except Exception as e:
    reason = " ".join(f"{type(e).__name__}: {e}".split())
    raise UserError(
      f"{name}: no such folder, and the Hugging Face hub cannot be reached; "
      "go online, or download the model elsewhere and give its folder "
      f"({reason[:120]})"
    ) from e


def read_config(folder: str) -> Json:
  """The fields of config.json, unchecked."""
  path = os.path.join(folder, "config.json")
  try:
    with open(path, "rb") as file:
      fields = parse(file.read())
  except OSError as e:
    raise UserError(
      f"{path}: {e.strerror}; a checkpoint is a folder with config.json and "
      "weights"
    ) from e
  except ValueError as e:
    raise UserError(f"{path}: not valid JSON ({e}); download it again") from e
  if not isinstance(fields, dict):
    raise UserError(f"{path}: not a JSON object; download it again")
  return fields


def checksum(folder: str) -> int:
  """CRC-32 of all that is read of a checkpoint, or of a model of ours.

  Raises:
    UserError: a file cannot be read.
  """
  try:
    names = sorted(os.listdir(folder))
    weights = [n for n in names if n.endswith((".safetensors", ".index.json"))]
    found = 0
    for name in ("config.json", *TOKENIZER_FILES, *(weights or [_BIN])):
      if name in names:
        found = files.checksum(os.path.join(folder, name), found)
    return found
  except OSError as e:
    raise UserError(
      f"{e.filename}: cannot be read ({e.strerror}); check it"
    ) from e


def _family_name(fields: Mapping[str, object], config: ConfigFields) -> object:
  """The name of a family, or what the file calls itself."""
  if "model_type" in fields:
    return fields["model_type"]
  # Files from before there was a model_type.
  names = fields.get("architectures") or [""]
  if not isinstance(names, list):
    config.refuse("architectures", "a list of names")
  for family in FAMILIES.values():
    if str(names[0]).startswith(family.architecture.removesuffix("Model")):
      return family.name
  return "bert"


def read_family(folder: str) -> tuple[Family, ConfigFields]:
  """The family of a checkpoint, and its config.

  Raises:
    UserError: if config.json is missing or broken, or of no family.
  """
  fields = read_config(folder)
  config = ConfigFields(os.path.join(folder, "config.json"), fields)
  name = _family_name(fields, config)
  if not isinstance(name, str) or name not in FAMILIES:
    config.refuse("model_type", f"one of {', '.join(FAMILIES)}")
  return FAMILIES[name], config


def read_backbone(folder: str, dtype: str = "float32") -> Backbone:
  """Reads the config of a checkpoint.

  Args:
    folder: has a config.json; see `resolve`.
    dtype: of the computation, see `EncoderConfig`.

  Raises:
    UserError: if the file is missing or broken, or describes a model that the
      encoder does not compute exactly.
  """
  family, fields = read_family(folder)
  encoder = family.read(fields, dtype)
  _check_sizes(folder, encoder)
  return Backbone(folder, encoder)


def _check_sizes(folder: str, encoder: EncoderConfig) -> None:
  """Refuses a config.json of a far larger model than its weights.

  Its parameters would be made first, and compared with the weights then.
  """
  names = os.listdir(folder)
  weights = [n for n in names if n.endswith(".safetensors")]
  if not weights and _BIN in names:
    weights = [_BIN]
  if not weights:
    return  # Told when they are read.
  there = sum(os.path.getsize(os.path.join(folder, name)) for name in weights)
  # Each number has two bytes or more.
  check_numbers(os.path.join(folder, "config.json"), encoder, there // 2)


def check_numbers(config: str, encoder: EncoderConfig, there: int) -> None:
  """Refuses a config of a far larger encoder than its weights.

  Args:
    config: the file that describes the encoder.
    encoder: as it says.
    there: numbers that the weights can have, at most.

  Raises:
    UserError: the tables and the linear layers alone are more.
  """
  family = FAMILIES[encoder.family]
  width: int = getattr(encoder, "embedding_size", encoder.hidden_size)
  names = [name for entry in family.entries(0) for name in entry.foreign]
  rows = encoder.vocab_size
  if any("position" in name for name in names):
    rows += encoder.max_positions
  hidden = encoder.hidden_size
  of_layer = 2 * hidden * (2 * hidden + encoder.intermediate_size)
  wanted = rows * width + encoder.num_layers * of_layer
  if wanted > there:
    raise UserError(
      f"{config}: describes a model of {wanted:,} numbers or more, but its "
      f"weights are at most {there:,}; get both from the same model"
    )


def entity_types(
  folder: str, num_labels: int, given: Sequence[str] = ()
) -> tuple[str, ...]:
  """Names of a classifier's outputs, in their order.

  Args:
    folder: has a config.json, whose `id2label` may name them.
    num_labels: how many there are.
    given: the user's own list (`config.classifier.labels`); it comes first.

  Raises:
    UserError: if they are not given and config.json has no real names, or if
      there are not `num_labels` different ones. They are never guessed: in
      another order, every entity would get a wrong type.
  """
  path = os.path.join(folder, "config.json")
  option = "--config.classifier.labels=A,B,..."
  if given:
    names, source = tuple(given), "config.classifier.labels"
  else:
    table = read_config(folder).get("id2label") or {}
    try:
      names = tuple(str(table[str(i)]) for i in range(len(table)))
    except (KeyError, TypeError) as e:
      raise UserError(
        f"{path}: id2label does not number the labels from 0; give them in "
        f"their order with {option}"
      ) from e
    source = f"{path}: id2label"
    if not names or all(re.fullmatch(r"LABEL_\d+", n) for n in names):
      raise UserError(
        f"{path} does not name the {num_labels} entity types; give them in "
        f"the order of the training with {option}"
      )
  if len(names) != num_labels or len(set(names)) != num_labels:
    raise UserError(
      f"{source} has {len(set(names))} different names, but the checkpoint "
      f"has {num_labels} entity types; give {num_labels} with {option}"
    )
  return names
