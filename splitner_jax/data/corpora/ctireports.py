"""Reports on cyber threats, from one's own copy."""

from splitner_jax.data.corpora.columns_builder import ColumnsBuilder
from splitner_jax.data.corpora.sources import SPLIT_NAMES, Source, SourceFile


class Ctireports(ColumnsBuilder):
  """Reports on cyber threats with eight types; never published as a whole.

  Used in the paper (Split-NER, ACL 2023): train 38,721, dev 6,322 and test
  9,837 sentences. Any corpus of three column files can take its place.
  """

  SOURCE = Source(
    corpus="ctireports",
    files={split: SourceFile(f"{split}.tsv") for split in SPLIT_NAMES},
    sentences={"train": 38_721, "dev": 6_322, "test": 9_837},
    types=8,
  )
