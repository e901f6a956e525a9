"""ModernBERT encoders: rotary positions, and attention to what is near.

Warner et al. 2024. The layers are pre-norm with a gated feed-forward; every
few of them see the whole segment, the others only what is near. What is near
follows from the tokens' positions, never from their places in a packed row.

Shape suffixes as in `transformer`, and J half the size of one head.
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

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
class ModernBertConfig(EncoderConfig):
  """Sizes and rates of a ModernBERT.

  Attributes:
    global_every: layers 0, n, 2 n and so on see the whole segment.
    local_window: the others see tokens at most so many positions away.
    global_theta, local_theta: base of the rotary frequencies in layers of
      either kind.
    norm_bias, attention_bias, mlp_bias: whether these have biases.
  """

  global_every: int = 3
  local_window: int = 64
  global_theta: float = 160_000.0
  local_theta: float = 10_000.0
  norm_bias: bool = False
  attention_bias: bool = False
  mlp_bias: bool = False
  family: str = "modernbert"
  # The first has no normalisation before its attention.
  distinct_layers: ClassVar[int] = 2

  def module(self, name: str | None = None) -> transformer.Encoder:
    return Encoder(self, name=name)


class View(NamedTuple):
  """What a layer's attention sees, and how it reads positions.

  Attributes:
    biases: of each group, as of `attention_biases`.
    cos, sin: of the rotary angles, float32[T, 1, J].
  """

  biases: Sequence[jax.Array]
  cos: jax.Array
  sin: jax.Array


def local_biases(
  biases: Sequence[jax.Array],
  positions_T: jax.Array,
  layout: Layout,
  window: int,
) -> list[jax.Array]:
  """Attention biases that also close what is more than `window` away."""
  lowest = jnp.finfo(jnp.float32).min
  near = []
  for bias_Rx1xLxL, positions_RxL in zip(
    biases, group_rows(positions_T, layout), strict=True
  ):
    distance_RxLxL = jnp.abs(
      positions_RxL[:, :, None] - positions_RxL[:, None, :]
    )
    is_near_Rx1xLxL = (distance_RxLxL <= window)[:, None]
    near.append(jnp.where(is_near_Rx1xLxL, bias_Rx1xLxL, lowest))
  return near


def rotary_angles(
  positions_T: jax.Array, head_size: int, theta: float
) -> tuple[jax.Array, jax.Array]:
  """Cosine and sine of the rotary angles, float32[T, 1, J]."""
  exponents_J = np.arange(0, head_size, 2, dtype=np.float32) / head_size
  frequencies_J = (1.0 / theta**exponents_J).astype(np.float32)
  angles_TxJ = positions_T.astype(jnp.float32)[:, None] * frequencies_J[None]
  return jnp.cos(angles_TxJ)[:, None], jnp.sin(angles_TxJ)[:, None]


def rotate(x_TxNxK: jax.Array, view: View) -> jax.Array:
  """Turns each pair (i, i + J) of a head by its angle, in float32."""
  a_TxNxJ, b_TxNxJ = jnp.split(x_TxNxK.astype(jnp.float32), 2, axis=-1)
  turned = [
    a_TxNxJ * view.cos - b_TxNxJ * view.sin,
    b_TxNxJ * view.cos + a_TxNxJ * view.sin,
  ]
  return jnp.concatenate(turned, axis=-1).astype(x_TxNxK.dtype)


class Embeddings(nn.Module):
  """Word embeddings, normalised."""

  config: ModernBertConfig

  @nn.compact
  def __call__(self, ids_T: jax.Array, deterministic: bool) -> jax.Array:
    cfg = self.config
    word = self.param("word", normal_init, (cfg.vocab_size, cfg.hidden_size))
    norm = LayerNorm(cfg.layer_norm_eps, cfg.norm_bias, name="norm")
    hidden_TxH = norm(word[ids_T]).astype(cfg.dtype)
    return Dropout(cfg.hidden_dropout)(hidden_TxH, deterministic)


class Attention(nn.Module):
  """Multi-head self-attention, up to and including its output projection."""

  config: ModernBertConfig

  @nn.compact
  def __call__(
    self, x_TxH: jax.Array, view: View, layout: Layout, deterministic: bool
  ) -> jax.Array:
    cfg = self.config
    size, bias = cfg.hidden_size, cfg.attention_bias
    dropout = Dropout(cfg.attention_dropout)
    qkv = dense(cfg, 3 * size, "qkv", bias)(x_TxH)
    query_TxNxK, key_TxNxK, value_TxNxK = (
      x.reshape(-1, cfg.num_heads, size // cfg.num_heads)
      for x in jnp.split(qkv, 3, axis=-1)
    )
    mixed_TxH = attend(
      rotate(query_TxNxK, view),
      rotate(key_TxNxK, view),
      value_TxNxK,
      view.biases,
      layout,
      lambda weights: dropout(weights, deterministic),
    )
    return dropout(dense(cfg, size, "output", bias)(mixed_TxH), deterministic)


class Layer(nn.Module):
  """One pre-norm layer; the first gets normalised embeddings."""

  config: ModernBertConfig
  is_first: bool

  @nn.compact
  def __call__(
    self, hidden_TxH: jax.Array, view: View, layout: Layout, deterministic: bool
  ) -> jax.Array:
    cfg = self.config

    def norm(name: str) -> LayerNorm:
      return LayerNorm(cfg.layer_norm_eps, cfg.norm_bias, name=name)

    x_TxH = hidden_TxH
    if not self.is_first:
      x_TxH = norm("attention_norm")(x_TxH)
    hidden_TxH = hidden_TxH + Attention(cfg, name="attention")(
      x_TxH, view, layout, deterministic
    )
    x_TxH = norm("intermediate_norm")(hidden_TxH)
    both = dense(cfg, 2 * cfg.intermediate_size, "intermediate", cfg.mlp_bias)
    x_TxF, gate_TxF = jnp.split(both(x_TxH), 2, axis=-1)
    x_TxF = ACTIVATIONS[cfg.activation](x_TxF) * gate_TxF
    x_TxF = Dropout(cfg.hidden_dropout)(x_TxF, deterministic)
    output = dense(cfg, cfg.hidden_size, "output", cfg.mlp_bias)
    return hidden_TxH + output(x_TxF)


class Encoder(transformer.Encoder):
  """Embeddings, layers, a last normalisation; see `transformer.Encoder`."""

  config: ModernBertConfig

  @nn.compact
  def __call__(
    self, batch: Batch, layout: Layout, deterministic: bool = True
  ) -> jax.Array:
    cfg = self.config
    positions_T = batch["positions"]
    head_size = cfg.hidden_size // cfg.num_heads
    biases = attention_biases(batch["segments"], batch["parts"], layout)
    everything = View(
      biases, *rotary_angles(positions_T, head_size, cfg.global_theta)
    )
    near = View(
      local_biases(biases, positions_T, layout, cfg.local_window),
      *rotary_angles(positions_T, head_size, cfg.local_theta),
    )
    hidden_TxH = Embeddings(cfg, name="embeddings")(
      batch["input_ids"], deterministic
    )
    for i in range(cfg.num_layers):
      layer = layer_type(cfg, Layer)(cfg, is_first=i == 0, name=f"layer_{i}")
      hidden_TxH = layer(
        hidden_TxH,
        near if i % cfg.global_every else everything,
        layout,
        deterministic,
      )
    return LayerNorm(cfg.layer_norm_eps, cfg.norm_bias, name="final_norm")(
      hidden_TxH
    )
