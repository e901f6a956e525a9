"""Tiny tasks that any number of devices, in any processes, learn alike.

  python -m tests.parallel_tasks OUTPUT TASK,... [dropout]

trains these, in the processes that the environment says, and writes what
`train` returns of each.
"""

import dataclasses
import itertools
import sys
import types
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import optax
from jax import numpy as jnp

from splitner_jax.inputs import patterns
from splitner_jax.inputs.batches import Batch, Batcher
from splitner_jax.inputs.packing import Packer
from splitner_jax.inputs.plan import Plan
from splitner_jax.inputs.text_tables import TextKeys
from splitner_jax.models import features, lstm
from splitner_jax.models.bert import BertConfig
from splitner_jax.models.heads import PooledClassifier, TokenClassifier
from splitner_jax.runtime import devices, processes
from splitner_jax.runtime.compilation import use_compilation_cache
from splitner_jax.training import losses, optimizer
from splitner_jax.training.setup import Setup
from splitner_jax.training.step import BACKBONE, TrainState, split
from tests import random_examples

STEPS = 8
SIZES = 12, 8
"""Of the features and of the LSTM, to be small."""
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
TASKS = {
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


def setup(task, transform=None) -> Setup:
  """What `prepare` makes, with layouts of these tests."""
  pooled = isinstance(task.model, PooledClassifier)
  examples = random_examples.make(_LENGTHS, one_target=pooled)
  text_keys = TextKeys(examples, task.features, False)
  shape = random_examples.shape(task.layout)
  packer = Packer(examples.lengths, examples.target_counts, [shape], text_keys)
  return Setup(
    task,
    Plan(packer, len(examples), 0, (shape,), 0.0, 0.0),
    0,
    Batcher(
      examples,
      task.features,
      text_keys,
      0,
      devices.device_count(),
      devices.own_devices(),
    ),
    task.loss,
    transform,
    task.frozen,
    # Small, since Adam makes much of the noise in gradients of almost zero.
    learning_rate=1e-5,
    epochs=STEPS,
    lost=0,
  )


def batches(setup: Setup) -> Iterator[Batch]:
  """The same examples in the same rows, however many devices there are."""
  for epoch in range(setup.epochs):
    for batch, _ in setup.batches(epoch):
      yield batch


def keep_gradient() -> optax.GradientTransformation:
  """Puts the gradient, as it comes in, into the optimizer's state."""
  return optax.GradientTransformation(
    lambda params: jax.tree.map(jnp.zeros_like, params),
    lambda gradient, state, params=None: (gradient, gradient),
  )


def params(task):
  """Random parameters; drawn in NumPy, where nothing has to be compiled."""
  batch = next(batches(setup(task)))
  arrays = {name: array[0] for name, array in batch.arrays.items()}
  shapes = jax.eval_shape(
    lambda key: task.model.init(key, arrays, batch.layout), jax.random.key(0)
  )
  rng = np.random.default_rng(1)
  return jax.tree.map(
    lambda x: rng.normal(0, 0.1, x.shape).astype(x.dtype), shapes["params"]
  )


def check_replicas(tree) -> None:
  """Raises AssertionError if replicated arrays differ between devices."""
  for path, leaf in jax.tree.leaves_with_path(tree):
    shards = [np.asarray(s.data).tobytes() for s in leaf.addressable_shards]
    assert set(shards) == {shards[0]}, jax.tree_util.keystr(path)


def train(task):
  """Gradient before clipping, metrics and parameters of each step."""
  transform = optax.chain(keep_gradient(), optimizer.make(weight_decay=0.1))
  made = setup(task, transform)
  start = params(task)
  trained, _ = split(start, task.frozen)
  state = devices.replicate(
    TrainState(
      jnp.int32(0), jnp.uint32(0), start, jax.jit(transform.init)(trained)
    )
  )
  [layout] = made.layouts()
  step = devices.compile_step(made.make_step(layout))
  history = []
  for batch in itertools.islice(batches(made), STEPS):
    assert batch.layout == layout
    state, metrics = step(state, devices.put_batch(batch.arrays))
    check_replicas((state, metrics))
    gradient = state.opt_state[0]
    history.append(devices.to_host((gradient, metrics, state.params)))
  assert len(state.step.sharding.device_set) == devices.device_count()
  assert int(state.step) == STEPS
  return history


def by_name(tree) -> dict[str, np.ndarray]:
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): leaf
    for path, leaf in jax.tree.leaves_with_path(tree)
  }


def assert_close(ours, expected, where: str) -> None:
  ours, expected = by_name(ours), by_name(expected)
  assert ours.keys() == expected.keys()
  for name, array in expected.items():
    # Its gradient is zero in exact arithmetic, and Adam makes noise big.
    if not name.endswith("key/bias"):
      np.testing.assert_allclose(
        ours[name], array, atol=1e-6, rtol=0, err_msg=f"{where}: {name}"
      )


def main(output: str, names: str, dropout: str = "") -> None:
  """Trains tasks; the first process writes OUTPUT.

  Args:
    output: a file of NumPy.
    names: of TASKS, with commas.
    dropout: anything: with dropout.
  """
  use_compilation_cache()
  processes.join(processes.place())
  features.OUTPUT_SIZE, lstm.LSTM_SIZE = SIZES
  found: dict[str, Any] = {}
  for name in names.split(","):
    task = TASKS[name]
    if dropout:
      config = dataclasses.replace(_CONFIG, hidden_dropout=0.2)
      model = task.model.clone(encoder=config)
      task = types.SimpleNamespace(**vars(task) | {"model": model})
    for step, each in enumerate(train(task)):
      for kind, tree in zip(
        ("gradient", "metrics", "params"), each, strict=True
      ):
        for leaf, array in by_name(tree).items():
          found[f"{name}|{step}|{kind}|{leaf}"] = array
  if processes.is_first():
    np.savez(output, **found)
  processes.part()


if __name__ == "__main__":
  main(*sys.argv[1:])
