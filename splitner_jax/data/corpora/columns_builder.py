"""Base of the TFDS builders whose corpus is columns of words and tags.

Prepared data sets are array_record files, which TFDS writes and reads without
TensorFlow.
"""

import contextlib
import fcntl
import io
import pathlib
from collections.abc import Iterable, Iterator
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from splitner_jax.data import formats
from splitner_jax.data.corpora import sources
from splitner_jax.data.sentences import Sentence, Span
from splitner_jax.runtime.cache import cache_dir
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.types import Json


class ColumnsBuilder(tfds.core.GeneratorBasedBuilder):
  """Sentences of column files, in the order of the files.

  Parts of speech are kept where `read_file` finds them; the columns read here
  have none. A corpus whose files have no fixed names, or another format,
  overrides `locate` and `read_file`.

  TFDS reuses what it finds in `data_dir` under the builder's name and version;
  `read` names `data_dir` after the content of the files, so VERSION goes up
  only when the same files are to be stored differently.

  Args:
    files: the original files.
    **kwargs: those of the TFDS builder.
  """

  VERSION = tfds.core.Version("1.1.0")
  SOURCE: ClassVar[sources.Source]
  HOMEPAGE: ClassVar[str | None] = None
  LICENSE: ClassVar[str | None] = None

  def __init__(self, *, files: sources.Files, **kwargs: object):
    self._files = files
    super().__init__(file_format="array_record", **kwargs)

  @classmethod
  def locate(
    cls, folder: str | None, split_names: Iterable[str]
  ) -> sources.Files:
    """The original files in the folder; None downloads them.

    Raises:
      UserError: a file is missing or cannot be downloaded.
    """
    return sources.locate(cls.SOURCE, folder, split_names)

  def read_file(self, path: pathlib.Path) -> list[Sentence]:
    """The sentences of one original file.

    Raises:
      UserError: it is not well-formed.
    """
    return formats.read_columns(path)

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
      builder=self,
      description=self.__doc__,
      homepage=self.HOMEPAGE,
      license=self.LICENSE,
      features=tfds.features.FeaturesDict(
        {
          "words": tfds.features.Sequence(tfds.features.Text()),
          "spans": tfds.features.Sequence(
            {
              "start": np.int32,
              "end": np.int32,
              "label": tfds.features.Text(),
            }
          ),
          # One for each word, or none at all.
          "pos": tfds.features.Sequence(tfds.features.Text()),
          # File name and line: the folder is the reader's, who may have
          # the same files in another place.
          "source": tfds.features.Text(),
        }
      ),
      # Together with integer keys: keeps the order of the file.
      disable_shuffling=True,
    )

  def _split_generators(
    self, dl_manager: tfds.download.DownloadManager
  ) -> dict[str, Iterator[tuple[int, Json]]]:
    del dl_manager  # the files are already here
    return {
      split: self._generate_examples(split) for split in self._files.names
    }

  def _generate_examples(self, split: str) -> Iterator[tuple[int, Json]]:
    key = 0
    for name in self._files.names[split]:
      for sentence in self.read_file(self._files.folder / name):
        line = sentence.source.rpartition(":")[2]
        yield (
          key,
          {
            "words": sentence.words,
            "spans": [span._asdict() for span in sentence.spans],
            "pos": sentence.pos,
            "source": f"{name}:{line}",
          },
        )
        key += 1
    if key == 0:
      raise UserError(
        f"{self._files.folder}: no sentence for split {split} in its files; "
        "check config.data.dir"
      )


def read(
  builder_class: type[ColumnsBuilder], files: sources.Files
) -> dict[str, list[Sentence]]:
  """Sentences of each split, prepared by TFDS first if they are new.

  Raises:
    UserError: a file is not well-formed, or has no sentence.
  """
  root = cache_dir() / "tfds"
  root.mkdir(parents=True, exist_ok=True)
  tfds.disable_progress_bar()
  # TFDS renames a finished folder into place, so a killed run leaves none;
  # the lock keeps the second of two runs from failing at that rename. A
  # builder knows what was prepared when it was made. What TFDS prints about its
  # download is not about this one.
  with (
    open(root / ".lock", "w") as lock,
    contextlib.redirect_stdout(io.StringIO()),
  ):
    fcntl.flock(lock, fcntl.LOCK_EX)
    builder = builder_class(files=files, data_dir=root / files.content_name)
    builder.download_and_prepare()
  return {
    split: [
      _to_sentence(row, files.folder) for row in builder.as_data_source(split)
    ]
    for split in files.names
  }


def _to_sentence(row: Json, folder: pathlib.Path) -> Sentence:
  spans = row["spans"]
  return Sentence(
    words=tuple(word.decode() for word in row["words"]),
    spans=tuple(
      Span(int(start), int(end), label.decode())
      for start, end, label in zip(
        spans["start"], spans["end"], spans["label"], strict=True
      )
    ),
    pos=tuple(tag.decode() for tag in row["pos"]),
    source=str(folder / row["source"].decode()),
  )
