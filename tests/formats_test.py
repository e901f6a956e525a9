"""Corpus files <-> sentences, and the errors that name file and line."""

import concurrent.futures
import json
import os
import pathlib

import pytest

from splitner_jax.data import formats
from splitner_jax.data.sentences import ScoredSpan, Sentence, Span
from splitner_jax.data.tags import spans_to_tags
from splitner_jax.runtime.errors import UserError

CORPUS = [
  (["Ana", "Lima", "met", "Bo", "#"], [(0, 2, "person"), (3, 4, "person")]),
  (["O", "no", "!"], []),
  (["Rio", "Ana", "Bo", "Cy"], [(0, 1, "place"), (1, 3, "x-y"), (3, 4, "x-y")]),
]
WORDS = [tuple(words) for words, _ in CORPUS]
SPANS = [tuple(Span(*span) for span in spans) for _, spans in CORPUS]


def rows(scheme: str, separator: str = "\t") -> list[list[str]]:
  """The corpus as sentences of lines."""
  return [
    [
      separator.join(row)
      for row in zip(
        words, spans_to_tags(spans, len(words), scheme), strict=True
      )
    ]
    for words, spans in zip(WORDS, SPANS, strict=True)
  ]


def joined(sentences: list[list[str]], between: str = "") -> str:
  return f"\n{between}\n".join("\n".join(lines) for lines in sentences) + "\n"


def write(tmp_path, content: str | bytes, name: str = "corpus.txt"):
  path = tmp_path / name
  path.write_bytes(content if isinstance(content, bytes) else content.encode())
  return path


def assert_is_corpus(sentences: list[Sentence]) -> None:
  assert [sentence.words for sentence in sentences] == WORDS
  assert [sentence.spans for sentence in sentences] == SPANS


def message(reader, *args, **kwargs) -> str:
  """The one-line message of the error that reading gives."""
  with pytest.raises(UserError) as caught:
    reader(*args, **kwargs)
  text = str(caught.value)
  assert "\n" not in text
  return text


@pytest.mark.parametrize("scheme", ["BIO", "IOB1", "BIOES", "BILOU"])
@pytest.mark.parametrize("separator", ["\t", " ", "  "])
def test_schemes_and_separators(tmp_path, scheme, separator):
  path = write(tmp_path, joined(rows(scheme, separator)))
  sentences = formats.read(path)
  assert_is_corpus(sentences)
  assert [sentence.source for sentence in sentences] == [
    f"{path}:1", f"{path}:7", f"{path}:11",
  ]  # fmt: skip


@pytest.mark.parametrize(
  "content",
  [
    joined(rows("BIO")).replace("\n", "\r\n"),
    "\ufeff" + joined(rows("BIO")),
    joined(rows("BIO")).rstrip("\n"),
    "\n\n" + joined(rows("BIO")) + "\n\n",
    joined(rows("BIO"), between="\t"),
    joined(rows("BIO"), between="\tO"),
    joined(rows("BIO"), between=" \t "),
    joined(rows("BIO", " "), between=" O"),
    joined(rows("BIO", " "), between="  "),
    joined([["-DOCSTART- -X- O O"], *rows("BIO")]),
    joined(rows("BIO"), between="-DOCSTART-\tO"),
    joined(rows("BIO", " "), between="\n# sent_id = 2\n# text = no O"),
    joined(rows("BIO"), between="\n# text"),
    joined([["-DOCSTART- -X- O O"], *rows("BIO", " ")]),
    "# file\n" + joined(rows("BIO", " ")),
  ],
)
def test_oddities(tmp_path, content):
  assert_is_corpus(formats.read_columns(write(tmp_path, content)))


def test_any_column(tmp_path):
  lines = [
    [f"{i},{line.replace(' ', ',NN,')},_" for i, line in enumerate(lines)]
    for lines in rows("BIOES", " ")
  ]
  path = write(tmp_path, joined(lines))
  sentences = formats.read(
    path, word_column=1, pos_column=2, tag_column=-2, separator=","
  )
  assert_is_corpus(sentences)
  assert sentences[1].pos == ("NN", "NN", "NN")
  assert not formats.read(path, word_column=1, tag_column=3, separator=",")[
    0
  ].pos


