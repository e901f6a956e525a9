"""Data parallelism: four devices do what one does."""

import itertools
import threading
import time
import types
from collections.abc import Callable, Iterator

import jax
import numpy as np
import optax
import pytest
from jax import numpy as jnp

from splitner_jax.inputs import patterns
from splitner_jax.inputs.batches import Batch, Batcher
from splitner_jax.inputs.packing import Packer
from splitner_jax.inputs.plan import Plan
from splitner_jax.inputs.text_tables import TextKeys
from splitner_jax.models import features, lstm
from splitner_jax.models.bert import BertConfig
from splitner_jax.models.heads import PooledClassifier, TokenClassifier
from splitner_jax.runtime import devices
from splitner_jax.runtime.errors import UserError
from splitner_jax.training import loop, losses, optimizer
from splitner_jax.training.step import BACKBONE, TrainState, split
from tests import random_examples

_DEVICES = 4
_STEPS = 20
_CONFIG = BertConfig(
  vocab_size=50,
  hidden_size=16,
  num_layers=1,
  num_heads=2,
  intermediate_size=32,
  max_positions=16,
  type_vocab_size=2,
  hidden_dropout=0.0,
  attention_dropout=0.0,
)
# Of unlike lengths and weights: a mean of means would be another number.
_LENGTHS = np.random.default_rng(0).integers(1, 13, 22).tolist()
_TASKS = {
  # Rows that the devices can share, and rows that they cannot: there are two
  # empty ones of the longer kind, and a device that has no other.
  "cross_entropy": types.SimpleNamespace(
    model=TokenClassifier(
      _CONFIG,
      4,
      ("pattern",),
      pattern_vocab_size=patterns.PATTERN_VOCAB,
    ),
    loss=losses.cross_entropy,
    features=("pattern",),
    frozen=(),
    layout=((2, 19), (7, 8)),
  ),
  "dice": types.SimpleNamespace(
    model=PooledClassifier(_CONFIG, 4, "mention"),
    loss=losses.dice,
    features=(),
    frozen=(),
    layout=((4, 14),),
  ),
  "frozen backbone": types.SimpleNamespace(
    model=PooledClassifier(_CONFIG, 4),
    loss=losses.bind(
      losses.weighted_cross_entropy,
      np.array([0, 0, 0, 1, 1, 2, 3, 3]),
      np.ones(8),
      batches=2,
    ),
    features=(),
    frozen=(BACKBONE,),
    # A device has none at all.
    layout=((3, 14),),
  ),
}


def test_there_are_four_devices() -> None:
  assert devices.device_count() == _DEVICES


def _setup(task, transform=None) -> loop.Setup:
  """What `loop.prepare` makes, with layouts of these tests."""
  pooled = isinstance(task.model, PooledClassifier)
  examples = random_examples.make(_LENGTHS, one_target=pooled)
  text_keys = TextKeys(examples, task.features, False)
  shape = random_examples.shape(task.layout)
  packer = Packer(examples.lengths, examples.target_counts, [shape], text_keys)
  return loop.Setup(
    task,
    Plan(packer, len(examples), 0, (shape,), 0.0, 0.0),
    Batcher(examples, task.features, text_keys, 0, devices.device_count()),
    task.loss,
    transform,
    task.frozen,
    # Small, since Adam makes much of the noise in gradients of almost zero.
    learning_rate=1e-5,
    epochs=_STEPS,
    lost=0,
  )


def _batches(setup: loop.Setup) -> Iterator[Batch]:
  """The same examples in the same rows, however many devices there are."""
  for epoch in range(setup.epochs):
    for batch, _ in setup.batches(epoch):
      yield batch


def _keep_gradient() -> optax.GradientTransformation:
  """Puts the gradient, as it comes in, into the optimizer's state."""
  return optax.GradientTransformation(
    lambda params: jax.tree.map(jnp.zeros_like, params),
    lambda gradient, state, params=None: (gradient, gradient),
  )


