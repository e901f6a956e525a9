"""Words of raw text, with exact offsets."""

import pytest

from splitner_jax.data.text import words_with_offsets


@pytest.mark.parametrize(
  ("text", "words"),
  [
    ("", []),
    (" \t\n\u00a0", []),
    ("Ana met  Bo.", ["Ana", "met", "Bo", "."]),
    ("AT&T's IL-2 and/or U.S.", ["AT&T's", "IL-2", "and/or", "U.S", "."]),
    ("don\u2019t", ["don\u2019t"]),
    ("a--b -c- 3,000", ["a", "-", "-", "b", "-", "c", "-", "3", ",", "000"]),
    ("@ana_b #1 $5", ["@", "ana_b", "#", "1", "$", "5"]),
    ("Zu\u0308rich", ["Zu\u0308rich"]),  # a combining mark
    ("\u0939\u093f\u0928\u094d\u0926\u0940", 1),  # Devanagari vowel signs
    ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", 1),  # a joiner
    ("I \u2764\ufe0f \U0001f600", ["I", "\u2764\ufe0f", "\U0001f600"]),
  ],
)
def test_words(text, words):
  found = [word for word, _, _ in words_with_offsets(text)]
  assert found == ([text] if words == 1 else words)


def test_offsets_are_characters_of_the_original_text():
  text = "\U0001f600 Zu\u0308rich-West,\u2028Bo's\t?"
  triples = words_with_offsets(text)
  assert [text[start:end] for _, start, end in triples] == [
    word for word, _, _ in triples
  ]
  assert [triple[1:] for triple in triples] == [
    (0, 1), (2, 14), (14, 15), (16, 20), (21, 22),
  ]  # fmt: skip
  assert "".join(word for word, _, _ in triples) == "".join(text.split())
