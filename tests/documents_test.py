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
    ("x", b"a group O\n", ["a group O"]),
    ("x", b"Plan O\n\n", ["Plan O", ""]),
    ("x", b"B-complex\nfor O\n", ["B-complex", "for O"]),
    ("x", b"in B-x\nGroup O\n", ["in B-x", "Group O"]),
    ("x", b"Vitamin B-12\n\nGroup O\n", ["Vitamin B-12", "", "Group O"]),
    ("x", b"is O\nis O\nis O\n", ["is O"] * 3),
    ("x", b"a B-x\nb O\n\n", [["a", "b"]]),
    ("x", b"a B-x\nb O\nc O\n", [["a", "b", "c"]]),
    # And those that may be taken for JSON.
    *(
      ("x", line + b"\na\n", [line.decode(), "a"])
      for line in (
        b"[link](x)", b'["Go," she says]', b'["Go", she says]', b"[1] a",
        b"[1]", b"[ ] a", b"[a]", b"[[a]]", b"{sic}", b"{{a}}", b"{", b"[",
        b"{a: 1}", b'"a": 1',
      )
    ),
    ("a.tsv", b"a b O\n", [["a"]]),
    ("x", b"pay VB\n# #\n5 CD\n", ["pay VB", "# #", "5 CD"]),
    ("x.conll", b"pay VB\n# #\n5 CD\n# no\n", [["pay", "#", "5", "#"]]),
    ("x.conll", b"a B-x N\n# O S\n# or so\n5 O CD\n", [["a", "#", "5"]]),
    (
      "a.v4_gold_conll",
      b"#begin document (d)\nd 0 0 Ada N - - - - - (X)\n\n"
      b"d 0 0 to V - - - - - * -\nd 0 1 /. . - - - - - *\n#end document\n",
      [["Ada"], ["to", "/."]],
    ),
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


@pytest.mark.parametrize(
  ("data", "error"),
  [
    (b"a\tB-x\nb\tO\nc\nd\tO\n", "x:3: 1 column where the rows before"),
    (b"a\tB-x\nb\tO\nc\nd\ne\n", "x:3: 1 column where the rows before"),
    (b"a\tB-x\nb\tN\tO\n", "x:2: 3 columns where the rows before have 2"),
    (b"a\tB-x\nb\tX\nc\tO\n", "x:2: last column 'X' is neither O nor"),
    (b"word\ttag\nb\tO\n", "x:1: last column 'tag' is neither O nor"),
    (b"a B-x\nb O\nc\nd B-x\n", "x:3: 1 column where the rows before have"),
    (b"# a\n\na B-x\nb O\nc O\nd X\n", "x:6: last column 'X' is neither"),
    (
      b'{"text": "a\n{"text": "b"}\n',
      "x:1: cannot be read (Unterminated string starting at); write an object",
    ),
    (b'{"sentence": "a"}\n', "x:1: cannot be read (no 'text' in it)"),
    (b'{"meta": 1}\n{"text": "b"}\n', "x:1: cannot be read (no 'text' in it"),
    (b'[{"text": "a"}]\n', "x:1: cannot be read (not a JSON object)"),
    (b'["a", "b"]\n', "x:1: cannot be read (not a JSON object)"),
    (b'\n{\n  "text": "a"\n}\n', "x:2: cannot be read (Expecting property"),
    (b'[\n  {\n    "text": "a"}]\n', "x:1: cannot be read (Expecting value"),
    (b"{'text': 'a'}\n", "x:1: cannot be read (Expecting property name"),
    (b"{}\n", "x:1: cannot be read (no 'text' in it)"),
  ],
)
def test_a_damaged_line_makes_no_text_of_a_file(data: bytes, error: str):
  with pytest.raises(UserError) as caught:
    list(read_rows(lines(data), "x", _refuse))
  assert str(caught.value).startswith(error)
  assert str(caught.value).endswith("give --input_format=text")
  texts = read_rows(lines(data), "x", _refuse, kind="text")
  assert next(texts).content == data.decode().split("\n")[0]


def test_a_short_row_of_conll_2012():
  data = b"d 0 0 Ada N - - - - - (X)\nd 0 1 b\nd 0 2 c N - - - - - *\n"
  contents, [error] = read(data, "x.gold_conll")
  assert contents == [["Ada", "c"]]
  assert error.startswith("x.gold_conll:2: 4 columns where CoNLL-2012 has")


@pytest.mark.parametrize("name", ["x", "x.txt", "x.conll", "x.jsonl"])
@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16(name: str, coding: str):
  rows = read_rows(lines('{"a": 1}\tO\n'.encode(coding)), name, _refuse)
  with pytest.raises(UserError, match=f"^{name}:1: .*UTF-16.* convert the fil"):
    next(rows)


def test_another_column_of_words():
  data = b"1 a O\n2 b O\n"
  rows = read_rows(lines(data), "x", pytest.fail, word_column=1)
  assert [row.content for row in rows] == [["a", "b"]]


@pytest.mark.parametrize(
  ("data", "contents", "error"),
  [
    (b"a O\nNew York O\nb O\n", [["a", "b"]], "x.conll:2: 3 columns where"),
    (b"a O\rb O\r", [], "x.conll:1: a carriage return"),
    (b"a\tO\nb\0\tO\n", [["a"]], "x.conll:2: holds a NUL; is it UTF-16?"),
  ],
)
def test_broken_columns(data: bytes, contents: list, error: str):
  errors: list[UserError] = []
  rows = list(read_rows(lines(data), "x.conll", errors.append))
  assert [row.content for row in rows] == contents
  assert [str(e).startswith(error) for e in errors] == [True]


@pytest.mark.parametrize("column", [2, 5, -3])
def test_a_column_that_is_not_there(column: int):
  errors: list[UserError] = []
  rows = read_rows(lines(b"a O\n"), "x.tsv", errors.append, word_column=column)
  assert not [*rows]
  said = f"x.tsv:1: 2 columns, and no column {column}; check the separator"
  assert str(errors[0]).startswith(said)


def test_broken_lines_are_told_with_their_number():
  data = b'{"text": "a"}\n{"text": \n[1]\n{"text": 3}\n{"x": 3}\n'
  data += b'{"tokens": ["a", ""]}\n{"text": "\xff"}\n{"text": "b"}\n'
  data += b'{"text": "a", "x": NaN}\n{"text": "a", "x": 1e999}\n'
  data += b'{"text": "a", "text": "b"}\n{"text": "a", "tokens": ["a"]}\n'
  contents, errors = read(data, "x.jsonl")
  assert contents == ["a", "b"]
  assert [e.split(": ")[0] for e in errors] == [
    f"x.jsonl:{n}" for n in [*range(2, 8), *range(9, 13)]
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
      "NaN is no number",
      "1e999 is too large",
      "key 'text' appears twice",
      "both 'text' and 'tokens'",
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
