"""Losses: pure functions of logits, labels and weights.

Each returns one float32 scalar for the whole global batch: under data
parallelism they are given the rows of all devices (see
`runtime.devices.global_rows`), so a ratio over the batch, like dice, is exact.
Those that add up (see `adds_up`) are given each device's own.
"""

import functools
from collections.abc import Callable

import jax
import numpy as np
import optax
from jax import numpy as jnp

from splitner_jax.runtime.types import Json

Loss = Callable[..., jax.Array]
"""(logits, labels, weights) -> loss, once `bind` has given it the rest."""

AVERAGES = ("expected", "batch")
"""What the sum over a batch is divided by: the weight that batches have on
average, so that each label counts alike wherever it stands, or the batch's own.
"""


def _item_losses(logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Softmax cross entropy of each item, float32[...]."""
  return optax.softmax_cross_entropy_with_integer_labels(
    logits.astype(jnp.float32), labels
  )


def _mean(
  losses: jax.Array, weights: jax.Array, total: float | None
) -> jax.Array:
  own = jnp.maximum(jnp.sum(weights), 1e-9)
  return jnp.sum(losses * weights) / (own if total is None else total)


def cross_entropy(
  logits: jax.Array,
  labels: jax.Array,
  weights: jax.Array,
  *,
  total: float | None = None,
) -> jax.Array:
  """Weighted mean of the softmax cross entropy.

  Args:
    logits: float[..., C].
    labels: int32[...] in 0..C-1; of no effect where the weight is 0.
    weights: float32[...].
    total: what the sum is divided by; None: the sum of the weights.

  Returns:
    sum(weights * loss) / total, and 0 where all weights are 0.
  """
  return _mean(_item_losses(logits, labels), weights, total)


def smoothed_cross_entropy(
  logits: jax.Array,
  labels: jax.Array,
  weights: jax.Array,
  *,
  total: float | None = None,
) -> jax.Array:
  """Cross entropy with a tenth of each label spread over all classes.

  Label smoothing (Szegedy et al., 2016). Arguments as of `cross_entropy`.
  """
  smoothing = 0.1
  every = -jnp.mean(
    jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1), axis=-1
  )
  losses = (1 - smoothing) * _item_losses(logits, labels) + smoothing * every
  return _mean(losses, weights, total)


def weighted_cross_entropy(
  logits: jax.Array,
  labels: jax.Array,
  weights: jax.Array,
  *,
  class_weights: np.ndarray,
  total: float | None = None,
) -> jax.Array:
  """Cross entropy in which an item also counts by its label.

  Args:
    logits: float[..., C].
    labels: int32[...] in 0..C-1; of no effect where the weight is 0.
    weights: float32[...].
    class_weights: float32[n], more than any label; `bind` gives them.
    total: as of `cross_entropy`, of weights * class_weights[labels].

  Returns:
    The mean weighted by weights * class_weights[labels], as PyTorch's.
  """
  of_labels = jnp.asarray(class_weights)[labels]
  return cross_entropy(logits, labels, weights * of_labels, total=total)


def focal(
  logits: jax.Array,
  labels: jax.Array,
  weights: jax.Array,
  *,
  total: float | None = None,
) -> jax.Array:
  """Weighted mean of the softmax focal loss (Lin et al., 2017), gamma 2.

  (1 - p)^2 * -log(p), with p the probability of the label: what the model
  already knows hardly counts. Arguments as of `cross_entropy`.
  """
  losses = _item_losses(logits, labels)
  # 1 - p, exact for p near 1 too.
  missing = -jnp.expm1(-losses)
  return _mean(missing**2 * losses, weights, total)


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


LOSSES: dict[str, Loss] = {
  "cross_entropy": cross_entropy,
  "smoothed_cross_entropy": smoothed_cross_entropy,
  "weighted_cross_entropy": weighted_cross_entropy,
  "dice": dice,
  "focal": focal,
}
"""The values of `config.detector.loss` and `config.classifier.loss`."""


def inverse_frequencies(labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
  """Class weights that make all classes count alike.

  Args:
    labels: int32[M] of all training examples.
    weights: float32[M].

  Returns:
    float32[largest label + 1], proportional to 1 / (sum of the weights of the
    class), mean 1 over the classes that occur; 0 for the others.
  """
  counts = np.bincount(labels, weights)
  occurs = counts > 0
  inverse = np.divide(1.0, counts, out=np.zeros_like(counts), where=occurs)
  scale = occurs.sum() / (inverse.sum() or 1.0)
  return (inverse * scale).astype(np.float32)


def bind(
  loss: Loss,
  labels: np.ndarray,
  weights: np.ndarray,
  batches: float,
  average: str = "expected",
) -> Loss:
  """A loss of (logits, labels, weights) alone.

  Args:
    loss: one of `LOSSES`.
    labels: int32[M] of all training examples.
    weights: float32[M].
    batches: into how many they are divided.
    average: one of `AVERAGES`; dice, a ratio over the batch, has none.
  """
  given: Json = {}
  if loss is weighted_cross_entropy:
    given["class_weights"] = inverse_frequencies(labels, weights)
    weights = weights * given["class_weights"][labels]
  if average == "expected" and loss is not dice:
    given["total"] = max(float(np.sum(weights, dtype=float)) / batches, 1e-9)
  return functools.partial(loss, **given) if given else loss


def adds_up(loss: Loss) -> bool:
  """Whether a batch's loss is the sum of the losses of its parts.

  So it is where sums are divided by what is known before.

  Args:
    loss: as of `bind`.
  """
  return isinstance(loss, functools.partial) and "total" in loss.keywords
