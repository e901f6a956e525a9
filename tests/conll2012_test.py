"""CoNLL-2012 columns -> sentences, and the errors that name file and line."""

import pathlib

import pytest

from splitner_jax.data import conll2012, formats
from splitner_jax.data.sentences import Sentence, Span
from splitner_jax.runtime.errors import UserError


def row(word: str, name: str, document: str = "nw/x/00/x_0001") -> str:
  """A row with the parts that are not read filled in."""
  before = f"{document}   0   0   {word}   NN   (TOP*)   -   -   -"
  return f"{before}   Speaker#1   {name}   (ARG0*   *   (3)|4)"


def document(rows: list[str], name: str = "nw/x/00/x_0001") -> str:
  """Rows and empty strings, which end sentences, as one document."""
  lines = [f"#begin document ({name}); part 000", *rows, "", "#end document"]
  return "\n".join(lines) + "\n"


def write(folder: pathlib.Path, text: str) -> pathlib.Path:
  path = folder / "x_0001.v4_gold_conll"
  path.write_text(text, encoding="utf-8")
  return path


def message(path: pathlib.Path, text: str) -> str:
  path.write_text(text, encoding="utf-8")
  with pytest.raises(UserError) as caught:
    conll2012.read(path)
  assert "\n" not in str(caught.value)
  return str(caught.value)


TEXT = document(
  [
    row("Ada", "(PERSON*"),
    row("King", "*)"),
    row("left", "*"),
    row("Köln", "(GPE)"),
    row("/.", "*"),
    "",
    row("-LRB-", "*"),
    row("no\u00a0one", "(NORP*)"),
    row("UN", "(ORG*"),
    row("of", "*"),
    row("us", "*)"),
  ]
)
SENTENCES = [
  (
    ("Ada", "King", "left", "Köln", "/."),
    (Span(0, 2, "PERSON"), Span(3, 4, "GPE")),
    2,
  ),
  (
    ("-LRB-", "no\u00a0one", "UN", "of", "us"),
    (Span(1, 2, "NORP"), Span(2, 5, "ORG")),
    8,
  ),
]


@pytest.mark.parametrize(
  "text",
  [
    TEXT,
    TEXT.replace("\n", "\r\n"),
    "\ufeff" + TEXT,
    TEXT.replace("   ", "\t"),
    TEXT.removesuffix("\n\n#end document\n"),
    TEXT.replace("\n\n", "\n  \n"),
  ],
)
def test_words_names_and_places(tmp_path: pathlib.Path, text: str) -> None:
  path = write(tmp_path, text)
  expected = [
    Sentence(words, spans, ("NN",) * 5, f"{path}:{line}")
    for words, spans, line in SENTENCES
  ]
  assert conll2012.read(path) == expected
  assert formats.read(path) == expected
  assert formats.scheme_of(path) == "CoNLL-2012"


def test_document_lines_end_sentences(tmp_path: pathlib.Path) -> None:
  lines = [
    "#begin document (nw/x); part 000",
    row("one", "*"),
    "#end document",
    "#begin document (nw/x); part 001",
    row("two", "*"),
  ]
  sentences = conll2012.read(write(tmp_path, "\n".join(lines)))
  assert [s.words for s in sentences] == [("one",), ("two",)]


def test_genre_is_left_out_unread(tmp_path: pathlib.Path) -> None:
  psalm = document([row("Lo", "(broken", "pt/a/00/a_1")], "pt/a/00/a_1")
  path = write(tmp_path, psalm + TEXT)
  sentences = conll2012.read(path, leave_out=("pt",))
  assert [s.words for s in sentences] == [words for words, _, _ in SENTENCES]
  assert conll2012.read(write(tmp_path, psalm), leave_out=("pt",)) == []


@pytest.mark.parametrize(
  ("names", "line", "reason"),
  [
    (["*", "*)"], 3, "*) closes a name that is not open"),
    (["(GPE*", "*)", "*)"], 4, "*) closes a name that is not open"),
    (["*", "(GPE*", "*"], 3, "(GPE* is not closed in its sentence"),
    (["(GPE*", "(ORG)", "*)"], 3, "which line 2 opens; close that"),
    (["(GPE*", "(ORG*", "*)"], 3, "(ORG* opens inside (GPE*"),
    (["*", "-"], 3, "name '-' is none of *, (TYPE*, *) and (TYPE)"),
    (["(GPE"], 2, "name '(GPE' is none of"),
    ([")"], 2, "name ')' is none of"),
    (["(*)"], 2, "name '(*)' is none of"),
    (["((GPE)"], 2, "name '((GPE)' is none of"),
    (["B-GPE"], 2, "name 'B-GPE' is none of"),
  ],
)
def test_broken_brackets(
  tmp_path: pathlib.Path, names: list[str], line: int, reason: str
) -> None:
  path = tmp_path / "x.gold_conll"
  text = message(path, document([row("word", name) for name in names]))
  assert text.startswith(f"{path}:{line}: ")
  assert reason in text


@pytest.mark.parametrize(
  ("text", "reason"),
  [
    ("", ": no sentence in it"),
    (document([]), ": no sentence in it"),
    ("Ada\tB-person\n", ":1: 2 columns where CoNLL-2012 has at least 11"),
    (
      document([row("A\0da", "(GPE)")]),
      ":2: holds a NUL; is it UTF-16? convert the file to UTF-8",
    ),
    (
      document([row("Ada", "(\x01GPE)")]),
      r":2: type '\x01GPE' holds a tab, a line break or another control",
    ),
  ],
)
def test_other_files(tmp_path: pathlib.Path, text: str, reason: str) -> None:
  path = tmp_path / "x.gold_conll"
  assert message(path, text).startswith(f"{path}{reason}")
