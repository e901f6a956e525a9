"""The families of backbones; each is a module of its own."""

from splitner_jax.pretrained.bert import BERT, ROBERTA
from splitner_jax.pretrained.electra import ELECTRA
from splitner_jax.pretrained.family import Family
from splitner_jax.pretrained.modernbert import MODERNBERT
from splitner_jax.pretrained.t5 import T5

FAMILIES: dict[str, Family] = {
  family.name: family
  for family in (
    BERT,
    ROBERTA,
    ELECTRA,
    MODERNBERT,
    T5,
  )
}
"""By the name of each, the published `model_type`."""
