"""OntoNotes 5.0, English, CoNLL-2012 split: 59,924 sentences, 18 types.

    python -m splitner_jax.main --config=configs/ontonotes.py \\
      --config.data.dir=FOLDER

The folder holds the CoNLL-2012 tree (`*gold_conll`), or train.tsv, dev.tsv and
test.tsv; the corpus is licensed by the LDC and cannot be downloaded here.
"""

from configs import common


def get_config(variant: str | None = None):
  config = common.get_config()
  config.data.name = "ontonotes5"
  config.backbone = "roberta-base"
  config.max_length = 512
  return common.with_variant(config, variant)
