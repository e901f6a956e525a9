"""What the demo corpus promises."""

import pathlib

import pytest

from splitner_jax.data import corpora as corpora_package
from splitner_jax.data import formats

_FOLDER = pathlib.Path(corpora_package.__file__).parent / "demo"
_TYPES = {"location", "organization", "person", "software", "substance"}


@pytest.fixture(scope="module")
def demo():
  return {
    split: formats.read(_FOLDER / f"{split}.tsv")
    for split in ("train", "dev", "test")
  }


def _mentions(sentences):
  return [
    " ".join(sentence.words[span.start : span.end])
    for sentence in sentences
    for span in sentence.spans
  ]


def test_sizes_and_types(demo):
  for split, least in (("train", 420), ("dev", 90), ("test", 90)):
    assert len(demo[split]) >= least
    assert {s.label for row in demo[split] for s in row.spans} == _TYPES
    without = sum(not row.spans for row in demo[split]) / len(demo[split])
    assert 0.1 < without < 0.2


def test_no_sentence_twice(demo):
  texts = [row.text.lower() for rows in demo.values() for row in rows]
  assert len(set(texts)) == len(texts)


def test_most_test_mentions_are_new(demo):
  seen = {text.lower() for text in _mentions(demo["train"])}
  test = [text.lower() for text in _mentions(demo["test"])]
  assert sum(text not in seen for text in test) / len(test) >= 0.6


def test_awkward_names_occur_in_every_split(demo):
  for rows in demo.values():
    names = _mentions(rows)
    assert any(name.islower() for name in names)
    for characters in ("-", ",", "0123456789", "+.&'@/()"):
      assert any(set(name) & set(characters) for name in names), characters
    assert any(len(name.split()) >= 4 for name in names)
    assert any(
      a.end == b.start
      for row in rows
      for a, b in zip(row.spans, row.spans[1:], strict=False)
    )
