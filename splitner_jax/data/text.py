"""Raw text -> sentences and words with exact offsets.

The words are close to those of the usual corpora: contractions and most
punctuation apart, abbreviations with their dot, and what people write online
(addresses, @names, #tags, emoticons, "...", "!!") whole. Offsets are
characters (Unicode code points) of the text as given; nothing is normalised.
"""

import dataclasses
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np


class Word(NamedTuple):
  """A word and where it stands: characters `start` up to, not with, `end`."""

  text: str
  start: int
  end: int


# What attaches to the character before it: combining marks, joiners, and
# invisible characters inside a word. All of them read as this one mark.
_MARK = "\u0300"
# Ideographs are words of their own, as any other sign.
_SIGN = "\u2605"
# Invisible characters that stand between words.
_INVISIBLE_BLANKS = "\u200b\ufeff"

_ABBREVIATIONS = (
  "Adm|Aug|Ave|Brig|Bros|Capt|Co|Col|Corp|Dec|Dept|Dr|Eq|Eqs|Feb|Fig|Figs|Gen|"
  "Gov|Inc|Jan|Jr|Lt|Ltd|Maj|Messrs|Mr|Mrs|Ms|Mt|Nov|Oct|Pres|Prof|Ref|Refs|"
  "Rep|Rev|Sen|Sept?|Sgt|Sr|St|Supt|Univ|Vol|al|approx|cf|dept|eds|etc|fig|figs|"
  "pp|sp|spp|subsp|viz|vol|vs"
)
# Words that start a sentence even after an abbreviation.
_STARTERS = (
  "A|After|Although|An|And|As|At|But|By|For|From|He|Her|His|How|However|I|If|In|"
  "It|Its|My|No|On|Our|She|So|Such|That|The|Their|Then|There|These|They|This|"
  "Those|To|We|What|When|Where|While|Who|Why|With|Yet|You"
)

_RUN = rf"\w[\w{_MARK}]*"
_CLITIC = r"['\u2019](?:[sS]|[mM]|[dD]|re|RE|ve|VE|ll|LL)(?!\w)"
_NOT = r"[nN]['\u2019][tT](?!\w)"


def _word_pattern(hyphen: str) -> re.Pattern[str]:
  """The pattern of a word; `hyphen` is "-" where it joins, else empty.

  Every repetition that can fail late is bounded, so that no text, however
  odd, takes more than linear time.
  """
  joiner = rf"(?!{_CLITIC})[.'\u2019&/{hyphen}]|(?<=\d)[,:](?=\d)"
  return re.compile(
    "|".join(
      [
        r"(?:https?://|www\.)[!-~]*[\w/&=#%+\u2026-]",
        r"[\w.+-]{1,64}@[A-Za-z0-9-]{1,64}(?:\.[A-Za-z0-9-]{1,64}){1,8}",
        rf"[@#]{_RUN}",
        r"&(?:amp|lt|gt|quot|apos|nbsp|#\d{1,6});",
        r"(?<!\w)[:;=][-'^]?(?:[DPpOo3](?!\w)|[)(\]\[/\\|*]+(?!\w))",
        r"<3(?!\d)|(?<!\w)[-^]_+[-^](?!\w)",
        r"(?:[A-Za-z]\.){2,8}(?!\w)",
        rf"(?:{_ABBREVIATIONS}|No(?=\. ?\d))\.(?=\s+\S|[,;:])",
        rf"[A-Z]\.(?=\s+[A-Z])(?!\s+(?:{_STARTERS})\s)",
        rf"\w\w{{0,30}}?(?={_NOT})|{_NOT}|{_CLITIC}",
        rf"{_RUN}(?:(?:{joiner}){_RUN})*",
        r"([.!?*~=-])\1+|''|``",
        rf"\S{_MARK}*",
      ]
    )
  )


_WORD = _word_pattern("-")
_WORD_WITHOUT_HYPHEN = _word_pattern("")


def words_with_offsets(text: str, *, split_hyphens: bool = False) -> list[Word]:
  """Splits text into words.

  A word is a run of letters, digits, underscores and combining marks; a single
  . ' - & or / between two such runs joins them (IL-2, AT&T, and/or), a comma or
  colon between digits too. 's, 'm, 're and their like and n't are words.
  Ideographs, and other characters that are not blank, are words of their own.

  Args:
    text: any string.
    split_hyphens: whether a hyphen between two runs is a word, see `TextStyle`.

  >>> [word.text for word in words_with_offsets("AT&T's CEO isn't here.")]
  ['AT&T', "'s", 'CEO', 'is', "n't", 'here', '.']
  """
  # The pattern sees a text of the same length in which every mark is one
  # character, because `re` has no class for marks.
  pattern = _WORD_WITHOUT_HYPHEN if split_hyphens else _WORD
  masked = _UNUSUAL.sub(_mask, text)
  return [
    Word(text[match.start() : match.end()], match.start(), match.end())
    for match in pattern.finditer(masked)
  ]


