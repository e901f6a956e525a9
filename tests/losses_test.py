"""Losses: values, ignored items, gradients."""

from collections.abc import Callable

import jax
import numpy as np
import pytest
from jax import numpy as jnp
from jax.test_util import check_grads

from splitner_jax.training import losses


def _naive_cross_entropy(
  logits: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> float:
  total = 0.0
  for row, label, weight in zip(logits, labels, weights, strict=True):
    total -= weight * np.log(np.exp(row[label]) / np.exp(row).sum())
  return total / weights.sum()


def _naive_dice(
  logits: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> float:
  ratios = []
  for c in range(logits.shape[1]):
    overlap = gold = predicted = 0.0
    for row, label, weight in zip(logits, labels, weights, strict=True):
      p = 1.0 / (1.0 + np.exp(-row[c]))
      overlap += weight * p * (label == c)
      gold += weight * (label == c)
      predicted += weight * p
    ratios.append((2 * overlap + 1e-8) / (gold + predicted + 1e-8))
  return 1.0 - float(np.mean(ratios))


# Sums of the weights: 4, 1, 2, 2, 0. Their inverses have the mean 9/16.
_GOLD = (
  np.array([0, 0, 1, 4, 2, 2, 3, 3, 0], np.int32),
  np.array([2.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.5, 0.5, 1.0], np.float32),
)
_CLASS_WEIGHTS = np.array([4, 16, 8, 8, 0]) / 9


def _naive_weighted(
  logits: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> float:
  weights = weights * _CLASS_WEIGHTS[labels]
  return _naive_cross_entropy(logits, labels, weights)


def _naive_focal(
  logits: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> float:
  total = 0.0
  for row, label, weight in zip(logits, labels, weights, strict=True):
    p = np.exp(row[label]) / np.exp(row).sum()
    total -= weight * (1 - p) ** 2 * np.log(p)
  return total / weights.sum()


def _naive_smoothed(
  logits: np.ndarray, labels: np.ndarray, weights: np.ndarray
) -> float:
  total = 0.0
  for row, label, weight in zip(logits, labels, weights, strict=True):
    wanted = np.full(len(row), 0.1 / len(row))
    wanted[label] += 0.9
    total -= weight * wanted @ np.log(np.exp(row) / np.exp(row).sum())
  return total / weights.sum()


_NAIVE: dict[str, Callable[..., float]] = {
  "cross_entropy": _naive_cross_entropy,
  "weighted_cross_entropy": _naive_weighted,
  "dice": _naive_dice,
  "focal": _naive_focal,
  "smoothed_cross_entropy": _naive_smoothed,
}


def _batch(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Logits of 12 items and 5 classes, the last nobody's; labels; weights."""
  rng = np.random.default_rng(seed)
  logits = rng.normal(0, 2, (12, 5)).astype(np.float32)
  labels = rng.integers(0, 4, 12).astype(np.int32)
  weights = rng.choice([0.0, 0.5, 1.0], 12).astype(np.float32)
  return logits, labels, weights


# Over the batch's own weight: the gold decides class weights only.
_BOUND = {
  name: losses.bind(loss, *_GOLD, batches=1, average="batch")
  for name, loss in losses.LOSSES.items()
}
_LOSSES = {name: jax.jit(loss) for name, loss in _BOUND.items()}
_GRADIENTS = {
  name: jax.jit(jax.value_and_grad(loss)) for name, loss in _BOUND.items()
}


def test_there_are_these() -> None:
  assert losses.LOSSES.keys() == _NAIVE.keys()


def test_cross_entropy_by_hand() -> None:
  logits = jnp.log(jnp.array([[1.0, 3.0], [4.0, 1.0], [1.0, 1.0]]))
  labels = jnp.array([1, 1, 0])
  # Probabilities of the labels: 3/4, 1/5, 1/2.
  loss = _LOSSES["cross_entropy"](logits, labels, jnp.array([1.0, 1.0, 0.0]))
  assert loss == pytest.approx(-(np.log(0.75) + np.log(0.2)) / 2)
  loss = _LOSSES["cross_entropy"](logits, labels, jnp.array([1.0, 0.0, 3.0]))
  assert loss == pytest.approx(-(np.log(0.75) + 3 * np.log(0.5)) / 4)


def test_dice_by_hand() -> None:
  # Sigmoids: item 0: 3/4, 1/2, 1/4; item 1: 1/2, 1/4, 1/2.
  logits = jnp.log(jnp.array([[3.0, 1.0, 1 / 3], [1.0, 1 / 3, 1.0]]))
  labels, ones = jnp.array([0, 1]), jnp.ones(2)
  # Class 0: 2 * 3/4 / (1 + 5/4); 1: 2 * 1/4 / (1 + 3/4); 2: nothing.
  expected = 1 - (1.5 / 2.25 + 0.5 / 1.75) / 3
  assert _LOSSES["dice"](logits, labels, ones) == pytest.approx(expected)
  # Item 1 ignored, class 0: 2 * 3/4 / (1 + 3/4).
  loss = _LOSSES["dice"](logits, labels, jnp.array([1.0, 0.0]))
  assert loss == pytest.approx(1 - 1.5 / 1.75 / 3)


def test_dice_of_a_perfect_answer() -> None:
  logits = jnp.where(jnp.eye(3) > 0, 40.0, -40.0)
  loss = _LOSSES["dice"](logits, jnp.arange(3), jnp.ones(3))
  assert loss == pytest.approx(0, abs=1e-6)


def test_class_weights() -> None:
  labels, weights = _GOLD
  class_weights = losses.inverse_frequencies(labels, weights)
  assert class_weights.dtype == np.float32
  np.testing.assert_allclose(class_weights, _CLASS_WEIGHTS, rtol=1e-6)
  # In any order.
  again = losses.inverse_frequencies(labels[::-1], weights[::-1])
  np.testing.assert_allclose(again, class_weights)
  nothing = losses.inverse_frequencies(labels, 0 * weights)
  np.testing.assert_array_equal(nothing, np.zeros(5))


def test_what_losses_are_given() -> None:
  for name, loss in losses.LOSSES.items():
    own = losses.bind(loss, *_GOLD, 4, "batch")
    given = losses.bind(loss, *_GOLD, 4)
    if name == "dice":
      # A ratio over the batch, whatever is asked for.
      assert own is given is loss
      continue
    if name == "weighted_cross_entropy":
      for bound in (own, given):
        found = bound.keywords.pop("class_weights")
        np.testing.assert_allclose(found, _CLASS_WEIGHTS, rtol=1e-6)
      # Every class has 16/9 in all, where it occurs.
      total = 4 * 16 / 9 / 4
    else:
      total = 9 / 4
    assert given.keywords == {"total": pytest.approx(total)}
    assert getattr(own, "keywords", {}) == {}


def test_expected_weight_of_small_batches() -> None:
  labels, weights = _GOLD
  for batches, total in ((4, 0.0225), (400, 0.000225)):
    bound = losses.bind(losses.cross_entropy, labels, weights / 100, batches)
    assert bound.keywords["total"] == pytest.approx(total)


def test_which_losses_add_up() -> None:
  for name, loss in losses.LOSSES.items():
    given = losses.bind(loss, *_GOLD, 4)
    assert losses.adds_up(given) == (name != "dice")
    # Divided by what the whole batch weighs.
    assert not losses.adds_up(losses.bind(loss, *_GOLD, 4, "batch"))
    if name == "dice":
      continue
    whole = _batch(7)
    parts = [
      [array[rows] for array in whole] for rows in ([0, 1, 5], [2, 3, 4])
    ]
    whole = [array[:6] for array in whole]
    added = sum(float(given(*part)) for part in parts)
    assert added == pytest.approx(float(given(*whole)), rel=1e-5)


@pytest.mark.parametrize("name", sorted(losses.LOSSES.keys() - {"dice"}))
def test_expected_average(name: str) -> None:
  """A label counts alike in any batch: together they are the mean of all."""
  labels, weights = _GOLD
  rng = np.random.default_rng(5)
  logits = rng.normal(0, 2, (9, 5)).astype(np.float32)
  loss = jax.jit(losses.bind(losses.LOSSES[name], labels, weights, 3))
  # Of unlike weights; the last of none.
  parts = [
    loss(logits[rows], labels[rows], weights[rows])
    for rows in ([0, 1, 4, 5, 6], [2, 7, 8], [3])
  ]
  expected = _NAIVE[name](logits.astype(np.float64), labels, weights)
  assert np.mean(parts) == pytest.approx(expected, rel=1e-5)
  assert parts[2] == 0 < min(parts[:2])


def test_no_weight_at_all() -> None:
  labels, weights = _GOLD
  for name in ("cross_entropy", "weighted_cross_entropy", "focal"):
    loss = losses.bind(losses.LOSSES[name], labels, 0 * weights, 3)
    # It is divided by.
    assert loss.keywords["total"] > 0


def test_focal_by_hand() -> None:
  # Probabilities of the labels: 3/4, 1/5.
  logits = jnp.log(jnp.array([[1.0, 3.0], [4.0, 1.0]]))
  loss = _LOSSES["focal"](logits, jnp.array([1, 1]), jnp.array([1.0, 3.0]))
  expected = -(0.25**2 * np.log(0.75) + 3 * 0.8**2 * np.log(0.2)) / 4
  assert loss == pytest.approx(expected)


@pytest.mark.parametrize("name", _NAIVE)
def test_against_a_loop(name: str) -> None:
  for seed in range(5):
    logits, labels, weights = _batch(seed)
    expected = _NAIVE[name](logits.astype(np.float64), labels, weights)
    loss = _LOSSES[name](logits, labels, weights)
    assert loss.dtype == jnp.float32
    assert loss == pytest.approx(expected, rel=1e-5)
    # Items may stand in any number of axes, and come in bfloat16.
    shaped = _LOSSES[name](
      logits.reshape(3, 4, 5), labels.reshape(3, 4), weights.reshape(3, 4)
    )
    assert shaped == pytest.approx(expected, rel=1e-5)
    half = jnp.asarray(logits, jnp.bfloat16)
    loss = _LOSSES[name](half, labels, weights)
    assert loss.dtype == jnp.float32
    rounded = np.asarray(half, np.float64)
    expected = _NAIVE[name](rounded, labels, weights)
    assert loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", _NAIVE)
def test_gradient_against_finite_differences(name: str) -> None:
  logits, labels, weights = _batch(7)
  check_grads(
    lambda x: _LOSSES[name](x, labels, weights),
    (logits,),
    order=1,
    modes=["rev"],
    atol=1e-3,
    rtol=1e-2,
    eps=1e-2,
  )


@pytest.mark.parametrize("name", _NAIVE)
def test_ignored_items_take_no_part(name: str) -> None:
  logits, labels, weights = _batch(8)
  ignored = weights == 0
  assert 0 < ignored.sum() < len(ignored)
  value_and_grad = _GRADIENTS[name]
  value, gradient = value_and_grad(logits, labels, weights)
  assert not np.any(gradient[ignored])
  assert np.all(np.any(gradient[~ignored], axis=1))
  # As if they were not there, whatever they say and are called.
  alone, its_gradient = value_and_grad(
    logits[~ignored], labels[~ignored], weights[~ignored]
  )
  logits[ignored], labels[ignored] = 30.0, 4
  again, same_gradient = value_and_grad(logits, labels, weights)
  np.testing.assert_allclose(value, alone, rtol=1e-6)
  np.testing.assert_allclose(value, again, rtol=1e-6)
  np.testing.assert_allclose(gradient[~ignored], its_gradient, atol=1e-7)
  np.testing.assert_allclose(gradient, same_gradient, atol=1e-7)


@pytest.mark.parametrize("name", _NAIVE)
def test_nothing_to_learn_from(name: str) -> None:
  logits, labels, weights = _batch(9)
  value, gradient = _GRADIENTS[name](logits, labels, 0 * weights)
  assert value == pytest.approx(0, abs=1e-6)
  assert not np.any(gradient)


@pytest.mark.parametrize("name", _NAIVE)
def test_extreme_logits(name: str) -> None:
  logits = np.array([[1e4, -1e4], [-1e4, 1e4], [1e4, 1e4]], np.float32)
  value, gradient = _GRADIENTS[name](
    logits, np.array([0, 0, 1]), np.ones(3, np.float32)
  )
  assert np.isfinite(value)
  assert np.all(np.isfinite(gradient))
