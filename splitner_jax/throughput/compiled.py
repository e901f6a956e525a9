"""Programs compiled ahead of time, with what the compiler says of them."""

import time
from collections.abc import Callable, Hashable
from typing import Any

import jax

from splitner_jax.inference.forward import Programs
from splitner_jax.inputs.packing import Layout
from splitner_jax.runtime.types import Tree
from splitner_jax.tasks import AnyTask


class Compiled:
  """Programs by any keys.

  Attributes:
    programs: those that were needed.
    seconds: that compiling them took.
    peak_bytes: of the program that needs most memory, its inputs included.
  """

  def __init__(self) -> None:
    self.programs: dict[Hashable, jax.stages.Compiled] = {}
    self.seconds = 0.0
    self.peak_bytes = 0

  def wrap(self, key: Hashable, function: Any) -> Callable:
    """The function, compiled at its first call.

    Args:
      key: whose arguments always have the same shapes.
      function: of jit or pmap.
    """

    def call(*arguments: Tree) -> Tree:
      if key not in self.programs:
        start = time.perf_counter()
        self.programs[key] = program = function.lower(*arguments).compile()
        self.seconds += time.perf_counter() - start
        self.peak_bytes = max(self.peak_bytes, _bytes(program))
      return self.programs[key](*arguments)

    return call


class MeasuredPrograms(Programs):
  """The programs of a task, kept in a `Compiled`."""

  def __init__(self, task: AnyTask, batch_size: int, compiled: Compiled):
    super().__init__(task, batch_size)
    self._compiled = compiled

  def forward(self, layout: Layout) -> Callable:
    key = self.task.name, "forward", layout
    return self._compiled.wrap(key, super().forward(layout))

  def fill(self, name: str) -> Callable:
    key = self.task.name, name
    return self._compiled.wrap(key, super().fill(name))


def _bytes(program: jax.stages.Compiled) -> int:
  """What a program holds at once, by the compiler; 0 if it does not say."""
  memory = program.memory_analysis()
  if memory is None:
    return 0
  return (
    memory.argument_size_in_bytes
    + memory.output_size_in_bytes
    + memory.temp_size_in_bytes
    - memory.alias_size_in_bytes
  )
