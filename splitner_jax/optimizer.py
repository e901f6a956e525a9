"""AdamW with gradient clipping and linear decay, the paper's recipe."""

import jax
import optax


def linear_decay(learning_rate: float, steps: int) -> optax.Schedule:
  """From `learning_rate` at step 0 to 0 at step `steps`, without warm-up."""
  return optax.linear_schedule(learning_rate, 0.0, steps)


def decay_mask(params):
  """Which parameters decay: not biases, not scales of normalisation."""
  return jax.tree.map_with_path(
    lambda path, _: not path[-1].key.endswith(("bias", "scale")), params
  )


def make(
  learning_rate: optax.ScalarOrSchedule,
  *,
  weight_decay: float = 0.0,
  clip_norm: float = 1.0,
) -> optax.GradientTransformation:
  """The optimizer of both tasks.

  Args:
    learning_rate: a number, or a function of the step.
    weight_decay: decoupled, as in AdamW.
    clip_norm: the gradient's global norm is cut to this.
  """
  return optax.chain(
    optax.clip_by_global_norm(clip_norm),
    optax.adamw(
      learning_rate,
      b1=0.9,
      b2=0.999,
      eps=1e-8,
      weight_decay=weight_decay,
      mask=decay_mask,
    ),
  )
