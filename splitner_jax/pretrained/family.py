"""What there is to say about a family of backbones, once for each.

A family is a record of this kind in a module of its own here, listed in
`families`, and the flax module that its config names. Nothing else in the
package knows one family from another.
"""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from splitner_jax.inputs.tokenizer import PairStyle
from splitner_jax.models.transformer import ACTIVATIONS, EncoderConfig
from splitner_jax.pretrained.entries import WeightMapping
from splitner_jax.runtime.errors import UserError


class ConfigFields:
  """The fields of a config.json, checked as they are read.

  All methods raise UserError, in one line, for what the encoder does not
  compute exactly.
  """

  def __init__(self, path: str, fields: Mapping[str, object]):
    """Of the file at `path`, which errors name."""
    self._path = path
    self._fields = fields

  def get(self, key: str, default: object = None) -> Any:
    """A field as it is."""
    return self._fields.get(key, default)

  def refuse(self, key: str, wanted: str) -> NoReturn:
    """Says that a field is not what is wanted."""
    raise UserError(
      f"{self._path}: {key} is {json.dumps(self.get(key))}, not {wanted}; use "
      "another checkpoint"
    )

  def expect(self, key: str, value: bool | str | None) -> None:
    """Checks that a field, if it is there, has the only value there is."""
    if self.get(key, value) != value:
      self.refuse(key, json.dumps(value))

  def size(self, key: str, default: int | None = None) -> int:
    """A positive integer."""
    value = self.get(key, default)
    if type(value) is not int or value < 1:
      self.refuse(key, "a positive integer")
    return value

  def rate(self, key: str, default: float) -> float:
    """A number from 0 to 1."""
    value = self.get(key, default)
    if type(value) not in (int, float) or not 0 <= value < 1:
      self.refuse(key, "a number from 0 to 1")
    return value

  def flag(self, key: str, default: bool) -> bool:
    """True or false."""
    value = self.get(key, default)
    if type(value) is not bool:
      self.refuse(key, "true or false")
    return value

  def activation(self, key: str) -> str:
    """The name of an activation, GELU if there is none."""
    value = self.get(key, "gelu")
    if not isinstance(value, str) or value not in ACTIVATIONS:
      self.refuse(key, f"one of {', '.join(ACTIVATIONS)}")
    return value

  def sizes(self) -> dict[str, int]:
    """The sizes that all families have, by their names in `EncoderConfig`."""
    sizes = {
      "vocab_size": self.size("vocab_size"),
      "hidden_size": self.size("hidden_size"),
      "num_layers": self.size("num_hidden_layers"),
      "num_heads": self.size("num_attention_heads"),
      "intermediate_size": self.size("intermediate_size"),
      "max_positions": self.size("max_position_embeddings"),
    }
    if sizes["hidden_size"] % sizes["num_heads"]:
      self.refuse("hidden_size", "a multiple of num_attention_heads")
    return sizes


@dataclasses.dataclass(frozen=True)
class Family:
  """A family of backbones.

  Attributes:
    name: its `model_type` in config.json, and its name in our model folders.
    architecture: the class of transformers that an exported folder names.
    config: the config of its encoder, whose `family` is `name`.
    read: makes one from a config.json, in a dtype of computation.
    pairs: how its models read two sequences.
    entries: the table of an encoder of so many layers, under the names of a
      checkpoint without prefix; a model need not have all parameters in it.
    prefix: of these names in the checkpoint of a whole task.
    spellings: patterns of other names of tensors, with the table's.
    unused: how names of tensors start that nobody needs: buffers, the heads of
      the pretraining, a pooler that the model has no use for.
    has_pooler: whether a published encoder may come with a pooler.
    pattern_cnn: the name of the pattern feature's CNN in the reference.
  """

  name: str
  architecture: str
  config: type[EncoderConfig]
  read: Callable[[ConfigFields, str], EncoderConfig]
  pairs: PairStyle
  entries: Callable[[int], Sequence[WeightMapping]]
  prefix: str
  spellings: tuple[tuple[re.Pattern[str], str], ...]
  unused: tuple[str, ...]
  has_pooler: bool = False
  pattern_cnn: str = "pattern_cnn"

  def canonical(self, name: str) -> str:
    """A tensor's name in the table's spelling."""
    for pattern, spelling in self.spellings:
      name = pattern.sub(spelling, name)
    return name
