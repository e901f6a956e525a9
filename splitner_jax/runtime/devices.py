"""Data parallelism: everything that knows about pmap, and about shard_map.

The state is replicated without a leading device axis; a batch has one. What
runs inside a step may use `global_rows`, `sum_over_devices` and `device_key`.
One process uses pmap; several share the devices of all through jit, each with
its part of a batch. Another way of parallelism has to replace this file only.
"""

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from splitner_jax.runtime import processes
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.types import Tree

AXIS = "data"

T = TypeVar("T")

_targets: tuple[jax.Device, ...] = ()


@contextlib.contextmanager
def compiling_for(targets: Sequence[jax.Device]) -> Iterator[None]:
  """Inside, all here is about other devices than this machine's.

  Programs can be lowered and compiled for them, not run.

  Args:
    targets: of one platform, such as those of a described TPU slice.
  """
  global _targets
  before, _targets = _targets, tuple(targets)
  try:
    yield
  finally:
    _targets = before


def _devices() -> list[jax.Device]:
  """Those of this run, or those that are compiled for."""
  if _targets:
    return list(_targets)
  if processes.count() == 1:
    return jax.local_devices()
  # Those of a process behind each other, whatever the order on a TPU slice.
  return sorted(jax.devices(), key=lambda d: (d.process_index, d.id))


def _platform() -> str:
  """Of the devices: cpu, gpu or tpu."""
  return _targets[0].platform if _targets else jax.default_backend()


def device_count() -> int:
  """The devices of this run, of all its processes.

  Raises:
    UserError: there are other processes, which have not been met.
  """
  if jax.process_count() != processes.count():
    raise UserError(
      f"this is one of {jax.process_count()} processes, and they have not met; "
      "train with --num_processes=auto on all hosts, or start on one"
    )
  return len(_devices())


def own_devices() -> range:
  """Which of the devices are this process's, in their order."""
  if processes.count() == 1:
    return range(device_count())
  mine = [
    i
    for i, device in enumerate(_devices())
    if device.process_index == jax.process_index()
  ]
  return range(mine[0], mine[-1] + 1)


def _sharding(spec: PartitionSpec) -> NamedSharding:
  return NamedSharding(Mesh(np.array(_devices()), (AXIS,)), spec)


def replicated() -> NamedSharding:
  """Where the state lives: a whole copy on each device."""
  return _sharding(PartitionSpec())


def replicate(tree: Tree) -> Tree:
  """Copies arrays to every device.

  Goes through NumPy: placing a jax.Array may alias its buffer, which a
  donating step would then delete under its other owner.
  """
  arrays, sharding = jax.tree.map(np.asarray, tree), replicated()
  if processes.count() == 1:
    return jax.device_put(arrays, sharding)

  def place(array: np.ndarray) -> jax.Array:
    # Not device_put, which would ask all processes whether theirs is the same.
    return jax.make_array_from_callback(
      array.shape, sharding, lambda part: np.array(array[part])
    )

  return jax.tree.map(place, arrays)


def put_batch(batch: Tree) -> Tree:
  """Places arrays of shape [devices, ...], one part on each device.

  Args:
    batch: of all devices, or of `own_devices` alone.
  """
  sharding = _sharding(PartitionSpec(AXIS))
  if processes.count() == 1:
    return jax.device_put(batch, sharding)
  own = own_devices()

  def place(array: np.ndarray) -> jax.Array:
    mine = array[own.start : own.stop] if len(array) > len(own) else array
    shape = device_count(), *array.shape[1:]
    return jax.make_array_from_process_local_data(sharding, mine, shape)

  return jax.tree.map(place, batch)


def _shared(
  function: Callable, in_axes: Sequence[int | None], gathers: bool
) -> Callable:
  """What pmap would run, over the devices of several processes, for jit.

  Args:
    function: of one device.
    in_axes: of its arguments; None: all devices have the same, 0: its part.
    gathers: whether each device gives its part of the result; all read all.
  """

  def spec(axis: int | None) -> PartitionSpec:
    return PartitionSpec() if axis is None else PartitionSpec(AXIS)

  def on_device(*arguments: Tree) -> Tree:
    one = [
      x if axis is None else jax.tree.map(lambda a: a[0], x)
      for x, axis in zip(arguments, in_axes, strict=True)
    ]
    found = function(*one)
    if not gathers:
      return found
    return jax.tree.map(lambda a: jax.lax.all_gather(a, AXIS), found)

  return jax.shard_map(
    on_device,
    mesh=Mesh(np.array(_devices()), (AXIS,)),
    in_specs=tuple(map(spec, in_axes)),
    out_specs=PartitionSpec(),
    check_vma=False,
  )


