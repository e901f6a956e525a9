"""Data parallelism: four devices do what one does."""

import functools
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from splitner_jax.models import features, lstm
from splitner_jax.runtime import devices
from splitner_jax.runtime.errors import UserError
from tests import parallel_tasks

_DEVICES = 4


def test_there_are_four_devices() -> None:
  assert devices.device_count() == _DEVICES


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
  feature_size, lstm_size = parallel_tasks.SIZES
  monkeypatch.setattr(features, "OUTPUT_SIZE", feature_size)
  monkeypatch.setattr(lstm, "LSTM_SIZE", lstm_size)


@functools.cache
def _by_four(name: str) -> list[Any]:
  return parallel_tasks.train(parallel_tasks.TASKS[name])


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", parallel_tasks.TASKS)
def test_four_devices_train_as_one(
  name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
  task = parallel_tasks.TASKS[name]
  four = _by_four(name)
  monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
  monkeypatch.setattr(devices, "device_count", lambda: 1)
  one = parallel_tasks.train(task)
  for i, (ours, expected) in enumerate(zip(four, one, strict=True)):
    gradient, metrics, params = ours
    expected_gradient, expected_metrics, expected_params = expected
    for metric, value in expected_metrics.items():
      np.testing.assert_allclose(metrics[metric], value, rtol=1e-5)
    parallel_tasks.assert_close(
      gradient, expected_gradient, f"gradient of step {i}"
    )
    parallel_tasks.assert_close(
      params, expected_params, f"parameters after step {i}"
    )
  # Few batches have nothing to learn from.
  assert np.mean([m["grad_norm"] > 1e-2 for _, m, _ in one]) > 0.8
  # They went much further than that, or nowhere.
  start, last = (
    parallel_tasks.by_name(parallel_tasks.params(task)),
    parallel_tasks.by_name(four[-1][2]),
  )
  for parameter, array in start.items():
    if parameter.split("/")[0] in task.frozen:
      np.testing.assert_array_equal(last[parameter], array, parameter)
    elif not parameter.endswith("key/bias"):
      assert np.abs(last[parameter] - array).max() > 1e-5, parameter
  # What does not learn is not clipped, nor measured.
  gradient, _, params = four[-1]
  assert gradient.keys() == params.keys() - set(task.frozen)


def test_processes_that_have_not_met(monkeypatch: pytest.MonkeyPatch) -> None:
  """As on a host of a TPU slice of several, where JAX sees the others."""
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  with pytest.raises(UserError, match="one of 2 processes, and they have not"):
    devices.device_count()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
  "name", ["dice", pytest.param("cross_entropy", marks=pytest.mark.slow)]
)
def test_jit_trains_as_pmap(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
  """What several processes compile, on the devices of this one."""
  by_pmap = _by_four(name)
  monkeypatch.setattr(devices, "_has_other_hosts", lambda: True)
  by_jit = parallel_tasks.train(parallel_tasks.TASKS[name])
  for i, (ours, expected) in enumerate(zip(by_jit, by_pmap, strict=True)):
    parallel_tasks.assert_close(ours, expected, f"step {i}")
  # Rows are those of all devices here too.
  rows = devices.compile_forward(lambda params, tables, batch: params * batch)
  batch = np.arange(8, dtype=np.float32).reshape(4, 2)
  found = rows(devices.replicate(np.float32(3)), {}, devices.put_batch(batch))
  assert found.sharding.is_fully_replicated
  np.testing.assert_array_equal(devices.to_host(found), 3 * batch)


def test_check_replicas() -> None:
  batch = devices.put_batch(np.arange(4.0, dtype=np.float32).reshape(4, 1))

  def forgets(state, batch):
    return state + batch.sum(), {}

  def sums(state, batch):
    return state + devices.sum_over_devices(batch.sum()), {}

  for step, correct in ((sums, True), (forgets, False)):
    state, _ = devices.compile_step(step)(
      devices.replicate(np.float32(1)), batch
    )
    if correct:
      parallel_tasks.check_replicas({"a": state})
      assert state == 7
    else:
      with pytest.raises(AssertionError):
        parallel_tasks.check_replicas({"a": state})


def test_a_step_sees_its_part_of_a_batch() -> None:
  seen = []

  def step(state, batch):
    seen.append(jax.tree.map(lambda x: (x.shape, x.dtype), batch))
    mine = jax.lax.axis_index(devices.AXIS)
    right = devices.sum_over_devices(jnp.all(batch["a"] == mine) * 1)
    return state, {
      "right": right,
      "rows": devices.global_rows(batch["a"]),
    }

  a = np.repeat(np.arange(4, dtype=np.int32), 6).reshape(4, 2, 3)
  batch = devices.put_batch({"a": a, "b": np.ones((4, 5), bool)})
  assert all(
    shard.data.shape[0] == 1 for shard in batch["a"].addressable_shards
  )
  _, metrics = devices.compile_step(step)(
    devices.replicate(np.float32(1)), batch
  )
  assert seen == [
    {
      "a": ((2, 3), np.dtype("int32")),
      "b": ((5,), np.dtype(bool)),
    }
  ]
  assert metrics["right"] == 4
  # In the order of the devices.
  np.testing.assert_array_equal(metrics["rows"], a.reshape(8, 3))


def test_gradient_of_global_rows_is_the_own_part() -> None:
  """A loss that is no sum over rows, against plain JAX on one device."""
  rows = np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)

  def ratio(logits):
    p = jax.nn.sigmoid(logits)
    return jnp.sum(p**2) / (jnp.sum(p) + 1.0)

  def step(weight, batch):
    def loss_of(weight):
      return ratio(devices.global_rows(batch * weight))

    loss, gradient = jax.value_and_grad(loss_of)(weight)
    return devices.sum_over_devices(gradient), loss

  gradient, loss = devices.compile_step(step)(
    devices.replicate(np.float32(2)), devices.put_batch(rows)
  )
  expected, expected_gradient = jax.value_and_grad(
    lambda weight: ratio(rows.reshape(12, 2) * weight)
  )(2.0)
  np.testing.assert_allclose(loss, expected, rtol=1e-6)
  np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-5)


