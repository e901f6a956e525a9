"""Several processes as one run: they meet, they agree, and one of them writes.

All of them run the same program on the same data: what they do apart from their
part of a batch is the same. Where it might not be, such as by the clock, they
ask each other here.
"""

import contextlib
import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, NoReturn

from splitner_jax.runtime import signals
from splitner_jax.runtime.errors import UserError

_MEET_SECONDS = 300
# A process that is gone without a word is missed after so long.
_HEARTBEAT_SECONDS = 25
_PART_SECONDS = 60
# The first process is the one that the others talk to. It stays a little, or
# they would see a failure where they were asked to end as well.
_LINGER_SECONDS = 2.0
# What schedulers say of the number of processes of a step.
_CLUSTERS = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")

# Of what JAX says where another process is gone.
_LOSS = "gloo|connection|coordination|heartbeat|UNAVAILABLE|DEADLINE_EXCEEDED"

_count = 1
_number = 0


class Place(NamedTuple):
  """Where a process stands among those of its run.

  Attributes:
    coordinator: HOST:PORT of the first; empty: as the cluster says.
    processes: how many there are; 0: as the cluster says.
    number: of this one, from 0; -1: as the cluster says.
  """

  coordinator: str = ""
  processes: int = 0
  number: int = -1


def place(
  coordinator: str = "",
  count: str = "",
  number: str = "",
  environment: Mapping[str, str] = os.environ,
) -> Place | None:
  """Where this process stands; None: it is alone.

  Args:
    coordinator, count, number: as flags; empty: of JAX_COORDINATOR_ADDRESS,
      JAX_NUM_PROCESSES and JAX_PROCESS_ID. A count of "auto" asks the cluster:
      Cloud TPU, SLURM and Open MPI answer. So does a step of SLURM or Open MPI
      that has several tasks.
    environment: the process's.

  Raises:
    UserError: they do not fit together.
  """
  coordinator = coordinator or environment.get("JAX_COORDINATOR_ADDRESS", "")
  count = count or environment.get("JAX_NUM_PROCESSES", "")
  number = number or environment.get("JAX_PROCESS_ID", "")
  if not (coordinator or count or number):
    tasks = [environment.get(name, "") for name in _CLUSTERS]
    return Place() if any(t.isdecimal() and int(t) > 1 for t in tasks) else None
  if count == "auto":
    return Place()
  if not count.isdecimal() or not int(count):
    raise UserError(
      f"--num_processes: {count!r} is neither auto nor a number from 1; give "
      "how many processes the run has"
    )
  if int(count) == 1:
    return None
  if not number.isdecimal() or int(number) >= int(count):
    raise UserError(
      f"--process_id: {number!r} is no number from 0 to {int(count) - 1}; give "
      "each process one of its own"
    )
  host, _, port = coordinator.rpartition(":")
  if not host or not port.isdecimal() or not 0 < int(port) < 65536:
    raise UserError(
      f"--coordinator: {coordinator!r} is not HOST:PORT; give a host on which "
      "the first process runs and a port that is free there"
    )
  return Place(coordinator, int(count), int(number))


def join(where: Place | None) -> None:
  """Meets the other processes, before anything touches a device.

  Raises:
    UserError: they do not come.
  """
  global _count, _number
  if where is None:
    return
  import jax

  is_given = bool(where.coordinator)
  # Of CPUs; others have their own.
  jax.config.update("jax_cpu_collectives_implementation", "gloo")
  # It would take SIGTERM for itself.
  jax.config.update("jax_enable_preemption_service", False)
  try:
    jax.distributed.initialize(
      where.coordinator or None,
      where.processes if is_given else None,
      where.number if is_given else None,
      initialization_timeout=_MEET_SECONDS,
      heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
      shutdown_timeout_seconds=_PART_SECONDS,
    )
    _count, _number = jax.process_count(), jax.process_index()
  except (RuntimeError, ValueError) as e:
    reason = " ".join(str(e).split())[:200]
    raise UserError(
      f"the processes of this run did not meet ({reason}); start all of them "
      "with the same --coordinator and --num_processes"
    ) from e
  if _count > 1:
    signals.leave_as(seconds=0 if _number else _LINGER_SECONDS, tell=is_first())
    if not is_first():
      # Else each line would come from each process.
      logging.getLogger("splitner_jax").setLevel(logging.ERROR)


def count() -> int:
  """The processes of this run."""
  return _count


def is_first() -> bool:
  """Whether this is the process that writes what one has to write."""
  return not _number


def any_of(wishes: Sequence[bool]) -> list[bool]:
  """Of each wish, whether any process has it. All have to ask together."""
  if _count == 1:
    return list(wishes)
  import numpy as np
  from jax.experimental import multihost_utils

  gathered = multihost_utils.process_allgather(np.array(wishes, np.int32))
  return [bool(x) for x in np.asarray(gathered).max(axis=0)]


def by_first(function: Callable[[], None]) -> None:
  """Does what one process has to do for all; the others wait for its end.

  Raises:
    UserError: in all processes, if the function does in the first.
  """
  if _count == 1:
    function()
    return
  error = ""
  if is_first():
    try:
      function()
    except UserError as e:
      error = str(e)
  if error := _said_by_first(error):
    raise UserError(error)


def _said_by_first(text: str) -> str:
  import numpy as np
  from jax.experimental import multihost_utils

  data: np.ndarray = np.frombuffer(text.encode("utf-8", "replace"), np.uint8)
  length = multihost_utils.broadcast_one_to_all(np.int32(data.size))
  if not is_first():
    data = np.zeros(int(length), np.uint8)
  if not int(length):
    return ""
  return bytes(np.asarray(multihost_utils.broadcast_one_to_all(data))).decode()


def part() -> None:
  """Waits for the others at the end of a run."""
  if _count > 1:
    import jax

    jax.distributed.shutdown()


def is_loss(error: BaseException) -> bool:
  """Whether an error says that another process is gone, so far as JAX says."""
  found = re.search(_LOSS, str(error), re.IGNORECASE)
  # JaxRuntimeError is a RuntimeError.
  return _count > 1 and isinstance(error, RuntimeError) and found is not None


@contextlib.contextmanager
def told() -> Iterator[None]:
  """Turns the loss of another process into one line.

  Any other error ends this process at once, with its traceback.

  Raises:
    UserError: the block waited for a process that is gone.
  """
  try:
    yield
  except Exception as error:
    if _count == 1 or isinstance(error, UserError):
      raise
    said = str(error)
    if not is_loss(error):
      # At Python's own end it would wait for the others, and they for it.
      traceback.print_exc()
      fail(f"{type(error).__name__}: {said}")
    reason = said.split("\n")[0][:120]
    raise UserError(
      f"another process of this run has ended ({reason}); see what it says; "
      "the same command goes on from the last checkpoint"
    ) from error


def fail(message: str) -> NoReturn:
  """Ends this process of several; those that wait for it end soon after."""
  who = f"process {_number} of {_count}"
  print(f"error: {who}:", " ".join(message.split()), file=sys.stderr)
  sys.stdout.flush()
  sys.stderr.flush()
  if is_first():
    time.sleep(_LINGER_SECONDS)
  os._exit(1)
