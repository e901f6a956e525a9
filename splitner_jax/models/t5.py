"""T5 encoders: what lies how far apart is a bias of the attention.

Raffel et al. 2020. The layers are pre-norm, nothing but embeddings and linear
layers has parameters of more than one axis, and nothing has a bias. Positions
count by their differences alone, which come with the tokens as in all families.

Shape suffixes as in `transformer`, with B buckets of distances.
"""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
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
  group_rows,
  layer_type,
  normal_init,
)


@dataclasses.dataclass(frozen=True)
class T5Config(EncoderConfig):
  """Sizes and rates of a T5.

  Attributes:
    head_size: of each attention head; `num_heads` of them need not be as many
      as `hidden_size`.
    gated: whether the activation weights what another linear layer says.
    num_buckets: of distances, half of them to either side.
    max_distance: from which all distances are in the last bucket.
  """

  head_size: int = 64
  gated: bool = False
  num_buckets: int = 32
  max_distance: int = 128
  family: str = "t5"

  def module(self, name: str | None = None) -> transformer.Encoder:
    return Encoder(self, name=name)


def bucket_table(config: T5Config) -> np.ndarray:
  """int32[2 * max_distance + 1]: buckets of the distances from -max_distance.

  Near ones have a bucket each, further ones share them by their logarithm.
  """
  half = config.num_buckets // 2
  near = half // 2
  distances = np.arange(-config.max_distance, config.max_distance + 1)
  # As in torch: in float32, where an edge might be a rounding away.
  far = np.maximum(np.abs(distances), near).astype(np.float32)
  share = np.log(far / np.float32(near)) / np.float32(
    np.log(config.max_distance / near)
  )
  wide = near + (share * np.float32(half - near)).astype(np.int32)
  buckets = np.where(
    np.abs(distances) < near, np.abs(distances), np.minimum(wide, half - 1)
  )
  return (buckets + half * (distances > 0)).astype(np.int32)


class RelativeBias(nn.Module):
  """A number for each head and bucket, the same in all layers."""

  config: T5Config

  @nn.compact
  def __call__(self, positions_T: jax.Array, layout: Layout) -> list[jax.Array]:
    """What is added to the attention scores of each group, [R, N, L, L]."""
    cfg = self.config
    table_BxN = self.param(
      "table", normal_init, (cfg.num_buckets, cfg.num_heads)
    )
    by_distance_NxD = table_BxN[bucket_table(cfg)].T
    biases = []
    for positions_RxL in group_rows(positions_T, layout):
      away_RxLxL = positions_RxL[:, None, :] - positions_RxL[:, :, None]
      most = cfg.max_distance
      places_RxLxL = jnp.clip(away_RxLxL, -most, most) + most
      biases.append(by_distance_NxD[:, places_RxLxL].swapaxes(0, 1))
    return biases


class Embeddings(nn.Module):
  """Of the tokens alone."""

  config: T5Config

  @nn.compact
  def __call__(self, ids_T: jax.Array, deterministic: bool) -> jax.Array:
    cfg = self.config
    word = self.param("word", normal_init, (cfg.vocab_size, cfg.hidden_size))
    hidden_TxH = word[ids_T].astype(cfg.dtype)
    return Dropout(cfg.hidden_dropout)(hidden_TxH, deterministic)


class Attention(nn.Module):
  """Multi-head self-attention, up to and including its output projection."""

  config: T5Config

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
      size = cfg.num_heads * cfg.head_size
      x = dense(cfg, size, name, use_bias=False)(hidden_TxH)
      return x.reshape(-1, cfg.num_heads, cfg.head_size)

    mixed = attend(
      # T5 does not scale the scores.
      heads("query") * cfg.head_size**0.5,
      heads("key"),
      heads("value"),
      biases,
      layout,
      lambda weights: dropout(weights, deterministic),
    )
    return dense(cfg, cfg.hidden_size, "output", use_bias=False)(mixed)


class Layer(nn.Module):
  """One pre-norm transformer layer."""

  config: T5Config

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

    def linear(x: jax.Array, size: int, name: str) -> jax.Array:
      return dense(cfg, size, name, use_bias=False)(x)

    x_TxH = norm(cfg, "attention_norm")(hidden_TxH)
    x_TxH = Attention(cfg, name="attention")(
      x_TxH, biases, layout, deterministic
    )
    hidden_TxH = hidden_TxH + dropout(x_TxH, deterministic)
    x_TxH = norm(cfg, "intermediate_norm")(hidden_TxH)
    x_TxF = linear(
      x_TxH, cfg.intermediate_size, "gate" if cfg.gated else "intermediate"
    )
    x_TxF = ACTIVATIONS[cfg.activation](x_TxF)
    if cfg.gated:
      x_TxF = x_TxF * linear(x_TxH, cfg.intermediate_size, "gated")
    x_TxH = linear(dropout(x_TxF, deterministic), cfg.hidden_size, "output")
    return hidden_TxH + dropout(x_TxH, deterministic)


def norm(config: T5Config, name: str) -> LayerNorm:
  """Normalisation by the root mean square: no mean is taken off, no bias."""
  eps = config.layer_norm_eps
  return LayerNorm(eps, use_bias=False, centred=False, name=name)


class Encoder(transformer.Encoder):
  """Embeddings, then the layers; see `transformer.Encoder`."""

  config: T5Config

  @nn.compact
  def __call__(
    self, batch: Batch, layout: Layout, deterministic: bool = True
  ) -> jax.Array:
    cfg = self.config
    hidden_TxH = Embeddings(cfg, name="embeddings")(
      batch["input_ids"], deterministic
    )
    relative = RelativeBias(cfg, name="relative_bias")
    biases = [
      seen_Rx1xLxL + away_RxNxLxL
      for seen_Rx1xLxL, away_RxNxLxL in zip(
        attention_biases(batch["segments"], batch["parts"], layout),
        relative(batch["positions"], layout),
        strict=True,
      )
    ]
    for i in range(cfg.num_layers):
      hidden_TxH = layer_type(cfg, Layer)(cfg, name=f"layer_{i}")(
        hidden_TxH, biases, layout, deterministic
      )
    hidden_TxH = norm(cfg, "final_norm")(hidden_TxH)
    return Dropout(cfg.hidden_dropout)(hidden_TxH, deterministic)
