"""JSON as files of ours have it: stricter than Python reads it."""

import json
import math
from collections import Counter
from typing import Any, NoReturn

from splitner_jax.runtime.types import Json


def parse(text: str | bytes) -> Any:
  """Parses JSON, and nothing that only looks like it.

  Raises:
    ValueError: it is no JSON, has a key twice in one object, NaN or Infinity,
      a number too large for a float, is no UTF-8, or too deep to be read. The
      message is a reason in one line, without a place.
  """
  try:
    # Of bytes the library would take UTF-16 too, and a byte order mark.
    text = text.decode() if isinstance(text, bytes) else text
    return json.loads(
      text,
      object_pairs_hook=_unique,
      parse_constant=_refuse,
      parse_float=_finite,
    )
  except json.JSONDecodeError as e:
    # Who gives one line says himself which.
    line = f", line {e.lineno}" if "\n" in e.doc else ""
    raise ValueError(f"{e.msg}{line}") from None
  except UnicodeDecodeError:
    raise ValueError("not UTF-8") from None
  except RecursionError:
    raise ValueError("too deep") from None


def _unique(pairs: list[tuple[str, object]]) -> Json:
  found = dict(pairs)
  if len(found) < len(pairs):
    counts = Counter(key for key, _ in pairs)
    raise ValueError(f"key {counts.most_common(1)[0][0]!r} appears twice")
  return found


def _refuse(name: str) -> NoReturn:
  raise ValueError(f"{name} is no number of JSON")


def _finite(number: str) -> float:
  value = float(number)
  if math.isinf(value):
    raise ValueError(f"{number} is too large")
  return value
