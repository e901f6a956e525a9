"""BERT and RoBERTa encoders.

One module serves both families: RoBERTa differs only in where its positions
start and in having a single token type. The layers are post-norm, as published
(Devlin et al. 2019, Liu et al. 2019).

Shape suffixes as in `transformer`.
"""

import dataclasses
from collections.abc import Sequence

import jax
from flax import linen as nn
from jax import numpy as jnp

from splitner_jax.inputs.packing import Layout
from splitner_jax.models import transformer
from splitner_jax.models.transformer import (
  ACTIVATIONS,
  Batch,
  Dropout,
  EncoderConfig,
  LayerNorm,
  attend,
  attention_biases,
  dense,
  layer_type,
  normal_init,
)


@dataclasses.dataclass(frozen=True)
class BertConfig(EncoderConfig):
  """Sizes and rates of a BERT or RoBERTa.

  Attributes:
    position_offset: index of the first position (RoBERTa: 2, BERT: 0).
  """

  type_vocab_size: int = 2
  position_offset: int = 0
  family: str = "bert"

  @property
  def max_length(self) -> int:
    return self.max_positions - self.position_offset

  def module(self, name: str | None = None) -> transformer.Encoder:
    return Encoder(self, name=name)


class Embeddings(nn.Module):
  """Sum of word, position and token-type embeddings, normalised."""

  config: BertConfig

  @nn.compact
  def __call__(
    self,
    ids_T: jax.Array,
    types_T: jax.Array,
    positions_T: jax.Array,
    deterministic: bool,
  ) -> jax.Array:
    cfg = self.config

    def table(name: str, rows: int) -> jax.Array:
      return self.param(name, normal_init, (rows, cfg.hidden_size))

    word = table("word", cfg.vocab_size)
    position = table("position", cfg.max_positions)
    token_type = table("token_type", cfg.type_vocab_size)
    if cfg.type_vocab_size == 1:
      type_TxH = token_type[:1]
    else:
      # Selecting between two rows is cheaper than gathering, both ways.
      second = (types_T == 1)[:, None]
      type_TxH = jnp.where(second, token_type[1:2], token_type[:1])
    position_TxH = position[positions_T + cfg.position_offset]
    hidden_TxH = word[ids_T] + position_TxH + type_TxH
    hidden_TxH = LayerNorm(cfg.layer_norm_eps, name="norm")(hidden_TxH)
    hidden_TxH = hidden_TxH.astype(cfg.dtype)
    return Dropout(cfg.hidden_dropout)(hidden_TxH, deterministic)


class Attention(nn.Module):
  """Multi-head self-attention, up to and including its output projection."""

  config: BertConfig

  @nn.compact
  def __call__(
    self,
    hidden_TxH: jax.Array,
    biases: Sequence[jax.Array],
    layout: Layout,
    deterministic: bool,
  ) -> jax.Array:
    cfg = self.config
    dropout = Dropout(cfg.attention_dropout)

    def heads(name: str) -> jax.Array:
      x_TxH = dense(cfg, cfg.hidden_size, name)(hidden_TxH)
      return x_TxH.reshape(-1, cfg.num_heads, cfg.hidden_size // cfg.num_heads)

    mixed_TxH = attend(
      heads("query"),
      heads("key"),
      heads("value"),
      biases,
      layout,
      lambda weights: dropout(weights, deterministic),
    )
    return dense(cfg, cfg.hidden_size, "output")(mixed_TxH)


class Layer(nn.Module):
  """One post-norm transformer layer."""

  config: BertConfig

  @nn.compact
  def __call__(
    self,
    hidden_TxH: jax.Array,
    biases: Sequence[jax.Array],
    layout: Layout,
    deterministic: bool,
  ) -> jax.Array:
    cfg = self.config
    dropout = Dropout(cfg.hidden_dropout)
    x_TxH = Attention(cfg, name="attention")(
      hidden_TxH, biases, layout, deterministic
    )
    hidden_TxH = LayerNorm(cfg.layer_norm_eps, name="attention_norm")(
      hidden_TxH + dropout(x_TxH, deterministic)
    )
    x_TxF = dense(cfg, cfg.intermediate_size, "intermediate")(hidden_TxH)
    x_TxF = ACTIVATIONS[cfg.activation](x_TxF)
    x_TxH = dense(cfg, cfg.hidden_size, "output")(x_TxF)
    return LayerNorm(cfg.layer_norm_eps, name="output_norm")(
      hidden_TxH + dropout(x_TxH, deterministic)
    )


class Encoder(transformer.Encoder):
  """Embeddings, then the layers; see `transformer.Encoder`."""

  config: BertConfig

  @nn.compact
  def __call__(
    self, batch: Batch, layout: Layout, deterministic: bool = True
  ) -> jax.Array:
    cfg = self.config
    hidden_TxH = Embeddings(cfg, name="embeddings")(
      batch["input_ids"],
      batch["token_types"],
      batch["positions"],
      deterministic,
    )
    biases = attention_biases(batch["segments"], batch["parts"], layout)
    for i in range(cfg.num_layers):
      hidden_TxH = layer_type(cfg, Layer)(cfg, name=f"layer_{i}")(
        hidden_TxH, biases, layout, deterministic
      )
    return hidden_TxH
