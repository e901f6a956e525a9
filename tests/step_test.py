"""A training step by itself, of a model of two numbers."""

import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp

from splitner_jax.runtime import devices
from splitner_jax.training import loop
from splitner_jax.training.step import TrainState, init_params, make_step
from tests import tiny_training

_PARAMS = {"head": np.float32(3), "encoder": np.float32(2)}
_ROWS = np.arange(1, 5, dtype=np.float32).reshape(4, 1)


class _Model:
  """head * encoder * row, and what it was asked for."""

  def __init__(self):
    self.deterministic: list[bool] = []

  def apply(self, variables, batch, layout, deterministic, *, rngs):
    assert layout == ((1, 1),)
    self.deterministic.append(deterministic)
    # The drawn number goes into the loss alone.
    drawn = jax.random.uniform(rngs["dropout"])
    params = variables["params"]
    logits = params["head"] * params["encoder"] * batch["row"]
    return jnp.stack([logits, jax.lax.stop_gradient(drawn + 0 * logits)], -1)


def _loss(logits, labels, weights):
  """The weighted sum; the drawn numbers count by the labels."""
  return jnp.sum(logits[..., 0] * weights + logits[..., 1] * labels)


def _steps(frozen: tuple[str, ...] = (), seed: int = 1, drawn: float = 0.0):
  """The model, and states and metrics of two steps."""
  model, transform = _Model(), optax.sgd(1.0)
  trained = {k: v for k, v in _PARAMS.items() if k not in frozen}
  state = devices.replicate(
    TrainState(
      jnp.int32(0), jnp.uint32(seed), _PARAMS, jax.jit(transform.init)(trained)
    )
  )
  step = make_step(model, ((1, 1),), _loss, transform, frozen)  # type: ignore[arg-type]
  compiled, history = devices.compile_step(step), []
  for rate in (0.1, 0.2):
    batch = {
      "row": _ROWS,
      "labels": np.full_like(_ROWS, drawn),
      "weights": np.ones_like(_ROWS),
      "learning_rate": np.full(4, rate, np.float32),
    }
    state, metrics = compiled(state, devices.put_batch(batch))
    history.append(devices.to_host((state, metrics)))
  return model, history


def test_parameters_go_down_the_gradient_at_the_rate_of_the_batch() -> None:
  _, history = _steps()
  head, encoder = 3.0, 2.0
  for number, (rate, (state, metrics)) in enumerate(
    zip((0.1, 0.2), history, strict=True), 1
  ):
    slopes = np.array([10 * encoder, 10 * head])
    assert metrics["loss"] == pytest.approx(10 * head * encoder)
    assert metrics["grad_norm"] == pytest.approx(np.linalg.norm(slopes))
    head, encoder = np.array([head, encoder]) - rate * slopes
    assert state.params["head"] == pytest.approx(head)
    assert state.params["encoder"] == pytest.approx(encoder)
    assert state.step == number
    assert state.seed == 1


def test_what_is_replaced_anyway_is_not_drawn() -> None:
  task = tiny_training.Task()
  batch, _ = next(loop.prepare(task, tiny_training.settings(), []).batches(0))
  drawn = init_params(task, 1, batch)  # type: ignore[arg-type]
  spared = init_params(task, 1, batch, lambda p: p)  # type: ignore[arg-type]
  assert np.any(drawn["encoder"]["embedding"])
  assert not np.any(spared["encoder"]["embedding"])
  assert spared["encoder"]["embedding"].shape == (50, 4)
  # The rest is what it would be.
  for name, value in drawn["Dense_0"].items():
    np.testing.assert_array_equal(spared["Dense_0"][name], value)


def test_what_is_frozen_stays_and_is_not_measured() -> None:
  _, history = _steps(frozen=("encoder",))
  for state, metrics in history:
    assert state.params["encoder"] == 2
    assert metrics["grad_norm"] == pytest.approx(20)
  assert history[0][0].params["head"] == pytest.approx(3 - 0.1 * 20)


def test_dropout_is_at_work_and_drawn_anew() -> None:
  model, first = _steps(drawn=1.0)
  assert set(model.deterministic) == {False}
  _, again = _steps(drawn=1.0)
  _, other = _steps(drawn=1.0, seed=2)
  losses = [[float(m["loss"]) for _, m in run] for run in (first, again, other)]
  assert losses[0] == losses[1]
  # Four draws in [0, 1) beside the weighted sum.
  draws = [loss - 60 for loss in (losses[0][0], losses[2][0])]
  assert draws[0] != draws[1]
  assert all(0 < draw < 4 for draw in draws)