def test_a_donated_state_leaves_other_arrays_alone() -> None:
  source = {"a": jnp.arange(3.0), "b": np.arange(3.0, dtype=np.float32)}
  state = devices.replicate(source)
  assert all(x.sharding.is_fully_replicated for x in state.values())
  step = devices.compile_step(
    lambda state, batch: (jax.tree.map(lambda x: x + 1, state), {})
  )
  batch = devices.put_batch(np.zeros((4, 1), np.float32))
  after, _ = step(state, batch)
  assert all(x.is_deleted() for x in state.values())
  kept = devices.to_host(after)
  last, _ = step(after, batch)
  for tree, value in ((source, 0), (kept, 1), (last, 2)):
    for array in tree.values():
      np.testing.assert_array_equal(array, np.arange(3) + value)


def test_compile_forward() -> None:
  batch = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
  forward = devices.compile_forward(
    lambda params, tables, batch: params * batch + tables["a"]
  )
  rows = forward(
    devices.replicate(np.float32(3)),
    devices.replicate({"a": np.float32(7)}),
    devices.put_batch(batch),
  )
  np.testing.assert_array_equal(devices.to_host(rows), 3 * batch + 7)


def test_keys_of_steps_and_devices_differ() -> None:
  draw = devices.compile_forward(
    lambda state, tables, batch: jax.random.bits(
      devices.device_key(state[0], state[1]), batch.shape
    )
  )
  batch = devices.put_batch(np.zeros((4, 2), np.float32))

  def bits(seed: int, step: int) -> np.ndarray:
    state = devices.replicate((np.uint32(seed), np.int32(step)))
    return devices.to_host(draw(state, {}, batch))

  np.testing.assert_array_equal(bits(0, 5), bits(0, 5))
  both = np.concatenate([bits(0, 5), bits(0, 6), bits(1, 5)]).ravel()
  assert len(set(both.tolist())) == len(both)


def test_prefetch() -> None:
  assert list(devices.prefetch(range(100))) == list(range(100))
  assert list(devices.prefetch([])) == []


def test_prefetch_stays_ahead_but_not_far() -> None:
  made: list[int] = []

  def items() -> Iterator[int]:
    for i in itertools.count():
      made.append(i)
      yield i

  ahead = devices.prefetch(items(), depth=2)
  assert next(ahead) == 0
  _wait_for(lambda: len(made) >= 4)
  # One with the consumer, two waiting, one that finds no room.
  time.sleep(0.05)
  assert len(made) == 4
  ahead.close()


def test_prefetch_raises_what_the_items_raise() -> None:
  def items() -> Iterator[int]:
    yield 1
    yield 2
    raise ZeroDivisionError("row 3")

  ahead = devices.prefetch(items())
  assert [next(ahead), next(ahead)] == [1, 2]
  with pytest.raises(ZeroDivisionError, match="row 3"):
    next(ahead)


def test_prefetch_stops_with_its_consumer() -> None:
  before = set(threading.enumerate())
  for item in devices.prefetch(itertools.count()):
    if item == 3:
      break

  def slow_items() -> Iterator[int]:
    for i in itertools.count():
      time.sleep(0.05)
      yield i

  ahead = devices.prefetch(slow_items())
  next(ahead)
  ahead.close()
  assert set(threading.enumerate()) <= before


def test_prefetch_does_not_hold_up_the_end_of_the_process() -> None:
  before = set(threading.enumerate())
  ahead = devices.prefetch(itertools.count())
  next(ahead)
  [thread] = set(threading.enumerate()) - before
  assert thread.daemon


def _wait_for(condition: Callable[[], bool]) -> None:
  for _ in range(500):
    if condition():
      return
    time.sleep(0.01)
  raise AssertionError("waited for five seconds")


def test_types_of_computation():
  for name in ("float32", "bfloat16"):
    assert devices.compute_dtype(name) == name
  assert devices.compute_dtype("auto") == "float32"
  with pytest.raises(UserError, match="float16"):
    devices.compute_dtype("float16")
