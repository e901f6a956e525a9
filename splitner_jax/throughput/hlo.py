"""What a program compiled for a TPU says of itself: traffic and collectives.

The compiler's own count of bytes takes a chip's fast memory (VMEM) for its main
one (HBM), and an asynchronous copy for all that it is a part of: an order of
magnitude more than what goes through HBM. So it is read off the program here.
An array's layout ends with S(1) where it is in the fast memory.
"""

import collections
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

_BYTES = {
  "pred": 1,
  "s8": 1,
  "u8": 1,
  "bf16": 2,
  "f16": 2,
  "s16": 2,
  "u16": 2,
  "f32": 4,
  "s32": 4,
  "u32": 4,
  "s64": 8,
  "u64": 8,
}
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\](?:\{([^}]*)\})?")
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?(%[\w.\-]+) = (.*?) ([\w\-]+)\((.*)")
_COLLECTIVE = re.compile(
  r" = (.*?) (all-reduce|all-gather|reduce-scatter|all-to-all|"
  r"collective-permute)\(.*channel_id=(\d+)"
)
# Nothing is moved: another view of what is there, or a wait for a copy.
_FREE = ("parameter", "get-tuple-element", "tuple", "bitcast", "constant")


class Collective(NamedTuple):
  """What all chips do together.

  Attributes:
    kind: such as all-reduce.
    bytes: of the result on one chip.
  """

  kind: str
  bytes: int


class _Array(NamedTuple):
  bytes: int
  in_hbm: bool
  sizes: tuple[int, ...]

  def read_in_loop(self, times: int) -> float:
    """Bytes that a turn of a loop reads or writes of it.

    An array with a part for each turn is what a scan runs over.
    """
    return self.bytes / times if times in self.sizes else self.bytes


def _arrays(shape: str) -> list[_Array]:
  """The arrays of an HLO type, a tuple's in order."""
  found = []
  for dtype, numbers, layout in _ARRAY.findall(shape):
    if dtype in _BYTES:
      sizes = tuple(int(n) for n in numbers.split(",") if n)
      size = _BYTES[dtype] * math.prod(sizes)
      found.append(_Array(size, "S(" not in layout, sizes))
  return found


def collectives(text: str) -> list[Collective]:
  """Those of a compiled program, each once.

  Args:
    text: of `Compiled.as_text`. What runs beside other work is in there many
      times, with the same shape and channel.
  """
  found: dict[tuple[str, ...], Collective] = {}
  for shape, kind, channel in _COLLECTIVE.findall(text):
    sizes = " ".join(f"{d}[{n}]" for d, n, _ in _ARRAY.findall(shape))
    size = sum(array.bytes for array in _arrays(shape))
    found[kind, channel, sizes] = Collective(kind, size)
  return sorted(found.values())


def hbm_bytes(text: str) -> int:
  """Bytes between a chip and its HBM in one run of a program, about.

  Counts what instructions read and write there, loops as often as they run. An
  instruction that reads a part of an array counts as if it read the whole, but
  for the parts that the turns of a loop have each.

  Args:
    text: of `Compiled.as_text`.
  """
  computations = dict(_computations(text))
  entry = next(name for name in computations if name.startswith("ENTRY "))
  return round(_traffic(entry, computations))


def _computations(text: str) -> Iterator[tuple[str, list[str]]]:
  """Names and lines of the computations; ENTRY is before the main one's."""
  name = ""
  lines: list[str] = []
  for line in text.splitlines():
    head = re.match(r"((?:ENTRY )?%[\w.\-]+) \(.*\{$", line)
    if head:
      name, lines = head[1], []
    elif line == "}" and name:
      yield name, lines
      name = ""
    else:
      lines.append(line)


def _traffic(
  name: str, computations: dict[str, list[str]], times: int = 1
) -> float:
  """The traffic of a computation; `times` is how often its loop runs."""
  arrays: dict[str, list[_Array]] = collections.defaultdict(list)
  total = 0.0
  for line in computations[name]:
    found = _INSTRUCTION.match(line)
    if not found:
      continue
    result, shape, operation, rest = found.groups()
    arrays[result] = written = _arrays(shape)
    if operation == "while":
      total += _loop(rest, computations)
    elif operation.endswith("-start") and len(written) > 1:
      # Its result has source and target: the smaller is what is copied.
      if written[0].in_hbm or written[1].in_hbm:
        total += min(written[0].bytes, written[1].bytes)
    elif operation not in _FREE and not operation.endswith("-done"):
      arguments = re.findall(r"%[\w.\-]+", rest.split(")", 1)[0])
      read = [array for each in arguments for array in arrays[each]]
      total += sum(
        array.read_in_loop(times) for array in written + read if array.in_hbm
      )
  return total


def _loop(rest: str, computations: dict[str, list[str]]) -> float:
  """The traffic of a loop whose condition compares with a constant."""
  body = re.search(r"body=(%[\w.\-]+)", rest)
  condition = re.search(r"condition=(%[\w.\-]+)", rest)
  if not body or not condition:
    return 0
  lines = "\n".join(computations[condition[1]])
  limits = [int(n) for n in re.findall(r"constant\((\d+)\)", lines)]
  times = max(limits, default=1)
  return times * _traffic(body[1], computations, times)
