"""Made-up sentences whose labels only their context tells, always the same.

The names of dev and test do not occur in train, nor do some of the ways in
which their sentences are built. The same name is a place in one sentence and a
person in another, and mentions of the same types are related in one sentence
and not in another.
"""

import dataclasses
import itertools
import json
import pathlib
import random
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from splitner_jax.runtime.files import atomic_write
from splitner_jax.runtime.types import Json

SIZES = {"train": 500, "dev": 100, "test": 500}
"""Sentences of each split."""

_FIRST = "Mar Vel Car Ash Quil Bren Tor Lun Hal Dor Fen Gil Has Ken Lor Nor"
_SECOND = "low ton den by mont wick ford vale ham more stead ley"
_SURNAMES = """
Adams Allen Baker Barnes Bell Brooks Burns Butler Carter Clark Cole Cook Cooper
Cox Craig Curtis Davis Dean Dixon Drake Duncan Dunn Edwards Ellis Evans Flynn
Foster Fox Frost Fuller Gibson Glenn Gordon Graham Grant Gray Green Griffin Hall
Hamilton Harper Harris Hart Hayes Henry Holmes Hudson Hughes Hunt Jackson James
Jordan Kelly Kent King Lane Lee Lewis Martin Mason Moore Nash Nelson Newman
Oliver Owen Parker Perry Price Quinn Reed Rice Ross Scott Shaw Smith Taylor Todd
Turner Vance Wade Walker Webb Wells White Wood Wright York Young
"""
_SHARES = {"train": (0.0, 0.6), "dev": (0.6, 0.8), "test": (0.8, 1.0)}


Choice = TypeVar("Choice")


@dataclasses.dataclass(frozen=True)
class _Split:
  """What the sentences of a split are made from.

  Attributes:
    name: of the split.
    rng: draws.
    names: of which no other split has any.
  """

  name: str
  rng: random.Random
  names: Sequence[str]

  def pick(self, known: Sequence[Choice], new: Sequence[Choice] = ()) -> Choice:
    """One of some choices; train has not the new ones."""
    train = self.name == "train"
    return self.rng.choice([*known, *(() if train else new)])


def all_names(task: str) -> list[str]:
  """The names of all splits: invented ones, or surnames, which are shorter.

  A question about each pair of mentions says them often.
  """
  names = _SURNAMES.split()
  if task == "nested":
    pairs = itertools.product(_FIRST.split(), _SECOND.split())
    names = ["".join(pair) for pair in pairs]
  random.Random(0).shuffle(names)
  return names


def _split(task: str, name: str, rng: random.Random) -> _Split:
  names = all_names(task)
  first, end = (round(share * len(names)) for share in _SHARES[name])
  return _Split(name, rng, names[first:end])


def write(
  folder: pathlib.Path, task: str, seed: int = 0
) -> dict[str, pathlib.Path]:
  """Writes the sentences of a task as JSON Lines, a file for each split.

  Args:
    folder: gets train.jsonl, dev.jsonl and test.jsonl.
    task: `nested` (see `nested.read`) or `relations` (see `relations.read`).
    seed: decides the sentences; no two of all splits are the same.
  """
  make = {"nested": _nested, "relations": _related}[task]
  folder.mkdir(parents=True, exist_ok=True)
  files = {split: folder / f"{split}.jsonl" for split in SIZES}
  for split, path in files.items():
    drawn = _split(task, split, random.Random(f"{task} {split} {seed}"))
    rows: dict[str, None] = {}
    while len(rows) < SIZES[split]:
      rows[json.dumps(make(drawn))] = None
    atomic_write(path, [f"{row}\n" for row in rows])
  return files


# Nested mentions. A phrase is words, and mentions with phrases of their own.


class _Mention(NamedTuple):
  label: str
  phrase: "_Phrase"


_Phrase = list[str | _Mention]


def _phrase(text: str, **parts: _Phrase) -> _Phrase:
  """The words of a text, with phrases in the place of some."""
  return [inner for word in text.split() for inner in parts.get(word, [word])]


def _name(split: _Split, label: str) -> _Phrase:
  return [_Mention(label, [split.pick(split.names)])]


def _institute(split: _Split) -> tuple[_Phrase, _Phrase]:
  """An organisation, and what follows: it may tell whose name it has."""
  of_place = (
    "PLACE",
    split.pick(
      [", the oldest in town ,", ", named after its village ,"],
      [", called so for the town around it ,", ", like its river ,"],
    ),
  )
  of_person = (
    "PERSON",
    split.pick(
      [", named after the chemist ,", ", which bears its founder 's name ,"],
      [", called so for the poet ,", ", like its first sponsor ,"],
    ),
  )
  text, (label, after) = split.pick(
    [
      ("University of X", ("PLACE", "")),
      ("X City Council", ("PLACE", "")),
      ("X Institute", of_place),
      ("X Institute", of_person),
    ],
    [
      ("Port of X", ("PLACE", "")),
      ("X Laboratory", of_place),
      ("X Laboratory", of_person),
    ],
  )
  inside = _phrase(text, X=_name(split, label))
  return [_Mention("ORGANISATION", inside)], [*after.split()]


def _agent(split: _Split) -> _Phrase:
  organisation, after = _institute(split)
  role = split.pick(["director", "treasurer"], ["lawyer"])
  of_it = _phrase(f"the {role} of the X", X=organisation)
  of_place = _phrase("the mayor of X", X=_name(split, "PLACE"))
  return split.pick(
    [
      _name(split, "PERSON"),
      [_Mention("PERSON", of_it), *after],
      [_Mention("PERSON", of_place)],
      # No mention: it is not said of what.
      _phrase(f"the {role}"),
      _phrase("a mayor"),
      ["Professor", *_name(split, "PERSON")],
    ],
    [
      ["Doctor", *_name(split, "PERSON")],
      _phrase(f"the {role} of the party"),
    ],
  )


