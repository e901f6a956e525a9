"""Label schemes <-> spans."""

import doctest
import random

import pytest

from splitner_jax.data import tags
from splitner_jax.data.sentences import Span
from splitner_jax.runtime.errors import UserError

CORPUS_SCHEMES = ("BIO", "IOB1", "BIOES", "BILOU")
MODEL_SCHEMES = ("BO", "BIO", "BIOE", "BIOES")
TYPES = ("person", "creative-work", "place")


def random_spans(rng: random.Random, length: int, gap: int) -> list[Span]:
  """Mentions at least `gap` words apart."""
  spans = []
  start = rng.randint(0, 2)
  while start < length:
    end = min(length, start + rng.randint(1, 3))
    spans.append(Span(start, end, rng.choice(TYPES)))
    start = end + rng.randint(gap, 3)
  return spans


def test_doctests():
  result = doctest.testmod(tags)
  assert result.attempted
  assert not result.failed


@pytest.mark.parametrize(
  ("scheme", "written"),
  [
    ("BIO", "B-a I-a I-a B-a O B-b B-a I-a"),
    ("IOB1", "I-a I-a I-a B-a O I-b I-a I-a"),
    ("BIOES", "B-a I-a E-a S-a O S-b B-a E-a"),
    ("BILOU", "B-a I-a L-a U-a O U-b B-a L-a"),
  ],
)
def test_each_scheme_by_hand(scheme, written):
  spans = [Span(0, 3, "a"), Span(3, 4, "a"), Span(5, 6, "b"), Span(6, 8, "a")]
  assert tags.spans_to_tags(spans, 8, scheme) == written.split()
  assert tags.tags_to_spans(written.split(), scheme) == spans
  assert tags.detect_scheme([["O"], written.split()]) == scheme


@pytest.mark.parametrize("scheme", CORPUS_SCHEMES)
def test_corpus_round_trip(scheme):
  rng = random.Random(0)
  corpus = [random_spans(rng, rng.randint(1, 12), gap=0) for _ in range(300)]
  written = [tags.spans_to_tags(spans, 12, scheme) for spans in corpus]
  assert tags.detect_scheme(written) == scheme
  assert [tags.tags_to_spans(row, scheme) for row in written] == corpus


@pytest.mark.parametrize(
  ("scheme", "written", "word", "reason"),
  [
    ("BIO", "O I-a", 1, "I-a continues no mention of a"),
    ("BIO", "B-a I-b", 1, "I-b continues no mention of b"),
    ("BIO", "B-a O I-a", 2, "I-a continues no mention of a"),
    ("BIO", "O person", 1, "'person' is neither O nor"),
    ("BIO", "B- O", 0, "'B-' has no type"),
    ("BIO", "O B", 1, "'B' has no type"),
    ("BIO", "S-a", 0, "'S-a' is neither O nor a BIO prefix"),
    ("BIO", "B-a -a", 1, "'-a' is neither O nor"),
    ("BIO", "O o", 1, "'o' is neither O nor"),
    ("IOB1", "I-a O B-a", 2, "B-a does not follow a mention of a"),
    ("IOB1", "I-a B-b", 1, "B-b does not follow a mention of b"),
    ("BIOES", "O B-a O", 1, "B-a opens a mention that no E- closes"),
    ("BIOES", "O B-a I-a", 1, "B-a opens a mention that no E- closes"),
    ("BIOES", "B-a S-a", 0, "B-a opens a mention that no E- closes"),
    ("BIOES", "S-a I-a", 1, "I-a continues no mention of a"),
    ("BIOES", "B-a E-a E-a", 2, "E-a continues no mention of a"),
    ("BIOES", "B-a L-a", 1, "'L-a' is neither O nor a BIOES prefix"),
    ("BILOU", "B-a B-a L-a", 0, "B-a opens a mention that no L- closes"),
  ],
)
def test_impossible_tags(scheme, written, word, reason):
  with pytest.raises(tags.TagError) as caught:
    tags.tags_to_spans(written.split(), scheme)
  assert caught.value.word == word
  assert reason in caught.value.reason


def test_a_stray_i_among_proper_b_is_no_iob1():
  assert tags.detect_scheme([["B-a", "O"], ["O", "I-a"]]) == "BIO"
  assert tags.detect_scheme([["I-a", "B-b"]]) == "BIO"
  assert tags.detect_scheme([["O", "O"]]) == "BIO"


