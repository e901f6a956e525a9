"""What a word of a corpus file may be."""

import functools
import re
import unicodedata

from splitner_jax.runtime.errors import UserError

BLANKS = " \t\r\n\v\f"
"""The blanks of file formats only: a word may hold any other character, also
those that Unicode counts among the spaces and line ends."""

_BLANK = re.compile(f"[{BLANKS}]")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def check_word(word: object, where: str, what: str = "word") -> None:
  """Raises UserError if a word, or `what` belongs to one, cannot be kept."""
  if not isinstance(word, str) or not word or _BLANK.search(word):
    raise UserError(
      f"{where}: {what} {word!r} must be a string, not empty and without blanks"
    )
  if _SURROGATE.search(word):
    raise UserError(f"{where}: {what} {word!r} holds half a character; mend it")
  if "\0" in word:
    raise UserError(
      f"{where}: {what} {word!r} holds a NUL; convert the file to UTF-8, or "
      "mend it"
    )


@functools.cache
def label_fault(label: str) -> str:
  """Why a string cannot be the name of a type, or ""."""
  if not label:
    return "is empty"
  if _CONTROL.search(label):
    return "holds a tab, a line break or another control character"
  if _SURROGATE.search(label):
    return "holds half a character"
  # Some that show nothing are no blanks to Python.
  edges = map(unicodedata.category, (label[0], label[-1]))
  if any(category[0] in "CZ" for category in edges):
    return "has a blank or an invisible character at an edge"
  return ""
