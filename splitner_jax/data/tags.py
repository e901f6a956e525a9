"""Label schemes <-> spans, on words.

Two things that look alike and are kept apart. Reading a corpus is strict: a
tag sequence that its scheme does not allow is an error, never repaired.
Decoding a model's labels is total: every sequence has exactly one reading.
"""

import dataclasses
import functools
from collections.abc import Iterable, Sequence

from splitner_jax.data.sentences import Span
from splitner_jax.data.words import label_fault
from splitner_jax.runtime.errors import UserError

# Corpus schemes: the prefixes of a mention's last word and of a mention of one
# word, where the scheme marks them. BIO is also known as IOB2.
_LAST_AND_SINGLE = {
  "BIO": ("", ""),
  "IOB1": ("", ""),
  "BIOES": ("E", "S"),
  "BILOU": ("L", "U"),
}

# Model schemes: the prefixes in the order of their label indices.
_MODEL_PREFIXES = {
  "BO": "B",
  "BIO": "BI",
  "BIOE": "BIE",
  "BIOES": "BIES",
}
MODEL_SCHEMES = tuple(_MODEL_PREFIXES)
"""The values of `config.detector.scheme`."""


class TagError(ValueError):
  """A tag sequence that its scheme does not allow.

  Attributes:
    word: index of the word at fault.
    reason: what is wrong, in one line.
  """

  def __init__(self, word: int, reason: str):
    super().__init__(f"word {word}: {reason}")
    self.word = word
    self.reason = reason


def is_tag(tag: str) -> bool:
  """Whether `tag` is O or PREFIX-TYPE with a prefix of any corpus scheme."""
  return tag == "O" or (len(tag) > 2 and tag[1] == "-" and tag[0] in "BIESLU")


def detect_scheme(tag_sequences: Iterable[Sequence[str]]) -> str:
  """The scheme of a whole file: BIO, IOB1, BIOES or BILOU.

  E- or S- mean BIOES, L- or U- mean BILOU. Of the rest, IOB1 is a file with an
  I- that opens a mention and with no B- but between two mentions of one type.
  Nothing is checked here: `tags_to_spans` knows the place of an error.

  >>> detect_scheme([["O", "I-person", "B-person"]])
  'IOB1'
  >>> detect_scheme([["I-person", "O", "B-person"]])  # broken, but not IOB1
  'BIO'
  """
  opened_by_i = opened_by_b = False
  for tags in tag_sequences:
    open_type: str | None = None
    for tag in tags:
      prefix, _, label = tag.partition("-")
      if prefix in ("E", "S"):
        return "BIOES"
      if prefix in ("L", "U"):
        return "BILOU"
      if prefix in ("B", "I"):
        opened_by_i |= prefix == "I" and label != open_type
        opened_by_b |= prefix == "B" and label != open_type
        open_type = label
      else:
        open_type = None
  return "IOB1" if opened_by_i and not opened_by_b else "BIO"


def tags_to_spans(tags: Sequence[str], scheme: str = "BIO") -> list[Span]:
  """The mentions of one sentence's tags.

  >>> tags_to_spans(["B-person", "I-person", "O"])
  [Span(start=0, end=2, label='person')]

  Raises:
    TagError: the tags are impossible in the scheme.
  """
  last, single = _last_and_single(scheme)
  spans = []
  start, open_type = 0, None
  # The O behind the last word closes what is still open.
  for word, tag in enumerate((*tags, "O")):
    prefix, label = _split(word, tag, scheme)
    continues = open_type is not None and label == open_type
    if prefix in ("I", last) and continues:
      if prefix == last:
        spans.append(Span(start, word + 1, label))
        open_type = None
      continue
    if prefix in ("I", last) and scheme != "IOB1":
      raise TagError(
        word, f"{tag} continues no mention of {label}; open one with B-{label}"
      )
    if prefix == "B" and scheme == "IOB1" and not continues:
      raise TagError(
        word, f"{tag} does not follow a mention of {label}; use I-{label}"
      )
    if open_type is not None:
      if last:
        raise TagError(
          start,
          f"B-{open_type} opens a mention that no {last}- closes; tag its last "
          f"word {last}-{open_type}",
        )
      spans.append(Span(start, word, open_type))
    start, open_type = word, None if prefix == "O" else label
    if prefix == single:
      spans.append(Span(word, word + 1, label))
      open_type = None
  return spans


def spans_to_tags(
  spans: Iterable[Span], length: int, scheme: str = "BIO"
) -> list[str]:
  """The tags of a sentence of `length` words; `tags_to_spans` undoes it.

  >>> spans_to_tags([Span(0, 1, "person"), Span(1, 3, "place")], 4, "BIOES")
  ['S-person', 'B-place', 'E-place', 'O']

  Raises:
    ValueError: spans overlap or lie outside the sentence.
  """
  last, single = _last_and_single(scheme)
  tags = ["O"] * length
  previous = Span(0, 0, "")
  for span in sorted(spans):
    start, end, label = span
    if not previous.end <= start < end <= length:
      raise ValueError(
        f"{span} is empty, overlaps or is outside {length} words"
      )
    tags[start:end] = [f"I-{label}"] * (end - start)
    if scheme != "IOB1" or (previous.end, previous.label) == (start, label):
      tags[start] = f"B-{label}"
    if last:
      tags[end - 1] = f"{last}-{label}"
    if single and end - start == 1:
      tags[start] = f"{single}-{label}"
    previous = span
  return tags


