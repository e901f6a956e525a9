"""What a word of a corpus file may be."""

import re

from splitner_jax.runtime.errors import UserError

BLANKS = " \t\r\n\v\f"
"""The blanks of file formats only: a word may hold any other character, also
those that Unicode counts among the spaces and line ends."""

_BLANK = re.compile(f"[{BLANKS}]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def check_word(word: object, where: str, what: str = "word") -> None:
  """Raises UserError if a word, or `what` belongs to one, cannot be kept."""
  if not isinstance(word, str) or not word or _BLANK.search(word):
    raise UserError(
      f"{where}: {what} {word!r} must be a string, not empty and without blanks"
    )
  if _SURROGATE.search(word):
    raise UserError(f"{where}: {what} {word!r} holds half a character; mend it")
