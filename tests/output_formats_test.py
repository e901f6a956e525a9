"""Output formats."""

import json

import pytest

from splitner_jax import SplitNER
from splitner_jax.data.formats import read_columns
from splitner_jax.inference import output_formats
from splitner_jax.inference.documents import Row, read_rows
from tests.tiny_system import Capitals

# Of the one that is bytes: annotated_files_test.
_TEXT_FORMATS = [k for k in output_formats.FORMATS if k != "docbin"]

TEXTS = [
  'so "Ana Bo" <b> left. Oslo\u2019s.',
  "",
  "\U0001f600 OSLO",
]


def output(kind: str, contents: list, **style) -> str:
  ner = SplitNER(Capitals())  # type: ignore[arg-type]
  rows = [
    Row(c, {"id": i}, len(c if isinstance(c, str) else " ".join(c)) + 1)
    for i, c in enumerate(contents)
  ]
  tagged = zip(rows, ner.predict(contents), strict=True)
  return "".join(
    output_formats.FORMATS[kind](
      tagged, output_formats.Style(ner.labels, ner.sentences, **style)
    )
  )


def test_jsonl():
  rows = [json.loads(x) for x in output("jsonl", TEXTS).splitlines()]
  assert [row["text"] for row in rows] == TEXTS
  assert [row["id"] for row in rows] == [0, 1, 2]
  assert rows[1]["entities"] == []
  assert rows[2]["entities"] == [
    {"start": 2, "end": 6, "label": "WORLD", "score": 0.5, "text": "OSLO"}
  ]


def test_jsonl_of_words_counts_words():
  [row] = map(json.loads, output("jsonl", [["so", "Ana", "Bo"]]).splitlines())
  assert row["tokens"] == ["so", "Ana", "Bo"]
  assert row["entities"] == [
    {"start": 1, "end": 3, "label": "name", "score": 0.6, "text": "Ana Bo"}
  ]


def test_conll(tmp_path):
  path = tmp_path / "x.tsv"
  path.write_text(output("conll", [*TEXTS, ["so", "Ana X", "b"]]), "utf-8")
  sentences = read_columns(path)
  assert [s.words for s in sentences] == [
    ("so", '"', "Ana", "Bo", '"', "<", "b", ">", "left", "."),
    ("Oslo", "\u2019s", "."),
    ("\U0001f600", "OSLO"),
    ("so", "Ana_X", "b"),
  ]
  assert [[tuple(x) for x in s.spans] for s in sentences] == [
    [(2, 4, "name")],
    [(0, 1, "name")],
    [(1, 2, "WORLD")],
    [(1, 2, "name")],
  ]


def test_text():
  assert output("text", TEXTS) == (
    'so "[Ana Bo|name]" <b> left. [Oslo|name]\u2019s.\n\n'
    "\U0001f600 [OSLO|WORLD]\n"
  )
  coloured = output("text", TEXTS[2:], colour=True)
  assert coloured.startswith("\U0001f600 \x1b[97;42m OSLO ")
  assert coloured.endswith("\x1b[0m\n")


def test_html():
  page = output("html", [*TEXTS, "<script>Ana</script>"])
  assert page.startswith("<!doctype html>")
  assert page.endswith("</html>\n")
  assert "&quot;<mark " in page
  assert ">Ana Bo<small>name</small></mark>&quot; &lt;b&gt; left. <mark" in page
  assert "<script" not in page
  assert "http" not in page
  assert page.count("<p ") == 4


def test_brat():
  document = "".join(text + "\n" for text in [*TEXTS, "Ana\n\nBo"])
  found = [x.split("\t") for x in output("brat", TEXTS).splitlines()]
  assert [x[0] for x in found] == ["T1", "T2", "T3"]
  for _, place, text in found:
    _, start, end = place.split(" ")
    assert document[int(start) : int(end)] == text
  # A mention of several lines has several parts.
  words = output("brat", [["Ana\nX", "so"]])
  assert words == "T1\tname 0 3;4 5\tAna X\n"


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_brat_of_a_file(mark: str):
  document = mark + "see Ana\r\n\nand OSLO\n"
  lines = document.encode().splitlines(keepends=True)
  rows = list(read_rows(lines, "x.txt", pytest.fail))
  ner = SplitNER(Capitals())  # type: ignore[arg-type]
  found = ner.predict([row.content for row in rows])
  style = output_formats.Style(("name", "WORLD"), lambda text: [])
  parts = output_formats.brat(zip(rows, found, strict=True), style)
  places = [str(line).split("\t")[1].split(" ")[1:] for line in parts]
  mentions = [document[int(start) : int(end)] for start, end in places]
  assert mentions == ["Ana", "OSLO"]


@pytest.mark.parametrize("kind", _TEXT_FORMATS)
def test_no_entities(kind: str):
  output(kind, [])
  output(kind, ["so what"])
