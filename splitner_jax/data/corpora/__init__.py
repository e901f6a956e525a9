"""Corpora by name: train, dev and test sentences with their mentions."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from splitner_jax.data.corpora import sources
from splitner_jax.data.corpora.sources import SPLIT_NAMES
from splitner_jax.data.sentences import Sentence
from splitner_jax.errors import UserError

if TYPE_CHECKING:
  from splitner_jax.data.corpora.columns_builder import ColumnsBuilder


@dataclasses.dataclass(frozen=True)
class Corpus:
  """The sentences of a corpus; a split that was not asked for is empty."""

  name: str
  train: list[Sentence]
  dev: list[Sentence]
  test: list[Sentence]

  @property
  def types(self) -> list[str]:
    """The entity types of train, sorted."""
    return sorted({span.label for row in self.train for span in row.spans})

  @functools.cached_property
  def content_hash(self) -> str:
    """First 16 hex digits of the SHA-256 of all words and spans, in order."""
    digest = hashlib.sha256()
    for split in SPLIT_NAMES:
      for row in getattr(self, split):
        digest.update(json.dumps([split, row.words, row.spans]).encode())
    return digest.hexdigest()[:16]

  def describe(self) -> str:
    """One line for the log: sizes of the splits and the content hash."""
    sizes = []
    for split in SPLIT_NAMES:
      rows: list[Sentence] = getattr(self, split)
      mentions = sum(len(row.spans) for row in rows)
      sizes.append(f"{split} {len(rows)} sentences, {mentions} mentions")
    return f"{self.name}: {'; '.join(sizes)}; content {self.content_hash}"

  def check_types(self) -> None:
    """Raises UserError if dev or test has a type that train lacks."""
    types = set(self.types)
    for split in ("dev", "test"):
      for row in getattr(self, split):
        for span in row.spans:
          if span.label not in types:
            raise UserError(
              f"{row.source}: type {span.label!r} of split {split} never "
              "occurs in train; correct the tag, or add such mentions to train"
            )


def load(
  name: str,
  folder: str | None,
  split_names: Sequence[str] = SPLIT_NAMES,
) -> Corpus:
  """Loads a corpus; prepares it with TFDS when its files are new.

  Args:
    name: `bionlp13cg`, `demo` or `wnut17`.
    folder: holds the original files; None downloads them (the demo corpus
      ships with the package).
    split_names: the splits to load.

  Raises:
    UserError: an unknown name, a file that is missing, cannot be downloaded
      or is not well-formed or empty, or a type that train lacks.
  """
  # Imported here: TensorFlow Datasets takes a while, prediction needs none.
  from splitner_jax.data.corpora import columns_builder

  builder_class = _builder_class(name)
  files = sources.locate(builder_class.SOURCE, folder, split_names)
  splits: dict[str, list[Sentence]] = {split: [] for split in SPLIT_NAMES}
  splits |= columns_builder.read(builder_class, files)
  corpus = Corpus(name, **splits)
  if "train" in split_names:
    corpus.check_types()
  return corpus


def _builder_class(name: str) -> "type[ColumnsBuilder]":
  from splitner_jax.data.corpora import bionlp13cg, demo, wnut17

  classes: list[type[ColumnsBuilder]] = [
    bionlp13cg.Bionlp13cg,
    demo.Demo,
    wnut17.Wnut17,
  ]
  by_name = {builder.SOURCE.corpus: builder for builder in classes}
  if name not in by_name:
    raise UserError(
      f"config.data.name: no corpus {name!r}; there are {', '.join(by_name)}"
    )
  return by_name[name]
