"""Operations: those that a model needs, and those that the machine can do."""

import time
from collections.abc import Callable

import jax
import numpy as np
from jax import numpy as jnp

from splitner_jax.inputs.examples import Examples
from splitner_jax.models.modernbert import ModernBertConfig
from splitner_jax.models.shapes import parameter_shapes
from splitner_jax.models.transformer import EncoderConfig
from splitner_jax.tasks.base import Task
from splitner_jax.training.step import BACKBONE

_SIZES = {"cpu": 2_048}
_OTHER_SIZE = 8_192


class MatrixProduct:
  """What all devices of this process together do of a large matrix product.

  Attributes:
    flops_per_s: of the fastest so far: it stands for what is possible.
  """

  def __init__(self, dtype: str):
    """Runs it once.

    Args:
      dtype: of the matrices.
    """
    count = jax.local_device_count()
    size = _SIZES.get(jax.default_backend(), _OTHER_SIZE)
    self._operations = count * 2 * size**3
    ones = np.ones((count, size, size), jnp.dtype(dtype))
    self._product: Callable = jax.pmap(jnp.matmul)
    self._factors = self._product(ones, ones / size), ones
    self.flops_per_s = 0.0
    self.act()

  def act(self) -> None:
    """One product, to take turns with others."""
    start = time.perf_counter()
    self._product(*self._factors).block_until_ready()
    reached = self._operations / (time.perf_counter() - start)
    self.flops_per_s = max(self.flops_per_s, reached)


def forward_flops(task: Task, examples: Examples) -> float:
  """What the encoder needs for one pass over the examples, padding apart.

  Matrix products only, two operations for each multiplication: features,
  embeddings, normalisation and heads are not counted.
  """
  weights = sum(
    int(np.prod(shape))
    for name, shape in parameter_shapes(task.model).items()
    if name.startswith(f"{BACKBONE}/layer_") and name.endswith("/kernel")
  )
  encoder = task.model.encoder
  pairs = 0.0
  for layer in range(encoder.num_layers):
    window = _window(encoder, layer)
    pairs += _visible(examples, window)
  # Scores, and the sum of values that they weight.
  attention = 2 * 2 * encoder.hidden_size * pairs
  return 2.0 * weights * int(examples.lengths.sum()) + attention


def _window(encoder: EncoderConfig, layer: int) -> int | None:
  """How many tokens around it a token sees in a layer; None: all."""
  if not isinstance(encoder, ModernBertConfig):
    return None
  is_global = layer % encoder.global_every == 0
  return None if is_global else 2 * encoder.local_window + 1


def _visible(examples: Examples, window: int | None) -> float:
  """Pairs of tokens of which one sees the other; see `Examples.parts`."""
  owner = np.repeat(np.arange(len(examples)), examples.lengths)
  shared = np.bincount(owner, examples.parts == 0, len(examples))
  place = owner * (int(examples.parts.max(initial=0)) + 1) + examples.parts
  _, group, sizes = np.unique(place, return_inverse=True, return_counts=True)
  seen = np.where(examples.parts == 0, 0, shared[owner]) + sizes[group]
  return float((seen if window is None else np.minimum(seen, window)).sum())
