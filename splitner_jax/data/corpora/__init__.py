"""Corpora: those known by name, and one's own files."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from splitner_jax.data.corpora.corpus import Corpus
from splitner_jax.data.corpora.own_files import from_files
from splitner_jax.data.corpora.sources import SPLIT_NAMES, Source
from splitner_jax.data.sentences import Sentence
from splitner_jax.runtime.errors import UserError

if TYPE_CHECKING:
  from splitner_jax.data.corpora.columns_builder import ColumnsBuilder

__all__ = ["Corpus", "from_files", "load"]

log = logging.getLogger(__name__)


def load(
  name: str,
  folder: str | None,
  split_names: Sequence[str] = SPLIT_NAMES,
) -> Corpus:
  """Loads a corpus by name; prepares it with TFDS when its files are new.

  Where published sizes are known and these differ, a warning says so.

  Args:
    name: `bionlp13cg`, `ctireports`, `demo`, `ontonotes5` or `wnut17`.
    folder: holds the original files; None downloads them (the demo corpus
      ships with the package; `ctireports` and `ontonotes5` need a folder).
    split_names: the splits to load.

  Raises:
    UserError: an unknown name, a file that is missing, cannot be downloaded
      or is not well-formed or empty, or a type that train lacks.
  """
  # Imported here: TensorFlow Datasets takes a while, prediction needs none.
  from splitner_jax.data.corpora import columns_builder

  builder_class = _builder_class(name)
  files = builder_class.locate(folder, split_names)
  splits: dict[str, list[Sentence]] = {split: [] for split in SPLIT_NAMES}
  splits |= columns_builder.read(builder_class, files)
  corpus = Corpus(name, **splits)
  if "train" in split_names:
    corpus.check_types()
  _compare_with_published(corpus, builder_class.SOURCE, split_names)
  return corpus


def _builder_class(name: str) -> "type[ColumnsBuilder]":
  from splitner_jax.data.corpora import (
    bionlp13cg,
    ctireports,
    demo,
    ontonotes5,
    wnut17,
  )

  classes: list[type[ColumnsBuilder]] = [
    bionlp13cg.Bionlp13cg,
    ctireports.Ctireports,
    demo.Demo,
    ontonotes5.Ontonotes5,
    wnut17.Wnut17,
  ]
  by_name = {builder.SOURCE.corpus: builder for builder in classes}
  if name not in by_name:
    raise UserError(
      f"config.data.name: no corpus {name!r}; there are {', '.join(by_name)}"
    )
  return by_name[name]


def _compare_with_published(
  corpus: Corpus, source: Source, split_names: Sequence[str]
) -> None:
  """Logs a warning for each count that is not the published one."""
  counts = [
    (f"{split} sentences", len(getattr(corpus, split)), source.sentences[split])
    for split in split_names
    if split in source.sentences
  ]
  if source.types is not None and "train" in split_names:
    counts.append(("entity types", len(corpus.types), source.types))
  for what, found, published in counts:
    if found != published:
      log.warning(
        "%s has %s %s where the published corpus has %s: scores may not "
        "compare with published ones",
        corpus.name,
        f"{found:,}",
        what,
        f"{published:,}",
      )
