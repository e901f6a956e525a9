"""Characters and orthographic patterns of token texts."""

import string

import numpy as np
import pytest

from splitner_jax.inputs import patterns

# In the order in which their ids are given.
_PUNCTUATION = ",;.!?:'\"/\\|_@#$%^&*~`+-=<>()[]{}"
_ALPHABET = (
  _PUNCTUATION + string.ascii_lowercase + string.ascii_uppercase + string.digits
)


@pytest.mark.parametrize(
  ("text", "expected"),
  [
    ("cell", "L"),
    ("a", "L"),
    ("DNA", "U"),
    ("A", "U"),
    ("Paris", "F"),
    ("Al", "F"),
    ("mRNA", "M"),
    ("McDonald", "M"),
    ("PhD", "M"),
    ("IL-2", "uu-d"),
    ("p53", "ldd"),
    ("2017", "dddd"),
    ("B2b", "udl"),
    ("@Ann", "@ull"),
    ("...", "..."),
    # Letter classes are ASCII only; what is in none stands for itself.
    ("café", "lllé"),
    ("Ünal", "Ülll"),
    ("ß", "ß"),
    ("٣", "٣"),
    ("日本", "日本"),
    ("[CLS]", "C"),
    ("<s>", "C"),
    ("[SEP]", "S"),
    ("</s>", "S"),
    ("[UNK]", "[uuu]"),
    ("##ing", "##lll"),
    ("", ""),
  ],
)
def test_pattern(text: str, expected: str) -> None:
  assert patterns.pattern(text) == expected


def test_pattern_of_a_long_text_is_cut() -> None:
  assert patterns.pattern("x" * 100) == "L"
  assert patterns.pattern("1" * 31 + "aB") == "d" * 31 + "l"


def test_character_ids() -> None:
  ids = [patterns.character_ids(c) for c in _ALPHABET]
  assert len(_ALPHABET) == 94
  assert ids == [(i,) for i in range(1, 95)]
  assert patterns.CHARACTER_VOCAB == 96
  for other in "é日😀\u200b ":
    assert patterns.character_ids(other) == (95,)


def test_character_ids_are_cut() -> None:
  assert patterns.character_ids("ab" * 16) == (33, 34) * 16
  assert patterns.character_ids("ab" * 16 + "c") == (33, 34) * 16
  assert patterns.character_ids("") == ()


def test_pattern_ids() -> None:
  alphabet = _PUNCTUATION + "CSLUFMlud"
  assert len(alphabet) == 41
  ids = [patterns.pattern_ids(c) for c in alphabet]
  assert ids == [(i,) for i in range(1, 42)]
  assert patterns.PATTERN_VOCAB == 43
  assert patterns.pattern_ids("é") == (42,)


def test_rules_of_the_reference() -> None:
  """It knows BERT's special tokens only, and drops other characters."""
  assert [
    patterns.pattern(text, reference=True)
    for text in ("[CLS]", "[SEP]", "<s>", "</s>", "Paris")
  ] == ["C", "S", "<l>", "</l>", "F"]
  assert patterns.character_ids("éaéb", reference=True) == (33, 34)
  assert patterns.character_ids("é" + "a" * 40, reference=True) == (33,) * 32
  assert patterns.pattern_ids("éué", reference=True) == (40,)
  assert patterns.character_ids("é", reference=True) == ()


def test_any_text_has_ids_within_the_vocabularies() -> None:
  rng = np.random.default_rng(0)
  characters = [*_ALPHABET, *"éß日😀\u200b\t"]
  for _ in range(300):
    text = "".join(rng.choice(characters, rng.integers(0, 50)))
    ids = patterns.character_ids(text)
    assert len(ids) == min(len(text), 32)
    assert all(0 < i < patterns.CHARACTER_VOCAB for i in ids)
    pattern = patterns.pattern(text)
    ids = patterns.pattern_ids(pattern)
    assert len(ids) == len(pattern) <= 32
    assert all(0 < i < patterns.PATTERN_VOCAB for i in ids)
