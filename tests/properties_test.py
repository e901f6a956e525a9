"""What holds of any text, any corpus, any batch."""

import html.parser
import itertools
import json
import pathlib
import re
from typing import Any

import pytest
from hypothesis import strategies as st

from splitner_jax import SplitNER
from splitner_jax.data import formats, tags
from splitner_jax.data.sentences import Sentence, Span
from splitner_jax.data.text import TextStyle, sentences, words_with_offsets
from splitner_jax.data.words import BLANKS, label_fault
from splitner_jax.inference import output_formats
from splitner_jax.inference.documents import Row
from tests import tiny_system
from tests.fuzzing import Amount, amounts

_LETTERS = st.text(
  st.sampled_from("aB.,'\u2019-#@/0 \n\u0301\u4e2d\u200b\u00e9\U0001f600\xa0")
)
_TEXT = st.text(max_size=60) | _LETTERS


@amounts(200, 5000, 5000)
def test_words_of_a_text(amount: Amount) -> None:
  """Words stand where they say, in order; nothing but blanks is between."""

  def check(text: str, hyphens: bool) -> None:
    words = words_with_offsets(text, split_hyphens=hyphens)
    ends = [0]
    for word in words:
      assert word.text == text[word.start : word.end]
      assert ends[-1] <= word.start < word.end <= len(text)
      between = text[ends[-1] : word.start]
      assert not re.search(r"\w", between)
      ends.append(word.end)
    assert not re.search(r"\w", text[ends[-1] :])
    units = sentences(text, TextStyle(hyphens, 0))
    assert [w for unit in units for w in unit] == words

  amount.run(check, text=_TEXT, hyphens=st.booleans())


def _is_word(text: str) -> bool:
  return not any(blank in text for blank in BLANKS)


_WORD = (
  st.text(min_size=1, max_size=5)
  .filter(_is_word)
  .filter(lambda word: "\0" not in word and not word.startswith("-DOCSTART-"))
)
_LABEL = st.text("ABx-_\u00e9", min_size=1, max_size=4).filter(
  lambda label: not label_fault(label)
)


@st.composite
def _rows(draw: st.DrawFn) -> list[Sentence]:
  found = []
  for _ in range(draw(st.integers(1, 3))):
    words = draw(st.lists(_WORD, min_size=1, max_size=8))
    bounds = draw(st.sets(st.integers(0, len(words)), max_size=6))
    pairs = itertools.pairwise(sorted(bounds))
    spans = tuple(
      Span(start, end, draw(_LABEL))
      for start, end in pairs
      if draw(st.booleans())
    )
    found.append(Sentence(tuple(words), spans))
  return found


def _facts(rows: list[Sentence]) -> list[Any]:
  return [(row.words, row.spans) for row in rows]


@amounts(100, 3000, 3000)
def test_jsonl_says_what_was_written(
  amount: Amount, tmp_path: pathlib.Path
) -> None:
  def check(rows: list[Sentence]) -> None:
    formats.write_jsonl(tmp_path / "a.jsonl", rows)
    assert _facts(formats.read(tmp_path / "a.jsonl")) == _facts(rows)

  amount.run(check, rows=_rows())


_SCHEMES = {
  "BIO": {},
  "BIOES": {"last": "E", "single": "S"},
  "BILOU": {"last": "L", "single": "U"},
  "IOB1": {},
}


def _tags(row: Sentence, last: str = "I", single: str = "B") -> list[str]:
  found = ["O"] * len(row.words)
  for start, end, label in row.spans:
    found[start:end] = [f"I-{label}"] * (end - start)
    found[end - 1] = f"{last}-{label}"
    found[start] = f"{single if end == start + 1 else 'B'}-{label}"
  return found


def _iob1(row: Sentence) -> list[str]:
  """B only where a mention follows another one of its type."""
  follows = {(span.end, span.label) for span in row.spans}
  found = _tags(row)
  for start, _, label in row.spans:
    if (start, label) not in follows:
      found[start] = f"I-{label}"
  return found


@amounts(150, 3000, 3000)
def test_tags_of_any_scheme(amount: Amount) -> None:
  """Tags say the mentions that they were made of; the scheme is recognised."""

  def check(rows: list[Sentence], name: str) -> None:
    make = _iob1 if name == "IOB1" else _tags
    all_tags = [make(row, **_SCHEMES[name]) for row in rows]
    scheme = tags.detect_scheme(all_tags)
    for row, found in zip(rows, all_tags, strict=True):
      assert tuple(tags.tags_to_spans(found, scheme)) == row.spans
      assert tuple(tags.tags_to_spans(found, name)) == row.spans
      if name == "BIO":
        assert found == tags.spans_to_tags(row.spans, len(row.words))

  amount.run(check, rows=_rows(), name=st.sampled_from([*_SCHEMES]))


