"""The corpus that ships with the package."""

from splitner_jax.data.corpora.columns_builder import ColumnsBuilder
from splitner_jax.data.corpora.sources import SPLIT_NAMES, Source, SourceFile


class Demo(ColumnsBuilder):
  """Sentences written for this project, to try it without any download."""

  LICENSE = "Apache-2.0"
  SOURCE = Source(
    corpus="demo",
    files={split: SourceFile(f"{split}.tsv") for split in SPLIT_NAMES},
  )
