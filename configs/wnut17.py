"""WNUT 2017 emerging entities: 3,394 tweets and posts to train, 6 types.

splitner train --config=configs/wnut17.py

With the small backbone, `configs/wnut17.py:minilm`: about 10 minutes on 2
CPU cores, F1 about 47 over all test sentences; :single_seqtag,minilm with
--config.epochs=6 takes as long and is as good (results/budget-wnut17.md).
"""

from splitner_jax.experiment import default_config


def get_config(variant: str | None = None):
  config = default_config.get_config()
  config.data.name = "wnut17"
  return default_config.with_variant(config, variant)
