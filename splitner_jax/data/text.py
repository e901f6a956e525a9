"""Raw text -> words with exact offsets."""

import re
import unicodedata

# What attaches to the character before it: combining marks, and the joiners
# that some scripts write inside a word. All of them read as this one mark.
_MARK = "\u0300"
_JOINERS = "\u200c\u200d"

_RUN = rf"\w[\w{_MARK}]*"
_WORD = re.compile(rf"{_RUN}(?:[.'\u2019&/-]{_RUN})*|\S{_MARK}*")


def words_with_offsets(text: str) -> list[tuple[str, int, int]]:
  """Splits text into words: (word, start, end) in characters, end exclusive.

  A word is a run of letters, digits, underscores and combining marks; a
  single . ' - & or / between two such runs joins them (U.S, don't, IL-2, AT&T,
  and/or). Any other character that is not blank is a word of its own.

  >>> words_with_offsets("AT&T's CEO.")
  [("AT&T's", 0, 6), ('CEO', 7, 10), ('.', 10, 11)]
  """
  # The pattern sees a text of the same length in which every mark is one
  # character, because `re` has no class for marks.
  masked = text if text.isascii() else "".join(map(_mask, text))
  return [
    (text[match.start() : match.end()], match.start(), match.end())
    for match in _WORD.finditer(masked)
  ]


def _mask(character: str) -> str:
  is_mark = unicodedata.category(character)[0] == "M"
  return _MARK if is_mark or character in _JOINERS else character