def test_parts_of_speech(tmp_path):
  content = "Ana NNP B-p x\nran VBD O x\n\n# . O x\n"
  path = write(tmp_path, content)
  for column in (1, -3):
    sentences = formats.read(path, tag_column=2, pos_column=column)
    assert [row.words for row in sentences] == [("Ana", "ran"), ("#",)]
    assert [row.pos for row in sentences] == [("NNP", "VBD"), (".",)]
    assert sentences[0].spans == (Span(0, 1, "p"),)


def test_parts_of_speech_by_format(tmp_path):
  line = '{"tokens": ["a"], "entities": [], "pos": ["DT"]}'
  columns = "x 0 0 a DT * - - - - * -"
  for name in ("a.jsonl", "a.json", "a.gold_conll"):
    content = columns if name.endswith("conll") else line
    path = write(tmp_path, content, name)
    # The argument is about columns only.
    for column in (None, 7):
      assert formats.read(path, pos_column=column)[0].pos == ("DT",)


@pytest.mark.parametrize(
  ("content", "column", "line", "reason"),
  [
    ("a\tDT\tO\n\nb\t\tO\n", 1, 3, "part of speech '' must be"),
    ("a\tDT\tO\nb\tX Y\tO\n", 1, 2, "part of speech 'X Y' must be"),
    ("a DT O\nb O\n", 1, 2, "2 columns where the rows before have 3"),
    ("a O\nb O\n", 1, 1, "column 1 is the tag's"),
    ("a DT O\nb DT O\n", 2, 1, "column 2 is the tag's"),
    ("a DT O\nb DT O\n", -1, 1, "column -1 is the tag's"),
    ("a X DT O\nb O\n", 2, 2, "2 columns where 3 are needed"),
  ],
)
def test_wrong_parts_of_speech(tmp_path, content, column, line, reason):
  path = write(tmp_path, content)
  text = message(formats.read_columns, path, pos_column=column)
  assert text.startswith(f"{path}:{line}: {reason}")


def test_words_keep_characters_that_unicode_calls_line_ends(tmp_path):
  words = ("a\u2028b", "\x85", "x\u00a0y", "\u200b")
  sentences = [Sentence(words, (Span(0, 2, "t"),))]
  for name, writer in (
    ("a.tsv", formats.write_columns),
    ("a.jsonl", formats.write_jsonl),
  ):
    writer(tmp_path / name, sentences)
    (read,) = formats.read(tmp_path / name)
    assert (read.words, read.spans) == (words, sentences[0].spans)
  path = write(tmp_path, "a\u2028b B-t\n\x85 I-t\nx\u00a0y O\n\u200b O\n")
  assert formats.read(path)[0].words == words


def test_write_and_read_back(tmp_path):
  sentences = [Sentence(*pair) for pair in zip(WORDS, SPANS, strict=True)]
  predicted = [[], [ScoredSpan(1, 3, "place", 0.25)], []]
  path = tmp_path / "out.tsv"
  formats.write_columns(path, sentences)
  assert_is_corpus(formats.read(path))
  formats.write_columns(path, sentences, predicted)
  assert_is_corpus(formats.read(path, tag_column=1))
  assert formats.read(path)[1].spans == (Span(1, 3, "place"),)
  assert path.read_text(encoding="utf-8").splitlines()[6:9] == [
    "O\tO\tO", "no\tO\tB-place", "!\tO\tI-place",
  ]  # fmt: skip
  path = tmp_path / "out.jsonl"
  formats.write_jsonl(path, sentences)
  assert_is_corpus(formats.read(path))
  formats.write_jsonl(path, sentences, predicted)
  assert_is_corpus(formats.read(path))
  lines = path.read_text(encoding="utf-8").splitlines()
  assert json.loads(lines[1])["predicted"] == [
    {"start": 1, "end": 3, "label": "place", "score": 0.25}
  ]


