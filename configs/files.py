"""One's own files, columns or JSONL, on any backbone:

    splitner train --train=train.tsv --dev=dev.tsv

does without a config, for this one is in the package; here it takes variants:

    splitner train --config=configs/files.py:single_seqtag \\
      --train=train.tsv --dev=dev.tsv
"""

from splitner_jax.experiment.files_config import get_config

__all__ = ["get_config"]
