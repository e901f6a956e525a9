"""OntoNotes 5.0, English, CoNLL-2012 split: 59,924 sentences, 18 types.

    splitner train --config=configs/ontonotes.py \\
      --config.data.dir=FOLDER

The folder holds the CoNLL-2012 tree (`*gold_conll`), or train.tsv, dev.tsv and
test.tsv; the corpus is licensed by the LDC and cannot be downloaded here.
"""

from splitner_jax.experiment import default_config


def get_config(variant: str | None = None):
  config = default_config.get_config()
  config.data.name = "ontonotes5"
  config.backbone = "roberta-base"
  config.max_length = 512
  return default_config.with_variant(config, variant)