def _last_and_single(scheme: str) -> tuple[str, str]:
  if scheme not in _LAST_AND_SINGLE:
    raise ValueError(f"scheme {scheme!r} is none of {[*_LAST_AND_SINGLE]}")
  return _LAST_AND_SINGLE[scheme]


def _split(word: int, tag: str, scheme: str) -> tuple[str, str]:
  """A tag's prefix and type; the type of O is empty."""
  if tag == "O":
    return "O", ""
  prefix, _, label = tag.partition("-")
  if prefix not in ("B", "I", *_LAST_AND_SINGLE[scheme]) or not prefix:
    raise TagError(
      word,
      f"tag {tag!r} is neither O nor a {scheme} prefix, '-' and a type; "
      "correct it",
    )
  if not label:
    raise TagError(word, f"tag {tag!r} has no type; write {prefix}-TYPE")
  fault = label_fault(label)
  if fault:
    raise TagError(word, f"the type of tag {tag!r} {fault}; write a plain name")
  return prefix, label


@dataclasses.dataclass(frozen=True)
class LabelScheme:
  """The labels a model gives to words, and how they read as mentions.

  Index 0 is O. Without types, the span detector's scheme, B, I, E, S follow
  as 1..4, as far as the scheme has them; with types, the sequence tagger's,
  the first type's B, I, E, S, then the second type's, and so on.

  >>> LabelScheme("BIOE").decode([1, 2, 3, 0, 2, 1])
  [Span(start=0, end=3, label=''), Span(start=5, end=6, label='')]

  Attributes:
    name: BO, BIO, BIOE or BIOES.
    types: entity types, none for a scheme that only says where mentions are.
  """

  name: str
  types: tuple[str, ...] = ()

  def __post_init__(self) -> None:
    if self.name not in _MODEL_PREFIXES:
      raise UserError(
        f"label scheme {self.name!r} is unknown; use one of "
        f"{', '.join(_MODEL_PREFIXES)}"
      )

  @functools.cached_property
  def labels(self) -> tuple[str, ...]:
    """The names of the labels, in the order of their indices."""
    prefixes = _MODEL_PREFIXES[self.name]
    if not self.types:
      return ("O", *prefixes)
    return ("O", *(f"{p}-{label}" for label in self.types for p in prefixes))

  def encode(self, spans: Iterable[Span], length: int) -> list[int]:
    """Label index of each of `length` words (or any other units).

    A mention's first word is B, its last E, the others I; a mention of one
    word is B (S in BIOES). In BO every word of a mention is B.

    Raises:
      UserError: the scheme has types and a mention has none of them.
    """
    prefixes = _MODEL_PREFIXES[self.name]
    labels = [0] * length
    for start, end, label in spans:
      first = self._first_index(label)
      for word in range(start, end):
        labels[word] = first + max(prefixes.find("I"), 0)
      if "E" in prefixes:
        labels[end - 1] = first + prefixes.index("E")
      labels[start] = first
      if "S" in prefixes and end - start == 1:
        labels[start] = first + prefixes.index("S")
    return labels

  def decode(self, label_indices: Iterable[int]) -> list[Span]:
    """The mentions that a sequence of label indices says, in order.

    B and S open a mention; I and E continue an open one of their type, also
    after an E or S; an I or E with nothing to continue belongs to no mention.
    In BO a run of B of one type is one mention. Without types the spans have
    the label "".
    """
    table = self._reading
    spans = []
    start, open_type = 0, None
    word = -1
    for word, index in enumerate(label_indices):
      label, opens, breaks = table[index]
      if label == open_type and not breaks:
        continue
      if open_type is not None:
        spans.append(Span(start, word, open_type))
      start, open_type = word, label if opens else None
    if open_type is not None:
      spans.append(Span(start, word + 1, open_type))
    return spans

  @functools.cached_property
  def _reading(self) -> tuple[tuple[str | None, bool, bool], ...]:
    """Of each label: its type, may it open a mention, does it break one."""
    rows: list[tuple[str | None, bool, bool]] = [(None, False, False)]
    for label in self.types or ("",):
      for prefix in _MODEL_PREFIXES[self.name]:
        opens = prefix in "BS"
        rows.append((label, opens, opens and self.name != "BO"))
    return tuple(rows)

  @functools.cached_property
  def _first_indices(self) -> dict[str, int]:
    width = len(_MODEL_PREFIXES[self.name])
    return {label: 1 + width * i for i, label in enumerate(self.types)}

  def _first_index(self, label: str) -> int:
    """The index of the label B of a type."""
    if not self.types:
      return 1
    if label not in self._first_indices:
      raise UserError(
        f"a mention has the type {label!r}, but the model's types are "
        f"{', '.join(self.types)}; add it to them or remove the mention"
      )
    return self._first_indices[label]