def words_in_line(words: Iterable[str]) -> list[Word]:
  """Words that are given, with their offsets in `" ".join(words)`."""
  found, start = [], 0
  for word in words:
    found.append(Word(word, start, start + len(word)))
    start += len(word) + 1
  return found


_UNUSUAL = re.compile(r"[^ -~\n\t]")


def _mask(match: re.Match[str]) -> str:
  character = match[0]
  category = unicodedata.category(character)
  if category == "Cc" or character in _INVISIBLE_BLANKS:
    return " "
  if category[0] == "M" or category == "Cf":
    return _MARK
  return _SIGN if _is_ideograph(ord(character)) else character


def _is_ideograph(code: int) -> bool:
  return (
    0x4E00 <= code <= 0x9FFF
    or 0x3400 <= code <= 0x4DBF
    or 0xF900 <= code <= 0xFAFF
    or 0x20000 <= code <= 0x3FFFF
  )


_ALWAYS_ENDS = re.compile("[\u3002\uff01\uff1f\uff61\u0964\u0965]")
_ENDS = re.compile("[.!?\u2026\u061f\u06d4\u203c\u2047-\u2049\uff0e]+")
_BRACKETS = ")]}\u00bb\u203a\u201d\u2019\u300d\u300f\uff09"
_QUOTES = ("'", '"', "''")
_ABBREVIATED = re.compile(rf"(?:[A-Za-z]\.)+|(?:{_ABBREVIATIONS})\.")
_STARTER = re.compile(_STARTERS)
_PARAGRAPH = re.compile(r"\n[^\S\n]*\n")


@dataclasses.dataclass(frozen=True)
class TextStyle:
  """What a corpus takes for a word and a sentence; its models expect the same.

  Attributes:
    split_hyphens: whether it writes `c - Myb` rather than `c-Myb`.
    unit_words: neighbouring sentences that have at most so many words together
      are one unit, as in corpora of posts; 0 if its units are sentences.
  """

  split_hyphens: bool = False
  unit_words: int = 0

  @classmethod
  def of(cls, units: Sequence[Sequence[str]]) -> "TextStyle":
    """The style of a corpus, from the words of its units, or a sample."""
    units = units[:: len(units) // 5000 + 1]
    apart = within = several = 0
    for words in units:
      apart += sum(word == "-" for word in words)
      within += sum("-" in word[1:-1] and word[0].isalnum() for word in words)
      several += len(list(_sentences(" ".join(words), False))) > 1
    # Rules are wrong now and then; posts have several sentences often.
    posts = bool(units) and several >= 0.2 * len(units)
    longest = np.percentile([len(w) for w in units], 95) if posts else 0
    return cls(apart > within, int(longest))


def sentences(
  text: str, style: TextStyle = TextStyle()
) -> Iterator[list[Word]]:
  """The words of each sentence, in order; together all words of the text.

  A sentence ends at an empty line; at . ! ? and their like, with the quotes and
  brackets that close behind them, unless the next word starts in lower case;
  after an abbreviation only if the next word is one that starts sentences. A
  single line break is a blank. What the style counts as one unit stays
  together, except across an empty line.
  """
  unit: list[Word] = []
  for words in _sentences(text, style.split_hyphens):
    if unit and (
      len(unit) + len(words) > style.unit_words
      or _PARAGRAPH.search(text, unit[-1].end, words[0].start)
    ):
      yield unit
      unit = []
    unit = unit + words
  if unit:
    yield unit


def _sentences(text: str, split_hyphens: bool) -> Iterator[list[Word]]:
  words = words_with_offsets(text, split_hyphens=split_hyphens)
  first = 0
  for i in range(1, len(words)):
    if _ends_before(text, words, i, first):
      yield words[first:i]
      first = i
  if words:
    yield words[first:]


def _ends_before(text: str, words: list[Word], i: int, first: int) -> bool:
  """Whether the sentence that began with word `first` ends before word i."""
  between = text[words[i - 1].end : words[i].start]
  if "\n" in between and _PARAGRAPH.search(between):
    return True
  if _closes(words, i):
    return False
  last = i - 1
  while last > first and _closes(words, last):
    last -= 1
  ending, following = words[last].text, words[i].text
  if _ALWAYS_ENDS.match(ending):
    return not _ALWAYS_ENDS.match(following)
  if not between or following[0].islower():
    return False
  if _ABBREVIATED.fullmatch(ending):
    return last == i - 1 and bool(_STARTER.fullmatch(following))
  return bool(_ENDS.fullmatch(ending)) and not _ENDS.fullmatch(following)


def _closes(words: list[Word], i: int) -> bool:
  """Whether word i is a bracket or quote that closes.

  A quote that looks the same on both sides closes what it touches; in text
  made of words with blanks between all of them, any such quote does.
  """
  word = words[i]
  if word.text in _QUOTES:
    touches_last = i > 0 and words[i - 1].end == word.start
    touches_next = i + 1 < len(words) and words[i + 1].start == word.end
    return touches_last or not touches_next
  return word.text in _BRACKETS
