"""BioNLP 2013 Cancer Genetics: 3,033 sentences of abstracts, 16 types.

    splitner train --config=configs/bionlp13cg.py

With --config.backbone=minilm --config.epochs=3 --config.learning_rate=1e-4:
about half an hour on 2 CPU cores, F1 about 79 over all test sentences.

SciBERT, the paper's backbone, publishes its weights as `pytorch_model.bin`.
"""

from splitner_jax.experiment import default_config


def get_config(variant: str | None = None):
  config = default_config.get_config()
  config.data.name = "bionlp13cg"
  config.backbone = "allenai/scibert_scivocab_uncased"
  return default_config.with_variant(config, variant)
