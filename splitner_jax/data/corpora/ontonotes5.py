"""OntoNotes 5, English, in the split of the CoNLL-2012 shared task."""

import pathlib
from collections.abc import Iterable

from splitner_jax.data import conll2012, formats
from splitner_jax.data.corpora import sources
from splitner_jax.data.corpora.columns_builder import ColumnsBuilder
from splitner_jax.data.sentences import Sentence
from splitner_jax.runtime.errors import UserError

# What a folder on the way to a file, or the file's name up to its first dot,
# says about its split; where a tree has several for one, the first one counts:
# the OntoNotes 5 release in CoNLL's form adds its own, larger `test`.
_MARKS = {
  "train": ("train",),
  "dev": ("development", "dev"),
  "test": ("conll-2012-test", "test"),
}

# Names are not annotated in this genre, the Old and New Testament.
_GENRE_WITHOUT_NAMES = "pt"
_LEFT_OUT = {_GENRE_WITHOUT_NAMES, "arabic", "chinese"}


class Ontonotes5(ColumnsBuilder):
  """News, talk, telephone and web text with eighteen types of names.

  Weischedel et al., 2013 (LDC2013T19); split by Pradhan et al., 2012. As in
  the paper without the genre `pt`: train 59,924, dev 8,528 and test 8,262
  sentences.

  The folder is either a tree with `*gold_conll` files in folders `train`,
  `development` and `test` at any depth, as the shared task's scripts leave it
  (or three such files, `train.*`, `dev.*` and `test.*`), or holds three files
  of columns: train.tsv, dev.tsv and test.tsv.
  """

  HOMEPAGE = "https://catalog.ldc.upenn.edu/LDC2013T19"
  LICENSE = "LDC User Agreement"
  SOURCE = sources.Source(
    corpus="ontonotes5",
    files={
      split: sources.SourceFile(f"{split}.tsv") for split in sources.SPLIT_NAMES
    },
    sentences={"train": 59_924, "dev": 8_528, "test": 8_262},
    types=18,
    instead="*gold_conll files below folders train, development and test",
  )

  @classmethod
  def locate(
    cls, folder: str | None, split_names: Iterable[str]
  ) -> sources.Files:
    root = sources.own_folder(cls.SOURCE, folder)
    paths = sorted(
      path.relative_to(root)
      for path in root.rglob("*gold_conll")
      if path.is_file()
    )
    if not paths:
      return super().locate(folder, split_names)
    return sources.Files(
      root, {split: _of_split(paths, split, root) for split in split_names}
    )

  def read_file(self, path: pathlib.Path) -> list[Sentence]:
    if conll2012.is_name(path.name):
      return conll2012.read(path, leave_out=(_GENRE_WITHOUT_NAMES,))
    return formats.read_columns(path)


def _of_split(
  paths: list[pathlib.Path], split: str, root: pathlib.Path
) -> list[str]:
  """The files of one split, in the order of their names."""
  for mark in _MARKS[split]:
    names = [path.as_posix() for path in paths if _mark(path) == mark]
    if names:
      return names
  raise UserError(
    f"{root}: no gold_conll file of split {split}; they belong below a folder "
    f"{' or '.join(_MARKS[split])}"
  )


def _mark(path: pathlib.PurePath) -> str | None:
  """What says the split of a file, which is below the root; None leaves it."""
  folders = path.parts[:-1]
  if not _LEFT_OUT.isdisjoint(folders):
    return None
  marks = {mark for marks in _MARKS.values() for mark in marks}
  parts = (*folders, path.name.partition(".")[0])
  return next((part for part in parts if part in marks), None)
