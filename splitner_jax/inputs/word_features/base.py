"""What every feature of words has."""

import abc
import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Self

from splitner_jax.data.sentences import Sentence
from splitner_jax.runtime.types import Json


@dataclasses.dataclass(frozen=True)
class WordFeature(abc.ABC):
  """What the training sentences say of words; its fields are JSON.

  Attributes:
    sizes: of each column, one more than its largest number.
    schema: JSON Schema of its fields in a model's folder.
  """

  sizes: ClassVar[tuple[int, ...]]
  schema: ClassVar[Json] = {"type": "object", "maxProperties": 0}

  @classmethod
  @abc.abstractmethod
  def fit(cls, sentences: Sequence[Sentence]) -> Self:
    """Counts what it needs in the training sentences."""

  @abc.abstractmethod
  def numbers(
    self, sentence: Sentence, *, counted: bool
  ) -> list[tuple[int, ...]]:
    """Of each word its number in each column, from 1 on.

    Args:
      sentence: its mentions may be read only if it is counted.
      counted: whether `fit` has counted it. Then what it has counted there is
        left out, so that in training too a word is known by others alone.
    """

  def describe(self) -> Json:
    """Its fields in a model's folder, those that it is made of."""
    return dataclasses.asdict(self)


def counts_schema(*names: str) -> Json:
  """JSON Schema of a feature whose fields are counts of texts."""
  count = {"type": "integer", "minimum": 1}
  counts = {"type": "object", "additionalProperties": count}
  return {
    "type": "object",
    "properties": dict.fromkeys(names, counts),
    "required": [*names],
    "additionalProperties": False,
  }
