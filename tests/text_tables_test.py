"""Distinct token texts as tables of character ids."""

import numpy as np
import pytest

from splitner_jax.inputs import patterns, text_tables
from splitner_jax.inputs.text_tables import SHORT_WIDTH, Alphabet, TableRows

_SHORT = ["a", "Is", "IL-2", "x" * SHORT_WIDTH, "", "B2", "p53", "[CLS]", "é"]
_LONG = ["internationalisation", "123456789", "x" * 40, "A-1-B-2-C-3"]
_TEXTS = [*_SHORT[:5], *_LONG, *_SHORT[5:]]


def _check_tables(
  alphabet: Alphabet, keys: np.ndarray, capacity: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Every key's row has its own ids, and padding behind them alone."""
  rows, short, long = alphabet.tables(keys, capacity)
  assert rows.dtype == short.dtype == long.dtype == np.int32
  assert rows.shape == keys.shape
  assert short.shape == (capacity[0], SHORT_WIDTH)
  assert long.shape == (capacity[1], patterns.MAX_CHARACTERS)
  for key, row in zip(keys, rows, strict=True):
    ids = short[row] if row < len(short) else long[row - len(short)]
    n = len(ids)
    assert ids.tolist() == alphabet.ids[key, :n].tolist()
    assert not np.any(alphabet.ids[key, n:])
  # Keys share no row, and no key has two.
  pairs = set(zip(keys.tolist(), rows.tolist(), strict=True))
  assert len(pairs) == len(set(keys.tolist())) == len(set(rows.tolist()))
  return rows, short, long


def test_alphabet_of_characters() -> None:
  alphabet = text_tables.character_alphabet(_TEXTS, reference=False)
  assert alphabet.ids.shape == (len(_TEXTS), patterns.MAX_CHARACTERS)
  for text, ids in zip(_TEXTS, alphabet.ids.tolist(), strict=True):
    expected = list(patterns.character_ids(text))
    assert ids == expected + [0] * (patterns.MAX_CHARACTERS - len(expected))
  assert alphabet.is_long.tolist() == [text in _LONG for text in _TEXTS]
  # All ids of both vocabularies fit the array.
  largest = max(patterns.CHARACTER_VOCAB, patterns.PATTERN_VOCAB)
  assert largest <= np.iinfo(alphabet.ids.dtype).max


def test_alphabet_of_patterns() -> None:
  alphabet, keys = text_tables.pattern_alphabet(_TEXTS, reference=False)
  names = [patterns.pattern(text) for text in _TEXTS]
  assert keys.tolist() == [list(dict.fromkeys(names)).index(n) for n in names]
  assert len(alphabet.ids) == len(set(names)) < len(_TEXTS)
  for name, ids in zip(names, alphabet.ids[keys].tolist(), strict=True):
    assert tuple(i for i in ids if i) == patterns.pattern_ids(name)
  # It is the pattern that is long or not: whole words are one letter.
  assert [
    text
    for text, long in zip(_TEXTS, alphabet.is_long[keys], strict=True)
    if long
  ] == ["123456789", "A-1-B-2-C-3"]


def test_texts_of_the_reference() -> None:
  texts = ["é", "aé1", "</s>", "é" * 30]
  characters = text_tables.character_alphabet(texts, reference=True)
  of_texts, keys = text_tables.pattern_alphabet(texts, reference=True)
  assert [[i for i in row if i] for row in characters.ids.tolist()] == [
    [], [33, 86], [25, 9, 51, 26], [],
  ]  # fmt: skip
  assert [[i for i in row if i] for row in of_texts.ids[keys].tolist()] == [
    [], [39, 41], [25, 9, 39, 26], [],
  ]  # fmt: skip
  # What is left out does not make a text long.
  assert not characters.is_long.any()
  assert not of_texts.is_long.any()


@pytest.mark.parametrize("reference", [False, True])
def test_tables_of_training_and_of_inference_are_alike(reference: bool) -> None:
  # Those at the end begin with what the reference leaves out.
  others = ["é" * 33 + "abc", "é" * 33 + "abd", "aé" * 20]
  texts = list(dict.fromkeys([*_TEXTS, *others]))
  alphabet = text_tables.character_alphabet(texts, reference)
  table = TableRows("char", len(texts), (4, 4), reference)
  rows, fills = table.find(np.arange(len(texts)), texts)
  found = np.zeros((len(texts), patterns.MAX_CHARACTERS), np.int32)
  for fill in fills:
    short, long = fill["short"], fill["long"]
    padded = np.zeros((len(short), patterns.MAX_CHARACTERS), np.int32)
    padded[:, :SHORT_WIDTH] = short
    used = fill["rows"] < len(texts)
    found[fill["rows"][used]] = np.concatenate([padded, long])[used]
  assert found[rows].tolist() == alphabet.ids.tolist()


def test_no_texts() -> None:
  alphabet = text_tables.character_alphabet([], reference=False)
  assert alphabet.counts(np.zeros(0, np.int32)) == (0, 0)
  rows, short, long = alphabet.tables(np.zeros(0, np.int32), (2, 1))
  assert (len(rows), short.any(), long.any()) == (0, False, False)
  assert text_tables.pattern_alphabet([], reference=False)[1].shape == (0,)


def test_short_and_long_keys_have_tables_of_their_own() -> None:
  alphabet = text_tables.character_alphabet(_TEXTS, reference=False)
  keys = np.tile(np.arange(len(_TEXTS))[::-1], 2)
  capacity = alphabet.counts(keys[: len(_TEXTS)])
  assert capacity == (len(_SHORT), len(_LONG))
  rows, _, _ = _check_tables(alphabet, keys, capacity)
  in_long = (rows >= capacity[0]).tolist()
  assert in_long == alphabet.is_long[keys].tolist()
  # Rows that nothing needs are 0.
  _, short, long = _check_tables(alphabet, keys, (12, 6))
  assert not short[len(_SHORT) :].any()
  assert not long[len(_LONG) :].any()


@pytest.mark.parametrize("room", range(len(_SHORT)))
def test_short_keys_may_stand_in_the_long_table(room: int) -> None:
  alphabet = text_tables.character_alphabet(_TEXTS, reference=False)
  capacity = room, len(_TEXTS) - room
  rows, _, _ = _check_tables(alphabet, np.arange(len(_TEXTS)), capacity)
  # None that fits the short one.
  assert np.count_nonzero(rows < room) == room


def test_tables_of_random_keys() -> None:
  """Of as many rows as `fits` says that keys need."""
  rng = np.random.default_rng(0)
  texts = [
    "".join(rng.choice(list("abAB12-"), rng.integers(1, 14)))
    for _ in range(200)
  ]
  for name in ("char", "pattern"):
    if name == "char":
      texts = list(dict.fromkeys(texts))
      alphabet = text_tables.character_alphabet(texts, reference=False)
    else:
      alphabet, _ = text_tables.pattern_alphabet(texts, reference=False)
    for _ in range(40):
      keys = rng.integers(0, len(alphabet.ids), rng.integers(1, 60))
      counts = alphabet.counts(np.unique(keys))
      spilled = int(rng.integers(0, counts[0] + 1))
      tight = counts[0] - spilled, counts[1] + spilled
      assert text_tables.fits(counts, tight)
      _check_tables(alphabet, keys, tight)


def test_fits() -> None:
  assert text_tables.fits((3, 2), (3, 2))
  assert text_tables.fits((0, 0), (0, 0))
  # Short ones may stand in the long table, not the other way round.
  assert text_tables.fits((3, 2), (1, 4))
  assert not text_tables.fits((3, 2), (4, 1))
  assert not text_tables.fits((3, 2), (2, 2))
  assert not text_tables.fits((0, 1), (9, 0))
