"""ELECTRA: BERT's table, and a projection of the embeddings."""

import re

from splitner_jax.inputs.tokenizer import PairStyle
from splitner_jax.models.electra import ElectraConfig
from splitner_jax.pretrained import bert
from splitner_jax.pretrained.entries import WeightMapping, linear
from splitner_jax.pretrained.family import ConfigFields, Family


def _read(fields: ConfigFields, dtype: str) -> ElectraConfig:
  return ElectraConfig(
    **bert.read_fields(fields),
    embedding_size=fields.size("embedding_size", 128),
    dtype=dtype,
  )


def _entries(num_layers: int) -> list[WeightMapping]:
  return [
    *bert.entries(num_layers),
    *linear("encoder/projection", "embeddings_project"),
  ]


ELECTRA = Family(
  name="electra",
  architecture="ElectraModel",
  config=ElectraConfig,
  read=_read,
  pairs=PairStyle(),
  entries=_entries,
  prefix="electra.",
  spellings=((re.compile(r"^electra\."), ""), *bert.NORM_SPELLINGS),
  unused=(
    *bert.BUFFERS,
    "discriminator_predictions.",
    "generator_predictions.",
    "generator_lm_head.",
  ),
)
