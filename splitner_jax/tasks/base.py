"""What all tasks have in common."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from splitner_jax.data.sentences import Sentence
from splitner_jax.inputs.examples import Examples
from splitner_jax.inputs.tokenizer import MAX_WORD_PIECES, Tokenizer
from splitner_jax.models.heads import Model
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.types import Json
from splitner_jax.tasks.decoding import Decoding

ForwardFn = Callable[[Examples], np.ndarray]
"""A forward pass with its parameters: examples in, logits of their targets out,
float32[M, C]."""


class Decision(NamedTuple):
  """An answer of one task about some words, and how sure it is of it.

  Attributes:
    task: its name.
    start, end: words; `end` is exclusive.
    answer: the label of a word, or the type of a span.
    probability: of the answer, given all that was decided before.
  """

  task: str
  start: int
  end: int
  answer: str
  probability: float


class Task(Protocol):
  """What training needs of a task.

  Attributes:
    targets_per_token: how many targets a batch for inference has room for.
  """

  @property
  def name(self) -> str: ...
  @property
  def model(self) -> Model: ...
  @property
  def features(self) -> tuple[str, ...]: ...
  @property
  def tokenizer(self) -> Tokenizer: ...
  @property
  def targets_per_token(self) -> float: ...

  def batch_items(self, examples: Examples) -> int:
    """How many of what `config.batch_size` counts are in the examples."""
    ...

  def probe(self) -> Examples:
    """One short example, for a first run of a program."""
    ...

  def training_examples(
    self, sentences: Sequence[Sentence]
  ) -> tuple[Examples, int]:
    """Examples with labels, and how many mentions were lost to length."""
    ...

  def evaluate(
    self,
    forward: ForwardFn,
    sentences: Sequence[Sentence],
    decoding: Decoding,
  ) -> Json:
    """Scores as of `metrics.score`; training keeps the best `f1`."""
    ...


def log_softmax(logits: np.ndarray) -> np.ndarray:
  """Over the last axis."""
  shifted = logits - logits.max(axis=-1, keepdims=True)
  return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def choice(field: str, value: str, options) -> Any:
  """The option of that name, or the name itself of a plain list.

  Raises:
    UserError: there is none; `field` is the config's.
  """
  if value not in options:
    raise UserError(
      f"config.{field}: {value!r} is none of {', '.join(options)}"
    )
  return options[value] if isinstance(options, dict) else value


def check_room(tokenizer: Tokenizer, rest: int) -> None:
  """Raises UserError if no input can hold `rest` tokens and any two words."""
  least = rest + 2 * MAX_WORD_PIECES
  if tokenizer.max_length < least:
    raise UserError(
      f"config.max_length: {tokenizer.max_length} is too short for the "
      f"question and two words; use at least {least}"
    )
