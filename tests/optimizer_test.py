"""The optimizer: what decays, what is cut, what is added up."""

import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp

from splitner_jax.training import optimizer

_PARAMS = {"dense": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}}


def _gradient(seed: int):
  rng = np.random.default_rng(seed)
  return jax.tree.map(
    lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), _PARAMS
  )


def _apply(transform: optax.GradientTransformation, gradients):
  """The parameters after each update."""
  params, state, history = _PARAMS, transform.init(_PARAMS), []
  for gradient in gradients:
    updates, state = transform.update(gradient, state, params)
    params = optax.apply_updates(params, updates)
    history.append(params)
  return history


@pytest.mark.parametrize("steps", [2, 3])
def test_accumulated_gradients_are_one_of_a_larger_batch(steps: int):
  options = {"weight_decay": 0.1, "clip_norm": 0.5}
  gradients = [_gradient(i) for i in range(2 * steps)]
  history = _apply(optimizer.make(**options, accumulate_steps=steps), gradients)
  means = [
    jax.tree.map(lambda *x: sum(x) / steps, *gradients[i : i + steps])
    for i in (0, steps)
  ]
  wanted = _apply(optimizer.make(**options), means)
  # Nothing changes between two updates.
  for before in history[: steps - 1]:
    jax.tree.map(np.testing.assert_array_equal, before, _PARAMS)
  for found, right in zip(history[steps - 1 :: steps], wanted, strict=True):
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, right
    )
  assert float(abs(history[-1]["dense"]["kernel"] - 1).min()) > 0.1


def test_one_gradient_is_not_added_up():
  """There is no second copy of the gradient in the state."""
  for state, wanted in (
    (optimizer.make().init(_PARAMS), False),
    (optimizer.make(accumulate_steps=2).init(_PARAMS), True),
  ):
    assert isinstance(state, optax.MultiStepsState) == wanted


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_biases_do_not_decay(decay: float):
  nothing = jax.tree.map(jnp.zeros_like, _PARAMS)
  [after] = _apply(optimizer.make(weight_decay=decay), [nothing])
  np.testing.assert_allclose(after["dense"]["kernel"], 1 - decay)
  np.testing.assert_array_equal(after["dense"]["bias"], 1)


def test_linear_decay():
  rates = [optimizer.linear_decay(4.0, share) for share in (0, 0.25, 0.75, 1)]
  assert rates == [4.0, 3.0, 1.0, 0.0]


def test_what_decays():
  names = ("kernel", "embedding", "bias", "scale", "gate_bias")
  params = {"bias": {"layer": {"dense": {name: jnp.ones(2) for name in names}}}}
  decays = optimizer.decay_mask(params)["bias"]["layer"]["dense"]
  assert {name for name in names if decays[name]} == {"kernel", "embedding"}


@pytest.mark.parametrize("decay", [None, 0.1])
def test_adamw_by_hand(decay: float | None):
  """Two steps, the second in another direction; what is longer is cut to 1."""
  params = {"kernel": jnp.asarray([1.0, -2.0, 3.0])}
  gradients = np.array([[3.0, -4.0, 1e-7], [-0.3, -0.2, 0.1]])
  given = {} if decay is None else {"weight_decay": decay}
  transform = optimizer.make(**given)
  state = transform.init(params)
  wanted = np.asarray(params["kernel"], float)
  first = second = np.zeros(3)
  for step, gradient in enumerate(gradients, 1):
    updates, state = transform.update(
      {"kernel": jnp.asarray(gradient, jnp.float32)}, state, params
    )
    params = optax.apply_updates(params, updates)
    gradient = gradient / max(1, np.linalg.norm(gradient))
    first = 0.9 * first + 0.1 * gradient
    second = 0.999 * second + 0.001 * gradient**2
    mean, square = first / (1 - 0.9**step), second / (1 - 0.999**step)
    wanted = wanted - mean / (np.sqrt(square) + 1e-8) - (decay or 0) * wanted
    np.testing.assert_allclose(params["kernel"], wanted, atol=1e-4)