def _params(task):
  """Random parameters; drawn in NumPy, where nothing has to be compiled."""
  batch = next(_batches(_setup(task)))
  arrays = {name: array[0] for name, array in batch.arrays.items()}
  shapes = jax.eval_shape(
    lambda key: task.model.init(key, arrays, batch.layout), jax.random.key(0)
  )
  rng = np.random.default_rng(1)
  return jax.tree.map(
    lambda x: rng.normal(0, 0.1, x.shape).astype(x.dtype), shapes["params"]
  )


def _train(task, num_devices: int):
  """Gradient before clipping, metrics and parameters of each step."""
  transform = optax.chain(_keep_gradient(), optimizer.make(weight_decay=0.1))
  setup = _setup(task, transform)
  params = _params(task)
  trained, _ = split(params, task.frozen)
  state = devices.replicate(
    TrainState(
      jnp.int32(0), jnp.uint32(0), params, jax.jit(transform.init)(trained)
    )
  )
  [layout] = setup.layouts()
  step = devices.compile_step(setup.make_step(layout))
  history = []
  for batch in itertools.islice(_batches(setup), _STEPS):
    assert batch.layout == layout
    state, metrics = step(state, devices.put_batch(batch.arrays))
    devices.check_replicas((state, metrics))
    gradient = state.opt_state[0]
    history.append(devices.to_host((gradient, metrics, state.params)))
  assert len(state.step.sharding.device_set) == num_devices
  assert int(state.step) == _STEPS
  return history


def _by_name(tree) -> dict[str, np.ndarray]:
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): leaf
    for path, leaf in jax.tree.leaves_with_path(tree)
  }


def _assert_close(ours, expected, where: str) -> None:
  ours, expected = _by_name(ours), _by_name(expected)
  assert ours.keys() == expected.keys()
  for name, array in expected.items():
    # Its gradient is zero in exact arithmetic, and Adam makes noise big.
    if not name.endswith("key/bias"):
      np.testing.assert_allclose(
        ours[name], array, atol=1e-6, rtol=0, err_msg=f"{where}: {name}"
      )


@pytest.mark.parametrize("name", _TASKS)
def test_four_devices_train_as_one(
  name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
  monkeypatch.setattr(features, "OUTPUT_SIZE", 12)
  monkeypatch.setattr(lstm, "LSTM_SIZE", 8)
  task = _TASKS[name]
  four = _train(task, _DEVICES)
  monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
  monkeypatch.setattr(devices, "device_count", lambda: 1)
  one = _train(task, 1)
  for i, (ours, expected) in enumerate(zip(four, one, strict=True)):
    gradient, metrics, params = ours
    expected_gradient, expected_metrics, expected_params = expected
    for metric, value in expected_metrics.items():
      np.testing.assert_allclose(metrics[metric], value, rtol=1e-5)
    _assert_close(gradient, expected_gradient, f"gradient of step {i}")
    _assert_close(params, expected_params, f"parameters after step {i}")
  # Few batches have nothing to learn from.
  assert np.mean([m["grad_norm"] > 1e-2 for _, m, _ in one]) > 0.8
  # They went much further than that, or nowhere.
  start, last = _by_name(_params(task)), _by_name(four[-1][2])
  for parameter, array in start.items():
    if parameter.split("/")[0] in task.frozen:
      np.testing.assert_array_equal(last[parameter], array, parameter)
    elif not parameter.endswith("key/bias"):
      assert np.abs(last[parameter] - array).max() > 1e-5, parameter
  # What does not learn is not clipped, nor measured.
  gradient, _, params = four[-1]
  assert gradient.keys() == params.keys() - set(task.frozen)


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
      devices.check_replicas({"a": state})
      assert state == 7
    else:
      with pytest.raises(AssertionError):
        devices.check_replicas({"a": state})


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
  before = threading.active_count()
  for item in devices.prefetch(itertools.count()):
    if item == 3:
      break
  ahead = devices.prefetch(itertools.count())
  next(ahead)
  ahead.close()
  _wait_for(lambda: threading.active_count() <= before)


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
