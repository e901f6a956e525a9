"""One's own files, columns or JSONL, on any backbone:

    python -m splitner_jax.main --config=configs/files.py \\
      --config.data.train=train.tsv --config.data.dev=dev.tsv

Add --check to see what is in the files before training.
"""

from configs import common


def get_config(variant: str | None = None):
  config = common.get_config()
  config.backbone = "minilm"
  return common.with_variant(config, variant)
