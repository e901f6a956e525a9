"""A column of parts of speech by rules."""

import pathlib

from splitner_jax.data import corpora, formats
from splitner_jax.reproduce import rule_tags


def test_files_are_the_corpus(tmp_path: pathlib.Path) -> None:
  rule_tags.write("demo", None, str(tmp_path))
  corpus = corpora.load("demo", None)
  for split in ("train", "dev", "test"):
    path = str(tmp_path / f"{split}.tsv")
    read = formats.read(path, pos_column=1)
    assert [(s.words, s.spans) for s in read] == [
      (s.words, s.spans) for s in getattr(corpus, split)
    ]
    for sentence in read:
      expected = tuple(map(rule_tags.part_of_speech, sentence.words))
      assert sentence.pos == expected
  assert len({tag for s in read for tag in s.pos}) > 8
