"""Texts out of files and pipes."""

import itertools
import pathlib

import pytest

from splitner_jax.data import formats
from splitner_jax.inference.documents import read_rows
from splitner_jax.runtime.errors import UserError


def read(data: bytes, name: str = "x"):
  errors: list[UserError] = []
  rows = list(read_rows(data.splitlines(keepends=True), name, errors.append))
  return [row.content for row in rows], [str(e) for e in errors]


def lines(data: bytes) -> list[bytes]:
  """At line feeds only, as files are read."""
  return [part + b"\n" for part in data.split(b"\n")]


def test_plain_text_is_split_at_line_feeds_only():
  data = "a\x0bb\u2028c\x85\r d\r\n\n \ne".encode()
  rows = list(read_rows(lines(data), "x", pytest.fail))
  assert [r.content for r in rows] == ["a\x0bb\u2028c\x85\r d", "", " ", "e"]
  assert [r.length for r in rows] == [11, 1, 2, 2]


@pytest.mark.parametrize(
  ("name", "data", "contents"),
  [
    ("x", b"", []),
    ("x", b"\n\n", ["", ""]),
    ("x", b"\xef\xbb\xbfa b\n", ["a b"]),
    ("x.txt", b'{"text": "a"}\n', ['{"text": "a"}']),
    ("x", b"{curly\n", ["{curly"]),
    ("x", b"\n"b'{"text": "a b", "id": 1}\n\n{"text": ""}\n', ["a b", ""]),
    ("x.jsonl", b'{"tokens": ["a", "b"]}\n', [["a", "b"]]),
    ("x", b"a\tO\nb\tB-x\n\n\nc\tO\n", [["a", "b"], ["c"]]),
    ("x", b"-DOCSTART- O\n\na O\n", [["a"]]),
    ("x.conll", b"a\nb\n\tO\nc", [["a", "b"], ["c"]]),
    ("x", b"I B\n", ["I B"]),
    # Texts that may be taken for columns.
    ("x", b"They flew in a B-52\n", ["They flew in a B-52"]),
    (
      "x",
      b"They flew in a B-52\nIt fell\n",
      ["They flew in a B-52", "It fell"],
    ),
    ("x", b"a B-52\nthe B-52\n", ["a B-52", "the B-52"]),
    ("x", b"# a\nb c\n", ["# a", "b c"]),
    ("x", b"# a\nb O\nc B-x\n", [["b", "c"]]),
    ("x", b"a B-x\nb I-x\n\nc O\n", [["a", "b"], ["c"]]),
    ("x", b"a\tB-x\n", [["a"]]),
  ],
)  # fmt: skip
def test_kinds(name: str, data: bytes, contents: list):
  assert read(data, name) == (contents, [])


@pytest.mark.parametrize(
  ("kind", "contents"),
  [
    ("text", ["a\tO", '{"text":\t"b"}', ""]),
    ("columns", [["a", '{"text":']]),
    ("jsonl", ["b"]),
    (None, [["a", '{"text":']]),
  ],
)
def test_the_user_decides_what_a_file_is(kind: str | None, contents: list):
  found = read_rows(
    [b"a\tO\n", b'{"text":\t"b"}\n', b"\n"],
    "x.conll",
    lambda error: None,
    kind=kind,
  )
  assert [row.content for row in found] == contents


def test_another_column_of_words():
  data = b"1 a O\n2 b O\n"
  rows = read_rows(lines(data), "x", pytest.fail, word_column=1)
  assert [row.content for row in rows] == [["a", "b"]]


@pytest.mark.parametrize(
  ("data", "contents", "error"),
  [
    (b"a O\nNew York O\nb O\n", [["a", "b"]], "x.conll:2: 3 columns where"),
    (b"a O\rb O\r", [], "x.conll:1: a carriage return"),
    (b"a\tO\nb\0\tO\n", [["a"]], "x.conll:2: word 'b\\x00' holds a NUL"),
  ],
)
def test_broken_columns(data: bytes, contents: list, error: str):
  errors: list[UserError] = []
  rows = list(read_rows(lines(data), "x.conll", errors.append))
  assert [row.content for row in rows] == contents
  assert [str(e).startswith(error) for e in errors] == [True]


def test_broken_lines_are_told_with_their_number():
  data = b'{"text": "a"}\n{"text": \n[1]\n{"text": 3}\n{"x": 3}\n'
  data += b'{"tokens": ["a", ""]}\n{"text": "\xff"}\n{"text": "b"}\n'
  contents, errors = read(data, "x.jsonl")
  assert contents == ["a", "b"]
  assert [e.split(": ")[0] for e in errors] == [
    f"x.jsonl:{n}" for n in range(2, 8)
  ]
  for error, part in zip(
    errors,
    [
      "Expecting value",
      "not a JSON object",
      "'text' is no string",
      "no 'text' in it",
      "'tokens' is no list",
      "not UTF-8",
    ],
    strict=True,
  ):
    assert part in error


def test_half_characters_are_replaced():
  contents, _ = read(b'{"text": "a\\ud83d b", "id": "\\udc00"}\n')
  assert contents == ["a? b"]


def test_lines_are_read_as_they_are_needed():
  rows = read_rows(itertools.repeat(b"a\n"), "x", pytest.fail)
  assert next(rows).content == "a"


def test_columns_are_read_as_in_training(tmp_path: pathlib.Path):
  """Comments, starts of documents, lines of O alone, the word #."""
  text = (
    "# id = 1\n-DOCSTART- O\n\nAna B-x\n# O\nBo O\n\n# text = a b\n"
    "is O\n O\n\nto O\nof O\n# a comment\n"
  )
  path = tmp_path / "a.conll"
  path.write_text(text)
  lines = text.encode().splitlines(keepends=True)
  rows = list(read_rows(lines, "a.conll", _refuse))
  wanted = [list(s.words) for s in formats.read_columns(path)]
  assert [row.content for row in rows] == wanted
  assert wanted == [["Ana", "#", "Bo"], ["is"], ["to", "of"]]


def _refuse(error: UserError) -> None:
  raise error
