"""The corpus that a config describes."""

from ml_collections import ConfigDict

from splitner_jax.data import check, corpora
from splitner_jax.data.corpora import finer_types


def load_corpus(data: ConfigDict) -> corpora.Corpus:
  """What `config.data` describes: a corpus by its name, or files; or a part.

  Raises:
    UserError: see `corpora.load` and `corpora.from_files`.
  """
  if data.name == "files":
    corpus = corpora.from_files(
      data.train,
      data.dev,
      data.test,
      dev_fraction=data.dev_fraction,
      tag_column=data.tag_column,
      word_column=data.word_column,
      pos_column=data.pos_column,
    )
  else:
    corpus = corpora.load(data.name, data.dir)
  if data.split_types:
    corpus = finer_types.by_length(corpus)
  return corpus.limited(data.limit) if data.limit else corpus


def check_data(config: ConfigDict) -> str:
  """Reads the corpus and says what is in it; see `data.check`."""
  data = config.data
  return check.check(
    load_corpus(data),
    tag_column=data.tag_column,
    word_column=data.word_column,
  )
