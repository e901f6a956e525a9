"""CTIReports, threat intelligence: 38,721 sentences to train, 8 types.

    splitner train --config=configs/ctireports.py \\
      --config.data.dir=FOLDER

The corpus is not public: the folder holds train.tsv, dev.tsv and test.tsv of
one's own copy.
"""

from splitner_jax.experiment import default_config


def get_config(variant: str | None = None):
  config = default_config.get_config()
  config.data.name = "ctireports"
  return default_config.with_variant(config, variant)