def test_nothing_is_left_half_written(tmp_path):
  path = write(tmp_path, "before", "out.tsv")
  sentences = [Sentence(("a", "b")), Sentence(("c",), (Span(0, 5, "t"),))]
  with pytest.raises(ValueError, match="outside"):
    formats.write_columns(path, sentences)
  with pytest.raises(ValueError, match="zip"):
    formats.write_jsonl(path, sentences, [[]])
  assert path.read_text() == "before"
  assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_file_is_written_into(tmp_path):
  sentences = [Sentence(("a",))]
  target = write(tmp_path, "before", "target.tsv")
  link = tmp_path / "link.tsv"
  link.symlink_to(target.name)
  formats.write_columns(link, sentences)
  assert link.is_symlink()
  assert target.read_text() == "a\tO\n\n"

  fifo = tmp_path / "fifo"
  os.mkfifo(fifo)
  with concurrent.futures.ThreadPoolExecutor() as pool:
    read = pool.submit(fifo.read_text)
    formats.write_columns(fifo, sentences)
    assert read.result(timeout=10) == "a\tO\n\n"
  assert fifo.is_fifo()

  formats.write_columns(os.devnull, sentences)
  assert pathlib.Path(os.devnull).is_char_device()
  assert len(list(tmp_path.iterdir())) == 3


def test_where_nothing_can_be_written(tmp_path):
  path = write(tmp_path, "a file")
  for bad in (tmp_path / "no" / "out.tsv", path / "out.tsv", tmp_path):
    text = message(formats.write_columns, bad, [Sentence(("a",))])
    assert text.startswith(f"{bad}: cannot be written")


@pytest.mark.parametrize("name", ["corpus.txt", "corpus.jsonl"])
def test_unreadable_files(tmp_path, name):
  path = tmp_path / name
  assert message(formats.read, path).startswith(f"{path}: no such file")
  path.mkdir()
  assert message(formats.read, path).startswith(f"{path}: a folder")
  path.rmdir()
  for content in ("", "\ufeff", "\n \n\r\n"):
    write(tmp_path, content, name)
    assert message(formats.read, path).startswith(f"{path}: no sentence")
  write(tmp_path, b"a\tO\nb\tO\n\xff\tO\n", name)
  assert message(formats.read, path).startswith(f"{path}:3: not UTF-8")


@pytest.mark.parametrize(
  ("content", "line", "reason"),
  [
    ("a\tO\nb\n", 2, "1 column where 2 are needed"),
    ("a O\n\nO\n", 3, "1 column where 2 are needed"),
    ("a O\n#\n", 2, "1 column where 2 are needed"),
    ("a\tB-x\n\nb\tO\nc\tI-x\n", 4, "I-x continues no mention of x"),
    ("a\tO\nb\tperson\n", 2, "'person' is neither O nor"),
    ("a\tO\nb\tX-x\n", 2, "'X-x' is neither O nor"),
    ("a\tB-\n", 1, "'B-' has no type"),
    (
      "a\tS-x\nb\tB-x\nc\tO\n",
      2,
      "no E- closes; tag its last word E-x (the file reads as BIOES)",
    ),
    ("a\tO\n\tB-x\n", 2, "word ''"),
    ("a b\tO\n", 1, "word 'a b'"),
    # A word in pieces, and a column too many or too few.
    ("a O\nNew York O\n", 2, "3 columns where the rows before have 2"),
    ("a\tX\tO\nb\tO\n", 2, "2 columns where the rows before have 3"),
    ("- X O\n- O\n", 2, "2 columns where the rows before have 3"),
    # Line ends of old Macs, and of some lines only.
    ("a O\rb O\r", 1, "a carriage return within the line"),
    ("a O\nb O\rc O\r\n", 2, "a carriage return within the line"),
    ("a\tO\nb\0\tO\n", 2, "holds a NUL"),
    ("a\tB-\xa0x\n", 1, "has a blank or an invisible character at an edge"),
    ("a\tB-x\u200b\n", 1, "has a blank or an invisible character at an edge"),
    ("a\tB-x\x01y\n", 1, "holds a tab, a line break or another control"),
  ],
)
def test_wrong_columns(tmp_path, content, line, reason):
  path = write(tmp_path, content)
  text = message(formats.read_columns, path)
  assert text.startswith(f"{path}:{line}: ")
  assert reason in text


def test_columns_that_are_not_there(tmp_path):
  path = write(tmp_path, "a O\n")
  for columns, needed in (
    ({"tag_column": 3}, 4),
    ({"pos_column": 2}, 3),
    ({"pos_column": -3}, 3),
    ({"tag_column": -5}, 6),  # of 5 columns that would be the word's
  ):
    text = message(formats.read_columns, path, **columns)
    assert text.startswith(f"{path}:1: 2 columns where {needed} are needed")
