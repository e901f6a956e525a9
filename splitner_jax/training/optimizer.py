"""AdamW with gradient clipping and linear decay, the paper's recipe."""

import jax
import optax


def linear_decay(learning_rate: float, share: float) -> float:
  """From `learning_rate` at the start to 0 at the end, without warm-up.

  Args:
    learning_rate: at the first step.
    share: how much of all examples of all epochs was read before, 0 to 1.
  """
  return learning_rate * (1.0 - share)


def decay_mask(params):
  """Which parameters decay: not biases, not scales of normalisation."""
  return jax.tree.map_with_path(
    lambda path, _: not path[-1].key.endswith(("bias", "scale")), params
  )


def make(
  *,
  weight_decay: float = 0.0,
  clip_norm: float = 1.0,
  accumulate_steps: int = 1,
) -> optax.GradientTransformation:
  """The optimizer of both tasks: its updates are for a learning rate of 1.

  A step multiplies them by its own rate (see `step`), which depends on
  how much was read: epochs need not have the same number of batches.

  Args:
    weight_decay: decoupled, as in AdamW.
    clip_norm: the gradient's global norm is cut to this.
    accumulate_steps: how many gradients are averaged before an update; between
      them all updates are 0. What is left over at the end is not used.
  """
  transform = optax.chain(
    optax.clip_by_global_norm(clip_norm),
    optax.adamw(
      1.0,
      b1=0.9,
      b2=0.999,
      eps=1e-8,
      weight_decay=weight_decay,
      mask=decay_mask,
    ),
  )
  if accumulate_steps == 1:
    return transform
  accumulated = optax.MultiSteps(transform, accumulate_steps)
  return accumulated.gradient_transformation()
