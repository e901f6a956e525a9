"""The questions that turn each task into question answering.

A question is a list of words, so that it is tokenised like the sentence.
"""

import re
from collections.abc import Mapping, Sequence

from splitner_jax.runtime.errors import UserError

# Types whose labels say too little, or too much of how they are written, to be
# asked for. All others read well once they are split into words.
_TYPE_NAMES = {
  # OntoNotes 5.
  "CARDINAL": "number",
  "FAC": "building, airport, road or bridge",
  "GPE": "country, city or state",
  "LAW": "law or legal document",
  "LOC": "location",
  "MONEY": "amount of money",
  "NORP": "nationality, religious or political group",
  "ORDINAL": "ordinal number",
  "ORG": "organization",
  "PERCENT": "percentage",
  "QUANTITY": "quantity or measurement",
  # CoNLL-2003, which has LOC and ORG too.
  "MISC": "miscellaneous name",
  "PER": "person",
  # BioNLP13CG.
  "Multi-tissue_structure": "multi-tissue structure",
}

_BETWEEN_WORDS = re.compile(r"[\s_-]+|(?<=[a-z])(?=[A-Z])")


MENTION, TYPE = "{mention}", "{type}"
"""What stands in a template for the words that a question is about."""


def parse(field: str, text: str, place: str) -> tuple[str, ...]:
  """The words of a template, `place` one of them.

  >>> parse("classifier.question", "What is {mention} ?", MENTION)
  ('What', 'is', '{mention}', '?')

  Raises:
    UserError: `place` does not stand in it exactly once, as a word.
  """
  words = tuple(text.split())
  if words.count(place) != 1:
    raise UserError(
      f"config.{field}: {text!r} needs {place} in it once, as a word between "
      "spaces"
    )
  return words


def fill(
  template: Sequence[str], place: str, words: Sequence[str]
) -> list[str]:
  """A question: the template with the words in the place (section 2.2).

  >>> fill(("What", "is", MENTION, "?"), MENTION, ["New", "York"])
  ['What', 'is', 'New', 'York', '?']
  """
  at = template.index(place)
  return [*template[:at], *words, *template[at + 1 :]]


def around(template: Sequence[str], place: str) -> list[tuple[str, ...]]:
  """The words before, between and after the places of a template.

  >>> around(("What", "is", MENTION, "?"), MENTION)
  [('What', 'is'), ('?',)]
  """
  places = [i for i, word in enumerate(template) if word == place]
  starts = [0, *(i + 1 for i in places)]
  ends = [*places, len(template)]
  return [tuple(template[a:b]) for a, b in zip(starts, ends, strict=True)]


def type_name(label: str, overrides: Mapping[str, str]) -> str:
  """An entity type in plain words, as a question asks for it.

  The name that `overrides` has for the label, else that of a well-known label,
  else the label's own words in lower case.

  >>> type_name("GPE", {})
  'country, city or state'
  >>> type_name("creative-work", {})
  'creative work'
  >>> type_name("ThreatActor", {"GPE": "place"})
  'threat actor'
  """
  name = overrides.get(label) or _TYPE_NAMES.get(label)
  if name:
    return name
  words = [word for word in _BETWEEN_WORDS.split(label) if word]
  return " ".join(words).lower() or label


def parse_type_names(text: str) -> dict[str, str]:
  """Reads names of types as the config has them.

  >>> parse_type_names("GPE=country or city; ORG=organization")
  {'GPE': 'country or city', 'ORG': 'organization'}

  Raises:
    UserError: the text is not `LABEL=name;LABEL=name`, or names a label twice.
  """
  names: dict[str, str] = {}
  for part in text.split(";"):
    if not part.strip():
      continue
    label, _, name = part.partition("=")
    label, name = label.strip(), " ".join(name.split())
    if not label or not name:
      raise UserError(
        f"config.data.type_names: {part.strip()!r} is not LABEL=name; write "
        "such as 'GPE=country or city;ORG=organization'"
      )
    if label in names:
      raise UserError(
        f"config.data.type_names: {label!r} is named twice; keep one"
      )
    names[label] = name
  return names
