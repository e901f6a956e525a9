"""WNUT 2017, emerging and rare entities in social media."""

from splitner_jax.data.corpora.columns_builder import ColumnsBuilder
from splitner_jax.data.corpora.sources import Source, SourceFile


class Wnut17(ColumnsBuilder):
  """Tweets, comments and posts with six types of entities, many of them new.

  Derczynski, Nichols, van Erp and Limsopatham, 2017. Train 3,394, dev 1,009
  and test 1,287 sentences.
  """

  HOMEPAGE = "https://github.com/leondz/emerging_entities_17"
  LICENSE = "CC BY 4.0"
  SOURCE = Source(
    corpus="wnut17",
    url=(
      "https://raw.githubusercontent.com/leondz/emerging_entities_17/"
      "e52a2d2a71ac1a051ca2d532eef28653c5c02603"
    ),
    files={
      "train": SourceFile(
        "wnut17train.conll",
        "731820e13f71af324c6b55a1575ec2ce59fbaa2a0806f8f0400b98d56cd6a7a5",
      ),
      "dev": SourceFile(
        "emerging.dev.conll",
        "e053b752b8155113ca66e7db08af5f2f5f43ab993694e4774f1ec5bad42312d8",
      ),
      "test": SourceFile(
        "emerging.test.annotated",
        "2aa79b764e56ec9264a1b30fdd9b70195bd00ff400b62edd8f399d5f13c178f0",
      ),
    },
  )
