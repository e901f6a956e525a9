"""CTIReports, threat intelligence: 38,721 sentences to train, 8 types.

    python -m splitner_jax.main --config=configs/ctireports.py \\
      --config.data.dir=FOLDER

The corpus is not public: the folder holds train.tsv, dev.tsv and test.tsv of
one's own copy.
"""

from configs import common


def get_config(variant: str | None = None):
  config = common.get_config()
  config.data.name = "ctireports"
  return common.with_variant(config, variant)
