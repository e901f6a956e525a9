"""BioNLP 2013 Cancer Genetics, physical entities."""

from splitner_jax.data.corpora.columns_builder import ColumnsBuilder
from splitner_jax.data.corpora.sources import Source, SourceFile


class Bionlp13cg(ColumnsBuilder):
  """PubMed abstracts on cancer with sixteen types of physical entities.

  Pyysalo, Ohta and Ananiadou, 2013; sentences and BIO tags of the collection
  of Crichton, Pyysalo, Chiu and Korhonen, 2017. Train 3,033, dev 1,003 and
  test 1,906 sentences.
  """

  HOMEPAGE = "https://github.com/cambridgeltl/MTL-Bioinformatics-2016"
  LICENSE = "annotations CC BY-SA 3.0 (NaCTeM); abstracts under PubMed's terms"
  SOURCE = Source(
    corpus="bionlp13cg",
    url=(
      "https://raw.githubusercontent.com/cambridgeltl/MTL-Bioinformatics-2016/"
      "df0df02fae6dbb87d88ffcf323b9096528f06f84/data/BioNLP13CG-IOB"
    ),
    files={
      "train": SourceFile(
        "train.tsv",
        "016ee311428431433c46ceeebeba5fce9c3da9bfd05fafcc484e57a736ea91e7",
      ),
      "dev": SourceFile(
        "devel.tsv",
        "6c834f3a16ed080940e7e12d831ca8f79458d08db5d6f0c1fdbfe85c3c7a072c",
      ),
      "test": SourceFile(
        "test.tsv",
        "9ee374ba1b93af177ba3d39dfda4c7e1602bd703d8011bae46a34f3d719cd338",
      ),
    },
  )