def _has_other_hosts() -> bool:
  return len({device.process_index for device in _devices()}) > 1


def compile_step(step: Callable[[Tree, Tree], tuple[Tree, Tree]]) -> Callable:
  """Compiles (state, batch) -> (state, metrics); the old state is donated."""
  if _has_other_hosts():
    return jax.jit(_shared(step, (None, 0), gathers=False), donate_argnums=0)
  return jax.pmap(
    step,
    axis_name=AXIS,
    in_axes=(None, 0),
    out_axes=(None, None),
    donate_argnums=0,
    devices=_targets or None,
  )


def compile_forward(forward: Callable[[Tree, Tree, Tree], Tree]) -> Callable:
  """Compiles (params, tables, batch) -> rows, of shape [devices, rows, ...]."""
  if _has_other_hosts():
    return jax.jit(_shared(forward, (None, None, 0), gathers=True))
  return jax.pmap(
    forward,
    axis_name=AXIS,
    in_axes=(None, None, 0),
    out_axes=0,
    devices=_targets or None,
  )


def compile_update(update: Callable[[Tree, Tree, Tree], Tree]) -> Callable:
  """Compiles (params, old, changes) -> new, all replicated; old is donated."""
  return jax.jit(update, donate_argnums=1, out_shardings=replicated())


def global_rows(rows: Tree) -> jax.Array:
  """The rows of all devices, only this device's with a gradient.

  [n, ...] -> [devices * n, ...]. A loss of the result, differentiated on each
  device and summed by `sum_over_devices`, gives the gradient of the loss of
  the global batch. (Differentiating through a psum or a plain all_gather
  would count every device once too often.)
  """
  everyone = jax.lax.all_gather(jax.lax.stop_gradient(rows), AXIS)
  mine = jax.lax.axis_index(AXIS)
  everyone = jax.lax.dynamic_update_index_in_dim(everyone, rows, mine, 0)
  return everyone.reshape(-1, *rows.shape[1:])


def sum_over_devices(tree: Tree) -> Tree:
  return jax.lax.psum(tree, AXIS)


def device_key(seed: jax.Array, step: jax.Array) -> jax.Array:
  """A random key of its own for each step and device.

  Threefry is slow on TPU; with keys of another kind dropout does without (see
  `models.transformer`).
  """
  impl = "rbg" if _platform() == "tpu" else "threefry2x32"
  key = jax.random.fold_in(jax.random.key(seed, impl=impl), step)
  return jax.random.fold_in(key, jax.lax.axis_index(AXIS))


def to_host(tree: Tree) -> Tree:
  """NumPy copies of replicated or sharded arrays."""
  return jax.tree.map(np.asarray, jax.device_get(tree))


def prefetch(items: Iterable[T], depth: int = 2) -> Generator[T, None, None]:
  """Runs an iterator in a thread, `depth` items ahead.

  An exception of the iterator is raised where the item would have come; a
  consumer that stops early waits for the item that the thread is at, and for
  its end: a process that ends while a thread is in JAX is aborted.
  """
  results: queue.Queue = queue.Queue(maxsize=depth)
  stop = threading.Event()

  def put(kind: str, value: object) -> bool:
    while not stop.is_set():
      try:
        results.put((kind, value), timeout=0.1)
        return True
      except queue.Full:
        continue
    return False

  def work() -> None:
    try:
      for item in items:
        if not put("item", item):
          return
      put("end", None)
    except BaseException as e:  # Handed over, raised by the consumer.
      put("error", e)

  thread = threading.Thread(target=work, daemon=True)
  thread.start()
  try:
    while True:
      kind, value = results.get()
      if kind == "end":
        return
      if kind == "error":
        raise value
      yield value
  finally:
    stop.set()
    thread.join()


def compute_dtype(name: str) -> str:
  """The dtype that `config.compute_dtype` means on this machine."""
  if name == "auto":
    return "float32" if _platform() == "cpu" else "bfloat16"
  if name not in ("float32", "bfloat16"):
    raise UserError(
      f"config.compute_dtype: {name!r} is none of auto, float32, bfloat16"
    )
  return name


def row_length() -> int:
  """Tokens of a row of a batch on this machine; 0: what is fastest on CPU.

  A matrix unit wants few and large products, so that the attention to tokens of
  other examples costs less there than rows of several lengths.
  """
  return 0 if _platform() == "cpu" else 256


def prefers_products() -> bool:
  """Whether matrix products of zeros and ones beat gathers on this machine.

  On TPU, where a gather or scatter of single numbers or short rows is slow, to
  compile too.
  """
  return _platform() == "tpu"
