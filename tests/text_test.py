"""Sentences and words of raw text, with exact offsets."""

import random

import pytest

from splitner_jax.data.text import (
  TextStyle,
  sentences,
  words_in_line,
  words_with_offsets,
)

# Where offsets go wrong if they do: outside the basic plane, marks, joiners,
# right to left, full width, blanks and controls of all kinds, half characters.
ODD = (
  "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467\U0001f1eb\U0001f1f7"
  "\u2764\ufe0f\U0001f44d\U0001f3fd\u0301\u0308\u0e33\u094d\u05e9\u05dc\u0645"
  "\u0631\u200f\u202b\u202c\uff21\uff01\u3002\u5317\u4eac\U00020000\u00df\u0130"
  "\u00a0\u2028\u2029\u200b\ufeff\u00ad\x00\x07\x1c\x85\x7f\t\r\n\ud800\udfff"
)
PLAIN = "aB3 .,!?'\"()[]-_/&@#:;=<>%$\u2019\u2026"


@pytest.mark.parametrize(
  ("text", "words"),
  [
    ("", []),
    (" \t\n\u00a0", []),
    ("Ana met  Bo.", ["Ana", "met", "Bo", "."]),
    ("AT&T's IL-2 and/or U.S.", ["AT&T", "'s", "IL-2", "and/or", "U.S."]),
    ("He isn\u2019t. I'm", ["He", "is", "n\u2019t", ".", "I", "'m"]),
    ("a--b -c- 3,000", ["a", "--", "b", "-", "c", "-", "3,000"]),
    ("7:30 p.m., a: b,c", ["7:30", "p.m.", ",", "a", ":", "b", ",", "c"]),
    ("@ana_b #1 $5 100%", ["@ana_b", "#1", "$", "5", "100", "%"]),
    ("Mr. J. Poe of Co. X", ["Mr.", "J.", "Poe", "of", "Co.", "X"]),
    ("ok...what?! :) <3", ["ok", "...", "what", "?", "!", ":)", "<3"]),
    ("(8) (http://x.y/a?c=1).", ["(", "8", ")", "(", "http://x.y/a?c=1", ")",
     "."]),
    ("me.x@y-z.org &amp; R&D;", ["me.x@y-z.org", "&amp;", "R&D", ";"]),
    ("\u5317\u4eac 2\u6708", ["\u5317", "\u4eac", "2", "\u6708"]),
    ("a\u200bb\x00c\x07 \ufeff", ["a", "b", "c"]),
    ("\uff21\uff22\uff01", ["\uff21\uff22", "\uff01"]),
    ("so\u00adft", ["so\u00adft"]),
    ("Zu\u0308rich", ["Zu\u0308rich"]),  # a combining mark
    ("\u0939\u093f\u0928\u094d\u0926\u0940", 1),  # Devanagari vowel signs
    ("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", 1),  # a joiner
    ("I \u2764\ufe0f \U0001f600", ["I", "\u2764\ufe0f", "\U0001f600"]),
  ],
)  # fmt: skip
def test_words(text, words):
  found = [word for word, _, _ in words_with_offsets(text)]
  assert found == ([text] if words == 1 else words)


def test_split_hyphens():
  found = words_with_offsets("the c-Myb-bound IL-2", split_hyphens=True)
  assert " ".join(w.text for w in found) == "the c - Myb - bound IL - 2"


def test_offsets_are_characters_of_the_original_text():
  text = "\U0001f600 Zu\u0308rich-West,\u2028Bo's\t?"
  triples = words_with_offsets(text)
  assert [text[start:end] for _, start, end in triples] == [
    word for word, _, _ in triples
  ]
  assert [triple[1:] for triple in triples] == [
    (0, 1), (2, 14), (14, 15), (16, 18), (18, 20), (21, 22),
  ]  # fmt: skip
  assert "".join(word for word, _, _ in triples) == "".join(text.split())


def random_texts(count: int) -> list[str]:
  """Texts of plain, odd and any characters."""
  rng = random.Random(0)

  def character() -> str:
    kind = rng.random()
    if kind < 0.5:
      return rng.choice(PLAIN)
    return rng.choice(ODD) if kind < 0.8 else chr(rng.randrange(0x110000))

  return [
    "".join(character() for _ in range(rng.randrange(60))) for _ in range(count)
  ]


def test_offsets_of_random_texts():
  for text in random_texts(2000):
    for style in (TextStyle(), TextStyle(split_hyphens=True, unit_words=5)):
      words = [word for words in sentences(text, style) for word in words]
      assert words == words_with_offsets(
        text, split_hyphens=style.split_hyphens
      )
      at = 0
      for word, start, end in words:
        assert word == text[start:end]
        assert at <= start < end
        # Nothing is lost but blanks, controls and invisible characters.
        assert not any(c.isalnum() for c in text[at:start]), ascii(text)
        assert not any(c.isspace() for c in word)
        at = end
      assert not any(c.isalnum() for c in text[at:])


@pytest.mark.parametrize(
  "text",
  [
    'Dr. A. Poe left the U.S. | He said: "I won\'t." | Then (in Rome.) | It',
    "\"Why?\" asked Bo. | 'Go!' | What?! ... and so on",
    "at 5 p.m. John met Yahoo! staff, e.g. Ana. | See Fig. 2 vs. No. 3. | A",
    "p53 (Ref. 3) binds [1]. | However, IL-2 et al. did not. | In E. coli no.",
    "RT @bo: wow!! | #fun http://t.co/a next",
    "\u4ed6\u5728\u3002|\u5979\u5417\uff1f|\u662f",
    "One line\nof a paragraph\n\n|Title\n  \t\n|Next\r\n\r\n|End",
    "no full stop \U0001f600",
  ],
)
def test_sentences(text):
  found = sentences(text.replace("|", ""))
  assert ["".join(word.text for word in words) for words in found] == [
    "".join(part.split()) for part in text.split("|")
  ]


def test_quotes_in_text_made_of_words():
  text = 'He said " go . " Then he left . Bo \'s too .'
  assert [len(s) for s in sentences(text)] == [6, 4, 4]


def test_style_of_posts_and_of_sentences():
  posts = [f"Oh no ! It {'so ' * i}rains .".split() for i in range(20)]
  style = TextStyle.of(posts)
  assert style.split_hyphens is False
  assert style.unit_words == 24  # 6 words and up to 19, nearly the longest
  # Together, but neither beyond the limit nor over an empty line.
  text = f"Oh no! It rains. Well{' so' * 24}.\n\nOh. No."
  assert [len(s) for s in sentences(text, style)] == [6, 26, 4]
  bio = [["the", "c", "-", "Myb", "gene", "."], ["it", "is", "."]]
  assert TextStyle.of(bio) == TextStyle(split_hyphens=True, unit_words=0)
  assert TextStyle.of([]) == TextStyle()


def test_words_in_line():
  words = ["a", "\U0001f600b", "c d"]
  line = " ".join(words)
  assert [line[a:b] for _, a, b in words_in_line(words)] == words


@pytest.mark.parametrize(
  "part",
  ["a-", "a+b.", "www.;;;", ":(", "n't", "a", ".", "A. ", '" ', "&amp", ") "],
)
def test_a_long_odd_text_is_split_in_one_pass(part):
  # A pattern that tries again and again would not come back from this one.
  text = part * (300_000 // len(part))
  words = [word for sentence in sentences(text) for word in sentence]
  assert "".join(word.text for word in words) == text.replace(" ", "")
  assert all(text[w.start : w.end] == w.text for w in words)