def _target(split: _Split) -> _Phrase:
  organisation, after = _institute(split)
  what = split.pick(["strike", "festival"], ["riot"])
  of_it = _Mention("EVENT", [*organisation, what])
  of_place = _Mention("EVENT", [*_name(split, "PLACE"), what])
  return split.pick(
    [
      _name(split, "PLACE"),
      ["the", *organisation, *after],
      ["the", of_place],
      ["the", of_it, *after],
      ["the", what],
    ]
  )


def _nested(split: _Split) -> Json:
  frame = split.pick(
    [
      "A visited T in Y .",
      "A spoke about T .",
      "According to A , T was a surprise .",
      "In Y , A criticised T .",
    ],
    [
      "Everybody in Y knew T but not A .",
      "What became of T , asked A .",
      "It was A who wrote about T from Y .",
    ],
  )
  tokens: list[str] = []
  entities: list[Json] = []

  def say(phrase: _Phrase) -> None:
    for part in phrase:
      if isinstance(part, str):
        tokens.append(part)
        continue
      start = len(tokens)
      say(part.phrase)
      entities.append({"start": start, "end": len(tokens), "label": part.label})

  say(
    _phrase(frame, A=_agent(split), T=_target(split), Y=_name(split, "PLACE"))
  )
  return {"tokens": tokens, "entities": entities}


# Relations. In a clause P and Q are persons, C and D companies.

_CLAUSES = (
  ("P works for C", "P works_for C"),
  ("P works at C", "P works_for C"),
  ("P got a job at C", "P works_for C"),
  ("C hired P last year", "P works_for C"),
  ("C employs P", "P works_for C"),
  ("P founded C", "P founded C"),
  ("P started C", "P founded C"),
  ("P is the founder of C", "P founded C"),
  ("C was started by P", "P founded C"),
  ("C was founded by P", "P founded C"),
  ("P never worked for C", ""),
  ("P wrote a book about C", ""),
  ("C was praised by P", ""),
  ("C sued P", ""),
  ("P reports to Q", "P reports_to Q"),
  ("P takes orders from Q", "P reports_to Q"),
  ("Q is the manager of P", "P reports_to Q"),
  ("Q manages P", "P reports_to Q"),
  ("P met Q", ""),
  ("P is older than Q", ""),
  ("C belongs to D", "C part_of D"),
  ("C is a part of D", "C part_of D"),
  ("D bought C", "C part_of D"),
  ("D owns C", "C part_of D"),
  ("C competes with D", ""),
  ("C is larger than D", ""),
)
_NEW_CLAUSES = (
  ("P is an engineer at C", "P works_for C"),
  ("C is the creation of P", "P founded C"),
  ("P was fined by C", ""),
  ("Q supervises P", "P reports_to Q"),
  ("P was seen with Q", ""),
  ("C is a subsidiary of D", "C part_of D"),
  ("C copied D", ""),
)
_JOINED = ("X , while Y .", "X and Y .", "Although X , Y .")
_NEW_JOINED = ("X because Y .",)
_WHOLE = (
  ("P and Q work for C and D respectively .", "P works_for C, Q works_for D"),
  (
    "P left C , which Q founded , to work for D .",
    "Q founded C, P works_for D",
  ),
  ("C , where P works , was bought by D .", "P works_for C, C part_of D"),
  ("P , the founder of C , met Q of D .", "P founded C, Q works_for D"),
)
_NEW_WHOLE = (
  (
    "Unlike Q , who founded C , P only works there .",
    "Q founded C, P works_for C",
  ),
)
_SLOTS = ("P", "Q", "C", "D")


def _related(split: _Split) -> Json:
  if split.rng.random() < 0.3:
    template, facts = split.pick(_WHOLE, _NEW_WHOLE)
  else:
    texts, each = [], []
    for number in range(split.rng.choice((1, 2))):
      # Each has names of its own.
      text, fact = (
        _numbered(part, number) for part in split.pick(_CLAUSES, _NEW_CLAUSES)
      )
      texts.append(text)
      each.append(fact)
    template = f"{texts[0]} ."
    if len(texts) > 1:
      joined = split.pick(_JOINED, _NEW_JOINED)
      template = joined.replace("X", texts[0]).replace("Y", texts[1])
    facts = ", ".join(filter(None, each))
  names = iter(split.rng.sample(split.names, 8))
  tokens: list[str] = []
  entities: list[Json] = []
  numbers: dict[str, int] = {}
  for word in template.split():
    if word.rstrip("01") not in _SLOTS:
      tokens.append(word)
      continue
    start = len(tokens)
    # Names of persons and of companies look alike.
    tokens += itertools.islice(names, 1 + (split.rng.random() < 0.4))
    numbers[word] = len(entities)
    label = "PERSON" if word[0] in "PQ" else "COMPANY"
    entities.append({"start": start, "end": len(tokens), "label": label})
  return {
    "tokens": tokens,
    "entities": entities,
    "relations": [
      {"head": numbers[head], "tail": numbers[tail], "label": label}
      for head, label, tail in map(str.split, filter(None, facts.split(", ")))
    ],
  }


def _numbered(text: str, number: int) -> str:
  """A clause whose slots are told from those of another."""
  return " ".join(
    f"{word}{number}" if word in _SLOTS else word for word in text.split()
  )