@pytest.mark.parametrize("spans", [[(0, 2), (1, 3)], [(2, 4)], [(1, 1)]])
def test_spans_that_no_tags_can_say(spans):
  with pytest.raises(ValueError, match="overlaps"):
    tags.spans_to_tags([Span(*span, "a") for span in spans], 3)


def test_label_names_and_indices():
  assert tags.LabelScheme("BIOES").labels == ("O", "B", "I", "E", "S")
  assert tags.LabelScheme("BO").labels == ("O", "B")
  assert tags.LabelScheme("BIO", ("a", "b")).labels == (
    ("O", "B-a", "I-a", "B-b", "I-b")
  )
  assert tags.LabelScheme("BIO") == tags.LabelScheme("BIO")


@pytest.mark.parametrize(
  ("name", "expected"),
  [
    ("BO", [1, 1, 1, 0, 1, 0, 1, 1]),
    ("BIO", [1, 2, 2, 0, 1, 0, 1, 2]),
    ("BIOE", [1, 2, 3, 0, 1, 0, 1, 3]),
    ("BIOES", [1, 2, 3, 0, 4, 0, 1, 3]),
  ],
)
def test_encode(name, expected):
  spans = [Span(0, 3, "a"), Span(4, 5, "b"), Span(6, 8, "a")]
  assert tags.LabelScheme(name).encode(spans, 8) == expected
  typed = tags.LabelScheme(name, ("b", "a"))
  names = [typed.labels[index] for index in typed.encode(spans, 8)]
  prefixes = [tags.LabelScheme(name).labels[index] for index in expected]
  assert [n[0] for n in names] == prefixes
  assert [n[2:] for n in names] == ["a", "a", "a", "", "b", "", "a", "a"]


@pytest.mark.parametrize("name", MODEL_SCHEMES)
@pytest.mark.parametrize("types", [(), TYPES])
def test_decode_undoes_encode(name, types):
  scheme = tags.LabelScheme(name, types)
  rng = random.Random(1)
  for _ in range(200):
    spans = random_spans(rng, 12, gap=int(name == "BO"))
    wanted = spans if types else [span._replace(label="") for span in spans]
    assert scheme.decode(scheme.encode(spans, 12)) == wanted


@pytest.mark.parametrize(
  ("name", "types", "labels", "spans"),
  [
    ("BIOE", "", "I E O I", []),  # nothing open
    ("BIOE", "", "B E I E O", [(0, 4, "")]),  # on, also after an E
    ("BIOE", "", "B B I", [(0, 1, ""), (1, 3, "")]),
    ("BIOE", "", "B O E", [(0, 1, "")]),
    ("BIOES", "", "S I O S S", [(0, 2, ""), (3, 4, ""), (4, 5, "")]),
    ("BO", "", "B B O B", [(0, 2, ""), (3, 4, "")]),
    ("BIO", "ab", "B-a I-b I-a O", [(0, 1, "a")]),  # only of its type
    ("BIO", "ab", "B-a I-a B-b", [(0, 2, "a"), (2, 3, "b")]),
    ("BO", "ab", "B-a B-a B-b", [(0, 2, "a"), (2, 3, "b")]),
    ("BIOE", "", "", []),
  ],
)
def test_decode(name, types, labels, spans):
  scheme = tags.LabelScheme(name, tuple(types))
  indices = [scheme.labels.index(label) for label in labels.split()]
  assert scheme.decode(indices) == [Span(*span) for span in spans]


def test_unknown_scheme_and_type():
  with pytest.raises(UserError, match="'BILOU' is unknown; use one of BO, BIO"):
    tags.LabelScheme("BILOU")
  with pytest.raises(UserError, match="type 'c', but the model's types are a"):
    tags.LabelScheme("BIO", ("a", "b")).encode([Span(0, 1, "c")], 1)


def test_what_a_tag_is():
  for prefix in "BIESLU":
    assert tags.is_tag(f"{prefix}-x")
    assert tags.is_tag(f"{prefix}-a-B")
  assert tags.is_tag("O")
  for word in ("", "B", "B-", "b-x", "X-B", "-BB", "BxB", "o", "OO", "O-x"):
    assert not tags.is_tag(word), word
