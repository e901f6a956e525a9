"""BERT and RoBERTa: two families with one encoder and one table."""

import re

from splitner_jax.inputs.tokenizer import PairStyle
from splitner_jax.models.bert import BertConfig
from splitner_jax.pretrained.entries import (
  WeightMapping,
  embedding,
  linear,
  norm,
)
from splitner_jax.pretrained.family import ConfigFields, Family
from splitner_jax.runtime.types import Json


def read_fields(fields: ConfigFields) -> Json:
  """The fields of a `BertConfig`; old files leave out some."""
  fields.expect("position_embedding_type", "absolute")
  fields.expect("is_decoder", False)
  return {
    **fields.sizes(),
    "type_vocab_size": fields.size("type_vocab_size", 2),
    "activation": fields.activation("hidden_act"),
    "layer_norm_eps": fields.rate("layer_norm_eps", 1e-12),
    "hidden_dropout": fields.rate("hidden_dropout_prob", 0.1),
    "attention_dropout": fields.rate("attention_probs_dropout_prob", 0.1),
  }


def _read_bert(fields: ConfigFields, dtype: str) -> BertConfig:
  return BertConfig(**read_fields(fields), dtype=dtype)


def _read_roberta(fields: ConfigFields, dtype: str) -> BertConfig:
  sizes = read_fields(fields)
  padding = fields.get("pad_token_id", 1)
  if type(padding) is not int or padding < 0:
    fields.refuse("pad_token_id", "a token id")
  if padding + 1 >= sizes["max_positions"]:
    fields.refuse("max_position_embeddings", "more than pad_token_id + 1")
  return BertConfig(
    **sizes, dtype=dtype, position_offset=padding + 1, family="roberta"
  )


def _layer(i: int) -> list[WeightMapping]:
  ours, foreign = f"encoder/layer_{i}", f"encoder.layer.{i}"
  attention = f"{foreign}.attention"
  return [
    *linear(f"{ours}/attention/query", f"{attention}.self.query"),
    *linear(f"{ours}/attention/key", f"{attention}.self.key"),
    *linear(f"{ours}/attention/value", f"{attention}.self.value"),
    *linear(f"{ours}/attention/output", f"{attention}.output.dense"),
    *norm(f"{ours}/attention_norm", f"{attention}.output.LayerNorm"),
    *linear(f"{ours}/intermediate", f"{foreign}.intermediate.dense"),
    *linear(f"{ours}/output", f"{foreign}.output.dense"),
    *norm(f"{ours}/output_norm", f"{foreign}.output.LayerNorm"),
  ]


def entries(num_layers: int) -> list[WeightMapping]:
  """The table of an encoder."""
  ours, foreign = "encoder/embeddings", "embeddings"
  return [
    *embedding(f"{ours}/word", f"{foreign}.word_embeddings"),
    *embedding(f"{ours}/position", f"{foreign}.position_embeddings"),
    *embedding(f"{ours}/token_type", f"{foreign}.token_type_embeddings"),
    *norm(f"{ours}/norm", f"{foreign}.LayerNorm"),
    *(entry for i in range(num_layers) for entry in _layer(i)),
  ]


NORM_SPELLINGS = (
  (re.compile(r"LayerNorm\.gamma$"), "LayerNorm.weight"),
  (re.compile(r"LayerNorm\.beta$"), "LayerNorm.bias"),
)
"""Names of the first checkpoints, which were converted from TensorFlow."""

BUFFERS = ("embeddings.position_ids", "embeddings.token_type_ids")

_SPELLINGS = (
  (re.compile(r"^(bert|roberta)\."), ""),
  *NORM_SPELLINGS,
  # The reference's BERT models have this name, its RoBERTa models the other.
  (re.compile(r"^pattern_emb\."), "pattern_cnn."),
)
_UNUSED = (*BUFFERS, "cls.", "lm_head.", "pooler.")

BERT = Family(
  name="bert",
  architecture="BertModel",
  config=BertConfig,
  read=_read_bert,
  pairs=PairStyle(),
  entries=entries,
  prefix="bert.",
  spellings=_SPELLINGS,
  unused=_UNUSED,
  has_pooler=True,
  pattern_cnn="pattern_emb",
)

ROBERTA = Family(
  name="roberta",
  architecture="RobertaModel",
  config=BertConfig,
  read=_read_roberta,
  pairs=PairStyle(separators=2, second_type=0, prefix_space=True),
  entries=entries,
  prefix="roberta.",
  spellings=_SPELLINGS,
  unused=_UNUSED,
  has_pooler=True,
)
