"""ModernBERT: its config in both published forms, and its table."""

import re
from collections.abc import Mapping

from splitner_jax.inputs.tokenizer import PairStyle
from splitner_jax.models.modernbert import ModernBertConfig
from splitner_jax.pretrained.entries import (
  WeightMapping,
  embedding,
  linear,
  norm,
)
from splitner_jax.pretrained.family import ConfigFields, Family
from splitner_jax.runtime.types import Json

_GLOBAL, _LOCAL = "full_attention", "sliding_attention"


def _global_every(fields: ConfigFields, num_layers: int) -> int:
  """How often a layer sees everything; newer files list each layer's kind."""
  listed = fields.get("layer_types")
  if listed is None:
    return fields.size("global_attn_every_n_layers", 3)
  for n in range(1, num_layers + 1):
    if listed == [_LOCAL if i % n else _GLOBAL for i in range(num_layers)]:
      return n
  fields.refuse("layer_types", f"{_GLOBAL} every so many layers from the first")


def _theta(fields: ConfigFields, kind: str, old: str, default: float) -> float:
  """The base of the rotary frequencies of one kind of layer."""
  kinds = fields.get("rope_parameters") or {}
  given = kinds.get(kind) or {} if isinstance(kinds, Mapping) else None
  if not isinstance(given, Mapping) or (
    given.get("rope_type", "default") != "default"
  ):
    fields.refuse("rope_parameters", "of the type default")
  key = "rope_parameters" if "rope_theta" in given else old
  value = given.get("rope_theta", fields.get(old, default))
  if type(value) not in (int, float) or value <= 0:
    fields.refuse(key, "a positive number")
  return value


def _read(fields: ConfigFields, dtype: str) -> ModernBertConfig:
  fields.expect("rope_scaling", None)
  sizes: Json = {**fields.sizes()}
  if sizes["hidden_size"] % (2 * sizes["num_heads"]):
    fields.refuse("hidden_size", "an even multiple of num_attention_heads")
  return ModernBertConfig(
    **sizes,
    activation=fields.activation("hidden_activation"),
    layer_norm_eps=fields.rate("norm_eps", 1e-5),
    # Training sets both; there is no third for the embeddings.
    hidden_dropout=fields.rate("mlp_dropout", 0.0),
    attention_dropout=fields.rate("attention_dropout", 0.0),
    dtype=dtype,
    global_every=_global_every(fields, sizes["num_layers"]),
    local_window=fields.size("local_attention", 128) // 2,
    global_theta=_theta(fields, _GLOBAL, "global_rope_theta", 160_000.0),
    local_theta=_theta(fields, _LOCAL, "local_rope_theta", 10_000.0),
    norm_bias=fields.flag("norm_bias", False),
    attention_bias=fields.flag("attention_bias", False),
    mlp_bias=fields.flag("mlp_bias", False),
  )


def _entries(num_layers: int) -> list[WeightMapping]:
  table = [
    *embedding("encoder/embeddings/word", "embeddings.tok_embeddings"),
    *norm("encoder/embeddings/norm", "embeddings.norm"),
    *norm("encoder/final_norm", "final_norm"),
  ]
  for i in range(num_layers):
    ours, foreign = f"encoder/layer_{i}", f"layers.{i}"
    table += [
      *norm(f"{ours}/attention_norm", f"{foreign}.attn_norm"),
      *linear(f"{ours}/attention/qkv", f"{foreign}.attn.Wqkv"),
      *linear(f"{ours}/attention/output", f"{foreign}.attn.Wo"),
      *norm(f"{ours}/intermediate_norm", f"{foreign}.mlp_norm"),
      *linear(f"{ours}/intermediate", f"{foreign}.mlp.Wi"),
      *linear(f"{ours}/output", f"{foreign}.mlp.Wo"),
    ]
  return table


MODERNBERT = Family(
  name="modernbert",
  architecture="ModernBertModel",
  config=ModernBertConfig,
  read=_read,
  pairs=PairStyle(second_type=0, prefix_space=True),
  entries=_entries,
  prefix="model.",
  spellings=((re.compile(r"^model\."), ""),),
  unused=("head.", "decoder."),
)
