"""T5's encoder: its config, and its table; the decoder is left out."""

from splitner_jax.inputs.tokenizer import PairStyle
from splitner_jax.models.t5 import T5Config
from splitner_jax.pretrained.entries import (
  WeightMapping,
  embedding,
  linear,
  norm,
)
from splitner_jax.pretrained.family import ConfigFields, Family

# The activation, and whether it is a gate, by their name in config.json.
_FEED_FORWARD = {"relu": ("relu", False), "gated-gelu": ("gelu_new", True)}


def _read(fields: ConfigFields, dtype: str) -> T5Config:
  feed_forward = fields.get("feed_forward_proj", "relu")
  if feed_forward not in _FEED_FORWARD:
    fields.refuse("feed_forward_proj", f"one of {', '.join(_FEED_FORWARD)}")
  activation, gated = _FEED_FORWARD[feed_forward]
  rate = fields.rate("dropout_rate", 0.1)
  config = T5Config(
    vocab_size=fields.size("vocab_size"),
    hidden_size=fields.size("d_model"),
    num_layers=fields.size("num_layers"),
    num_heads=fields.size("num_heads"),
    intermediate_size=fields.size("d_ff"),
    # Distances have no end; this is how long inputs were in the pretraining,
    # unless the name that other families have for it says something else.
    max_positions=fields.size(
      "max_position_embeddings", fields.size("n_positions", 512)
    ),
    layer_norm_eps=fields.rate("layer_norm_epsilon", 1e-6),
    activation=activation,
    hidden_dropout=rate,
    attention_dropout=rate,
    dtype=dtype,
    head_size=fields.size("d_kv", 64),
    gated=gated,
    num_buckets=fields.size("relative_attention_num_buckets", 32),
    max_distance=fields.size("relative_attention_max_distance", 128),
  )
  if config.num_buckets % 4:
    fields.refuse("relative_attention_num_buckets", "a multiple of 4")
  if config.max_distance <= config.num_buckets // 4:
    fields.refuse("relative_attention_max_distance", "more than such buckets")
  return config


def _entries(num_layers: int) -> list[WeightMapping]:
  first = "encoder.block.0.layer.0.SelfAttention"
  table = [
    *embedding("encoder/embeddings/word", "shared"),
    *embedding(
      "encoder/relative_bias/table", f"{first}.relative_attention_bias"
    ),
    *norm("encoder/final_norm", "encoder.final_layer_norm"),
  ]
  for i in range(num_layers):
    ours, foreign = f"encoder/layer_{i}", f"encoder.block.{i}.layer"
    attention, feed_forward = f"{foreign}.0", f"{foreign}.1"
    projections = f"{attention}.SelfAttention"
    dense = f"{feed_forward}.DenseReluDense"
    table += [
      *norm(f"{ours}/attention_norm", f"{attention}.layer_norm"),
      *linear(f"{ours}/attention/query", f"{projections}.q"),
      *linear(f"{ours}/attention/key", f"{projections}.k"),
      *linear(f"{ours}/attention/value", f"{projections}.v"),
      *linear(f"{ours}/attention/output", f"{projections}.o"),
      *norm(f"{ours}/intermediate_norm", f"{feed_forward}.layer_norm"),
      # A model has either the first, or the two that follow.
      *linear(f"{ours}/intermediate", f"{dense}.wi"),
      *linear(f"{ours}/gate", f"{dense}.wi_0"),
      *linear(f"{ours}/gated", f"{dense}.wi_1"),
      *linear(f"{ours}/output", f"{dense}.wo"),
    ]
  return table


T5 = Family(
  name="t5",
  architecture="T5EncoderModel",
  config=T5Config,
  read=_read,
  pairs=PairStyle(second_type=0, prefix_space=True),
  entries=_entries,
  prefix="",
  spellings=(),
  # The first is `shared.` again.
  unused=("encoder.embed_tokens.", "decoder.", "lm_head."),
)
