"""Losses: pure functions of logits, labels and weights.

Each returns one float32 scalar for the whole global batch: under data
parallelism they are given the rows of all devices (see
`parallel.global_rows`), so a ratio over the batch, like dice, is exact.
"""

from collections.abc import Callable

import jax
import optax
from jax import numpy as jnp

Loss = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def cross_entropy(
  logits: jax.Array, labels: jax.Array, weights: jax.Array
) -> jax.Array:
  """Weighted mean of the softmax cross entropy.

  Args:
    logits: float[..., C].
    labels: int32[...] in 0..C-1; of no effect where the weight is 0.
    weights: float32[...].

  Returns:
    sum(weights * loss) / sum(weights), and 0 where all weights are 0.
  """
  losses = optax.softmax_cross_entropy_with_integer_labels(
    logits.astype(jnp.float32), labels
  )
  return jnp.sum(losses * weights) / jnp.maximum(jnp.sum(weights), 1e-9)


def dice(logits: jax.Array, labels: jax.Array, weights: jax.Array) -> jax.Array:
  """Dice loss over the batch, mean of the classes (paper, section 2.2).

  1 - mean_c (2 sum(y p) + eps) / (sum(y) + sum(p) + eps), with p the sigmoid
  of the logit of class c, y whether c is the label, eps 1e-8, sums over all
  items of the batch. A class without items costs almost 1 / C whatever the
  model says: this is the loss of the paper, not optax's dice. The reference
  (loss.py) lets ignored items train class 0; here they take no part.

  Args:
    logits: float[..., C].
    labels: int32[...] in 0..C-1.
    weights: float32[...]: how much an item counts, usually 0 or 1.
  """
  eps = 1e-8
  classes = logits.shape[-1]
  p = jax.nn.sigmoid(logits.astype(jnp.float32)).reshape(-1, classes)
  y = jax.nn.one_hot(labels.reshape(-1), classes)
  w = weights.reshape(-1, 1)
  overlap = jnp.sum(w * y * p, axis=0)
  total = jnp.sum(w * y, axis=0) + jnp.sum(w * p, axis=0)
  return 1.0 - jnp.mean((2.0 * overlap + eps) / (total + eps))


LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "dice": dice}
"""The values of `config.detector.loss` and `config.classifier.loss`."""