@amounts(150, 3000, 3000)
def test_labels_of_a_model(amount: Amount) -> None:
  """The labels that training reads decode to the mentions they came from."""

  def check(rows: list[Sentence], name: str) -> None:
    types = sorted({s.label for row in rows for s in row.spans})
    scheme = tags.LabelScheme(name, tuple(types))
    for row in rows:
      labels = scheme.encode(row.spans, len(row.words))
      assert all(0 <= label < len(scheme.labels) for label in labels)
      joined = name == "BO" and any(
        a.end == b.start and a.label == b.label
        for a, b in itertools.pairwise(row.spans)
      )
      if not joined:
        assert tuple(scheme.decode(labels)) == row.spans

  amount.run(check, rows=_rows(), name=st.sampled_from([*tags.MODEL_SCHEMES]))


class _Html(html.parser.HTMLParser):
  """The tags of a page, and what it shows."""

  def __init__(self) -> None:
    super().__init__()
    self.tags: set[str] = set()
    self.text: list[str] = []
    self._open: list[str] = []

  def handle_starttag(self, tag: str, attrs: Any) -> None:
    del attrs
    self.tags.add(tag)
    self._open.append(tag)

  def handle_endtag(self, tag: str) -> None:
    assert tag in self._open
    while self._open.pop() != tag:
      pass  # Of tags without an end.

  def handle_data(self, data: str) -> None:
    if self._open[-1:] and self._open[-1] in ("p", "mark"):
      self.text.append(data)


_HTML_TAGS = {
  *("html", "head", "meta", "title", "style"),
  *("body", "p", "mark", "small"),
}


@amounts(60, 1500, 1500)
def test_output_formats(amount: Amount) -> None:
  """Each is whole, whatever the text; offsets are those of the text."""
  ner = SplitNER(tiny_system.Capitals())  # type: ignore[arg-type]

  def check(texts: list[str]) -> None:
    rows = [Row(text, {}, len(text) + 1) for text in texts]
    tagged = [*zip(rows, ner.predict(texts), strict=True)]
    style = output_formats.Style(ner.labels, ner.sentences, False)
    said = {
      name: "".join(write(iter(tagged), style))
      for name, write in output_formats.FORMATS.items()
      if name != "docbin"  # Binary; it has tests of its own.
    }
    lines = said["jsonl"].split("\n")[:-1]
    for line, text in zip(lines, texts, strict=True):
      record = json.loads(line)
      assert record["text"] == text
      for entity in record["entities"]:
        assert entity["text"] == text[entity["start"] : entity["end"]]
    # No text can open a tag, nor an entity.
    shown = _Html()
    shown.feed(said["html"])
    assert shown.tags <= _HTML_TAGS
    for text in texts:
      assert "".join(text.split()) in "".join("".join(shown.text).split())
    whole = "\n".join(texts)
    for line in said["brat"].splitlines():
      fields = line.split("\t")
      if len(fields) == 3 and fields[0].startswith("T"):
        start = int(fields[1].split()[1])
        assert whole[start : start + 1] == fields[2][:1]

  texts = st.lists(
    st.text("aB<&>\"' .\t\u00e9\U0001f600", max_size=15), min_size=1, max_size=4
  )
  amount.run(check, texts=texts)


@pytest.fixture(scope="module")
def ner(tmp_path_factory: pytest.TempPathFactory) -> SplitNER:
  return SplitNER(tiny_system.make(tmp_path_factory.mktemp("model")))


@amounts(0, 300, 300)
def test_a_model_on_any_texts(amount: Amount, ner: SplitNER) -> None:
  """Together as alone, in order, with exact offsets and scores."""
  words = st.sampled_from(["ada", "likes", "oslo", ".", "\u00e9", "b"]) | _WORD

  def check(texts: list[str], batch_size: int) -> None:
    together = ner.predict(texts, batch_size=batch_size)
    assert len(together) == len(texts)
    for text, found in zip(texts, together, strict=True):
      [alone] = ner.predict([text])
      assert [e[:4] for e in alone] == [e[:4] for e in found]
      scores = [e.score for e in found]
      assert [e.score for e in alone] == pytest.approx(scores, abs=1e-5)
      assert all(0 <= score <= 1 for score in scores)
      assert all(e.text == text[e.start : e.end] for e in found)
      assert all(e.text == e.text.strip(BLANKS) for e in found)

  texts = st.lists(
    st.lists(words, max_size=12).map(" ".join), min_size=1, max_size=5
  )
  amount.run(check, texts=texts, batch_size=st.sampled_from([1, 3, 32]))
