"""Pickles of plain data, read by a machine that can run nothing.

A pickle is a program for a machine with a stack and a memo. Python's own runs
whatever it is told, and even with every name refused a small file makes it
crash or fill the memory: tuples nested a hundred thousand deep, a list that is
doubled fifty times, a memo at the index 2**28. This one knows what a
dictionary of tensors is written with, keys that are plain values, names that
the caller lists, and counts its steps.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, NamedTuple

from splitner_jax.runtime.errors import UserError

MOST_STEPS = 2_000_000
"""Opcodes of one pickle, and entries they lay down; BERT takes 10,000."""
_LONGEST_TEXT = 1 << 16  # Bytes of a name of a tensor, or of anything else.
_LONGEST_LINE = 256


class Name(NamedTuple):
  """Something that a pickle may name.

  Attributes:
    text: what it is for the caller.
    build: makes a value of the arguments with which a pickle calls it.
  """

  text: str
  build: Callable[..., object] | None = None


class DamageError(ValueError):
  """These bytes are no pickle of plain data; the message says why."""


class _Mark:
  """Where on the stack a tuple, or the items of a list begin."""


class Reader:
  """Reads one pickle after the other from a file.

  Strings, numbers, tuples, lists and dictionaries become those of Python,
  what a caller's `Name` builds is his.
  """

  def __init__(
    self,
    file: IO[bytes],
    find: Callable[[str, str], Name],
    persistent: Callable[[object], object],
  ):
    """Of an open file.

    Args:
      file: stands where the first pickle begins, and after `load` behind it.
      find: of a module and a name in it; raises UserError for a foreign one.
      persistent: of what stands for something outside of the pickle.
    """
    self._file = file
    self._find = find
    self._persistent = persistent

  def load(self) -> object:
    """The value of the next pickle.

    Raises:
      DamageError: it is cut off, or no pickle of plain data.
      UserError: it takes too many steps, or `find` or `persistent` raised it.
    """
    self._stack: list[object] = []
    self._memo: dict[int, object] = {}
    self._steps = 0
    while True:
      code = self._bytes(1)
      self._count()
      if code == b".":
        return self._pop()
      step = _STEPS.get(code)
      if step is None:
        raise DamageError(f"opcode {code!r} where none of plain data is")
      step(self)

  def _count(self, steps: int = 1) -> None:
    self._steps += steps
    if self._steps > MOST_STEPS:
      raise UserError(
        f"its description takes more than {MOST_STEPS:,} steps to read, which "
        "no dictionary of tensors needs; do not trust this file"
      )

  def _bytes(self, length: int) -> bytes:
    found = self._file.read(length)
    if len(found) < length:
      raise DamageError("it is cut off")
    return found

  def _number(self, form: str) -> Any:
    return struct.unpack(form, self._bytes(struct.calcsize(form)))[0]

  def _sized(self, form: str) -> bytes:
    length = self._number(form)
    if not 0 <= length <= _LONGEST_TEXT:
      raise DamageError(f"a text of {length} bytes")
    return self._bytes(length)

  def _line(self) -> str:
    line = self._file.readline(_LONGEST_LINE)
    if not line.endswith(b"\n"):
      raise DamageError("a name without an end")
    return line[:-1].decode()

  def _pop(self) -> object:
    if not self._stack or isinstance(self._stack[-1], _Mark):
      raise DamageError("a value is missing")
    return self._stack.pop()

  def _top(self, kind: type) -> Any:
    if not self._stack or not isinstance(self._stack[-1], kind):
      raise DamageError(f"no {kind.__name__} where one must be")
    return self._stack[-1]

  def _since_mark(self) -> list[object]:
    for place in range(len(self._stack) - 1, -1, -1):
      if isinstance(self._stack[place], _Mark):
        found = self._stack[place + 1 :]
        del self._stack[place:]
        return found
    raise DamageError("a mark is missing")

  def _push(self, value: object) -> None:
    self._stack.append(value)

  def _put(self, index: int) -> None:
    self._memo[index] = self._top(object)

  def _get(self, index: int) -> None:
    if index not in self._memo:
      raise DamageError("it refers to what is not there")
    self._push(self._memo[index])

  def _tuple(self, count: int) -> None:
    values = [self._pop() for _ in range(count)]
    self._push(tuple(reversed(values)))

  def _append(self, values: Sequence[object]) -> None:
    self._top(list).extend(values)

  def _set(self, items: Sequence[object]) -> None:
    if len(items) % 2:
      raise DamageError("a key without a value")
    pairs = list(zip(items[::2], items[1::2], strict=True))
    self._top(dict).update(checked(pairs))

  def _name(self, module: object, name: object) -> None:
    if type(module) is not str or type(name) is not str:
      raise DamageError("a name that is no text")
    self._push(self._find(module, name))

  def _two_names(self) -> None:
    name, module = self._pop(), self._pop()
    self._name(module, name)

  def _call(self) -> None:
    arguments, name = self._pop(), self._pop()
    if type(arguments) is not tuple or not isinstance(name, Name):
      raise DamageError("a call of what cannot be called")
    if name.build is None:
      raise DamageError(f"a call of {name.text}")
    # A list that is handed over many times is not laid down again each time.
    self._count(sum(len(a) for a in arguments if isinstance(a, (list, tuple))))
    try:
      self._push(name.build(*arguments))
    except TypeError:
      raise DamageError(f"{name.text} called with what does not fit") from None

  def _state(self) -> None:
    # `_metadata` of a state dict: versions of torch's modules.
    self._pop()
    self._top(dict)

  def _integer(self) -> None:
    line = self._line()
    # Protocol 1 writes so what does not fit into 4 bytes, and truth values.
    truth = {"00": False, "01": True}
    self._push(truth[line] if line in truth else int(line))

  def _long(self) -> None:
    data = self._bytes(self._number("<B"))
    self._push(int.from_bytes(data, "little", signed=True))


def checked(pairs: Sequence[Any]) -> dict[Any, Any]:
  """A dictionary of pairs whose keys are plain.

  The hash of a tuple goes through all that it holds, as often as it holds it.
  """
  for pair in pairs:
    if type(pair) not in (tuple, list) or len(pair) != 2:
      raise DamageError("an item that is no pair")
    if type(pair[0]) not in (str, bytes, int, float, bool, type(None)):
      raise DamageError(f"a key that is a {type(pair[0]).__name__}")
  return dict(pairs)


def _text(form: str) -> Callable[[Reader], None]:
  return lambda reader: reader._push(reader._sized(form).decode())


def _raw(form: str) -> Callable[[Reader], None]:
  return lambda reader: reader._push(reader._sized(form))


def _number(form: str) -> Callable[[Reader], None]:
  return lambda reader: reader._push(reader._number(form))


def _constant(value: object) -> Callable[[Reader], None]:
  return lambda reader: reader._push(value)


# Each by its opcode, as `pickletools` of the standard library explains them.
_STEPS: Mapping[bytes, Callable[[Reader], object]] = {
  b"\x80": lambda r: r._bytes(1),  # The protocol.
  b"\x95": lambda r: r._bytes(8),  # The length of a frame.
  b"(": lambda r: r._push(_Mark()),
  b"0": Reader._pop,
  # Values.
  b"N": _constant(None),
  b"\x88": _constant(True),
  b"\x89": _constant(False),
  b"K": _number("<B"),
  b"M": _number("<H"),
  b"J": _number("<i"),
  b"G": _number(">d"),
  b"I": Reader._integer,
  b"\x8a": Reader._long,
  b"\x8c": _text("<B"),
  b"X": _text("<I"),
  b"\x8d": _text("<Q"),
  b"U": _text("<B"),  # Of Python 2.
  b"T": _text("<i"),
  b"C": _raw("<B"),
  b"B": _raw("<I"),
  # Containers.
  b")": _constant(()),
  b"\x85": lambda r: r._tuple(1),
  b"\x86": lambda r: r._tuple(2),
  b"\x87": lambda r: r._tuple(3),
  b"t": lambda r: r._push(tuple(r._since_mark())),
  b"]": lambda r: r._push([]),
  b"l": lambda r: r._push(r._since_mark()),
  b"a": lambda r: r._append([r._pop()]),
  b"e": lambda r: r._append(r._since_mark()),
  b"}": lambda r: r._push({}),
  b"s": lambda r: r._set(list(reversed([r._pop(), r._pop()]))),
  b"u": lambda r: r._set(r._since_mark()),
  # The memo.
  b"q": lambda r: r._put(r._number("<B")),
  b"r": lambda r: r._put(r._number("<I")),
  b"\x94": lambda r: r._put(len(r._memo)),
  b"h": lambda r: r._get(r._number("<B")),
  b"j": lambda r: r._get(r._number("<I")),
  # Names.
  b"c": lambda r: r._name(r._line(), r._line()),
  b"\x93": Reader._two_names,
  b"Q": lambda r: r._push(r._persistent(r._pop())),
  b"R": Reader._call,
  b"b": Reader._state,
}
