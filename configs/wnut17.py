"""WNUT 2017 emerging entities: 3,394 tweets and posts to train, 6 types.

python -m splitner_jax.main --config=configs/wnut17.py

With --config.backbone=minilm --config.epochs=3 --config.learning_rate=1e-4:
about 10 minutes on 2 CPU cores, F1 41.5 and 43.2 over all test
sentences (seeds 0 and 1).
"""

from configs import common


def get_config(variant: str | None = None):
  config = common.get_config()
  config.data.name = "wnut17"
  return common.with_variant(config, variant)
