"""Characters and orthographic patterns of token texts, as ids.

The alphabets and the pattern rules are those of the paper's section 2.1 in
the variant that the reference's configs ship (its pattern type 3). Id 0 is
padding. One more id than the reference has stands for any other character.
"""

import functools

MAX_CHARACTERS = 32
"""Token texts and patterns are cut here."""

_PUNCTUATION = ",;.!?:'\"/\\|_@#$%^&*~`+-=<>()[]{}"
_LOWER = "abcdefghijklmnopqrstuvwxyz"
_UPPER = _LOWER.upper()
_DIGITS = "0123456789"


def _numbered(alphabet: str) -> dict[str, int]:
  return {character: i for i, character in enumerate(alphabet, start=1)}


_CHARACTER_IDS = _numbered(_PUNCTUATION + _LOWER + _UPPER + _DIGITS)
_PATTERN_IDS = _numbered(_PUNCTUATION + "CSLUFMlud")

CHARACTER_VOCAB = len(_CHARACTER_IDS) + 2
"""Character ids: padding, the alphabet, any other character."""
PATTERN_VOCAB = len(_PATTERN_IDS) + 2
"""Pattern ids: padding, the alphabet, any other character."""


def _class(text: str, letters: str) -> bool:
  return all(character in letters for character in text)


@functools.lru_cache(maxsize=1 << 16)
def pattern(text: str, reference: bool = False) -> str:
  """Orthographic pattern of a token text.

  With `reference`, RoBERTa's special tokens are ordinary text, as they are
  for the reference (dataset.py).

  Whole words of ASCII letters become one letter, all else one letter (or the
  character itself) per character.

  >>> [pattern(t) for t in ("cell", "DNA", "Paris", "mRNA", "IL-2", "[CLS]")]
  ['L', 'U', 'F', 'M', 'uu-d', 'C']
  """
  # BERT's special tokens, and RoBERTa's that stand in the same places.
  if text == "[CLS]" or (text == "<s>" and not reference):
    return "C"
  if text == "[SEP]" or (text == "</s>" and not reference):
    return "S"
  if text and _class(text, _LOWER):
    return "L"
  if text and _class(text, _UPPER):
    return "U"
  if text and text[0] in _UPPER and _class(text[1:], _LOWER):
    return "F"
  if text and _class(text, _LOWER + _UPPER):
    return "M"
  return "".join(
    "l" if c in _LOWER else "u" if c in _UPPER else "d" if c in _DIGITS else c
    for c in text[:MAX_CHARACTERS]
  )


@functools.lru_cache(maxsize=1 << 16)
def character_ids(text: str, reference: bool = False) -> tuple[int, ...]:
  """Ids in 1..CHARACTER_VOCAB-1 of the first MAX_CHARACTERS characters.

  With `reference`, characters outside its alphabet are left out.

  >>> character_ids("a,Z")
  (33, 1, 84)
  """
  return _ids(text, _CHARACTER_IDS, reference)


@functools.lru_cache(maxsize=1 << 16)
def pattern_ids(pattern_text: str, reference: bool = False) -> tuple[int, ...]:
  """Ids in 1..PATTERN_VOCAB-1 of a text that `pattern` returned."""
  return _ids(pattern_text, _PATTERN_IDS, reference)


def _ids(text: str, ids: dict[str, int], reference: bool) -> tuple[int, ...]:
  if reference:
    return tuple(ids[c] for c in text if c in ids)[:MAX_CHARACTERS]
  return tuple(ids.get(c, len(ids) + 1) for c in text[:MAX_CHARACTERS])
