"""BERT and RoBERTa encoders.

Shape suffixes: B sequences of a batch, L tokens of a sequence, H hidden size,
N attention heads, K size of one head (N * K = H), F feed-forward size.

One module serves both families: RoBERTa differs only in where its positions
start and in having a single token type. The layers are post-norm, as published
(Devlin et al. 2019, Liu et al. 2019).
"""

import dataclasses
from collections.abc import Callable

import jax
from flax import linen as nn
from jax import numpy as jnp

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
  "gelu": lambda x: jax.nn.gelu(x, approximate=False),
  "gelu_new": lambda x: jax.nn.gelu(x, approximate=True),
  "relu": jax.nn.relu,
}

# The reference and BERT start every new linear and embedding like this.
normal_init = nn.initializers.normal(0.02)


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
  """Sizes and rates of an encoder, under our own names.

  Attributes:
    position_offset: index of the first position (RoBERTa: 2, BERT: 0).
    dtype: dtype of the computation; parameters are always float32, and so are
      softmax, normalisation statistics and everything after the last layer.
  """

  vocab_size: int
  hidden_size: int
  num_layers: int
  num_heads: int
  intermediate_size: int
  max_positions: int
  type_vocab_size: int
  layer_norm_eps: float = 1e-12
  activation: str = "gelu"
  hidden_dropout: float = 0.1
  attention_dropout: float = 0.1
  position_offset: int = 0
  dtype: str = "float32"

  @property
  def max_length(self) -> int:
    """The longest sequence that has positions."""
    return self.max_positions - self.position_offset


class Dropout(nn.Module):
  """Dropout from 16 random bits per element.

  Half the random bits of `nn.Dropout`: drawing them is a visible part of a
  training step on CPU. The rate is exact to 2**-17.
  """

  rate: float

  @nn.compact
  def __call__(self, x: jax.Array, deterministic: bool) -> jax.Array:
    if deterministic or self.rate == 0.0:
      return x
    bits = jax.random.bits(self.make_rng("dropout"), x.shape, jnp.uint16)
    keep = bits >= jnp.uint16(round(self.rate * 65536))
    return jnp.where(keep, x / (1.0 - self.rate), jnp.zeros((), x.dtype))


class LayerNorm(nn.Module):
  """Layer normalisation over the last axis, statistics in float32."""

  eps: float

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
    bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
    y = x.astype(jnp.float32)
    y = y - jnp.mean(y, axis=-1, keepdims=True)
    y = y * jax.lax.rsqrt(jnp.mean(y * y, axis=-1, keepdims=True) + self.eps)
    shape = (1,) * (x.ndim - 1) + (-1,)
    return (y * scale.reshape(shape) + bias.reshape(shape)).astype(x.dtype)


def _dense(config: EncoderConfig, features: int, name: str) -> nn.Dense:
  return nn.Dense(
    features, dtype=config.dtype, kernel_init=normal_init, name=name
  )


class Embeddings(nn.Module):
  """Sum of word, position and token-type embeddings, normalised."""

  config: EncoderConfig

  @nn.compact
  def __call__(
    self, ids_BxL: jax.Array, types_BxL: jax.Array, deterministic: bool
  ) -> jax.Array:
    cfg = self.config

    def table(name: str, rows: int) -> jax.Array:
      return self.param(name, normal_init, (rows, cfg.hidden_size))

    word = table("word", cfg.vocab_size)
    position = table("position", cfg.max_positions)
    token_type = table("token_type", cfg.type_vocab_size)
    length = ids_BxL.shape[1]
    # A slice, not a gather: its gradient is a pad, not a scatter.
    position_LxH = position[cfg.position_offset : cfg.position_offset + length]
    if cfg.type_vocab_size == 1:
      type_BxLxH = token_type[None, :1]
    else:
      # Selecting between two rows is cheaper than gathering, both ways.
      second = (types_BxL == 1)[..., None]
      type_BxLxH = jnp.where(
        second, token_type[None, 1:2], token_type[None, :1]
      )
    hidden_BxLxH = word[ids_BxL] + position_LxH[None] + type_BxLxH
    hidden_BxLxH = LayerNorm(cfg.layer_norm_eps, name="norm")(hidden_BxLxH)
    hidden_BxLxH = hidden_BxLxH.astype(cfg.dtype)
    return Dropout(cfg.hidden_dropout)(hidden_BxLxH, deterministic)


class Attention(nn.Module):
  """Multi-head self-attention, up to and including its output projection."""

  config: EncoderConfig

  @nn.compact
  def __call__(
    self, hidden_BxLxH: jax.Array, bias_Bx1x1xL: jax.Array, deterministic: bool
  ) -> jax.Array:
    cfg = self.config
    head_size = cfg.hidden_size // cfg.num_heads

    def heads(name: str) -> jax.Array:
      x_BxLxH = _dense(cfg, cfg.hidden_size, name)(hidden_BxLxH)
      x_BxLxNxK = x_BxLxH.reshape(*x_BxLxH.shape[:2], cfg.num_heads, head_size)
      # Head axis first: batched matrix products on contiguous blocks.
      return x_BxLxNxK.transpose(0, 2, 1, 3)

    query_BxNxLxK, key_BxNxLxK = heads("query"), heads("key")
    value_BxNxLxK = heads("value")
    query_BxNxLxK = query_BxNxLxK * (head_size**-0.5)
    scores_BxNxLxL = jnp.einsum(
      "bnqk,bnlk->bnql",
      query_BxNxLxK,
      key_BxNxLxK,
      preferred_element_type=jnp.float32,
    )
    weights_BxNxLxL = jax.nn.softmax(scores_BxNxLxL + bias_Bx1x1xL, axis=-1)
    weights_BxNxLxL = weights_BxNxLxL.astype(cfg.dtype)
    weights_BxNxLxL = Dropout(cfg.attention_dropout)(
      weights_BxNxLxL, deterministic
    )
    mixed_BxNxLxK = jnp.einsum(
      "bnql,bnlk->bnqk", weights_BxNxLxL, value_BxNxLxK
    )
    mixed_BxLxH = mixed_BxNxLxK.transpose(0, 2, 1, 3).reshape(
      hidden_BxLxH.shape
    )
    return _dense(cfg, cfg.hidden_size, "output")(mixed_BxLxH)


class Layer(nn.Module):
  """One post-norm transformer layer."""

  config: EncoderConfig

  @nn.compact
  def __call__(
    self, hidden_BxLxH: jax.Array, bias_Bx1x1xL: jax.Array, deterministic: bool
  ) -> jax.Array:
    cfg = self.config
    dropout = Dropout(cfg.hidden_dropout)
    x_BxLxH = Attention(cfg, name="attention")(
      hidden_BxLxH, bias_Bx1x1xL, deterministic
    )
    hidden_BxLxH = LayerNorm(cfg.layer_norm_eps, name="attention_norm")(
      hidden_BxLxH + dropout(x_BxLxH, deterministic)
    )
    x_BxLxF = _dense(cfg, cfg.intermediate_size, "intermediate")(hidden_BxLxH)
    x_BxLxF = ACTIVATIONS[cfg.activation](x_BxLxF)
    x_BxLxH = _dense(cfg, cfg.hidden_size, "output")(x_BxLxF)
    return LayerNorm(cfg.layer_norm_eps, name="output_norm")(
      hidden_BxLxH + dropout(x_BxLxH, deterministic)
    )


class Encoder(nn.Module):
  """The transformer: token ids to the hidden states of its last layer."""

  config: EncoderConfig

  @nn.compact
  def __call__(
    self,
    input_ids: jax.Array,
    token_types: jax.Array,
    mask: jax.Array,
    deterministic: bool = True,
  ) -> jax.Array:
    """Encodes a batch.

    Args:
      input_ids: int32[B, L] ids of the vocabulary; L at most
        `config.max_length`, since a gather beyond a table raises nothing.
      token_types: int32[B, L] 0 or 1; ignored by models with one token type.
      mask: bool[B, L] which tokens are real.
      deterministic: whether dropout is off; if not, the rng stream "dropout"
        is needed.

    Returns:
      `config.dtype`[B, L, H].

    Raises:
      ValueError: if L is more than the model has positions for.
    """
    cfg = self.config
    if input_ids.shape[1] > cfg.max_length:
      raise ValueError(
        f"{input_ids.shape[1]} tokens, but the model has positions for "
        f"{cfg.max_length}"
      )
    hidden_BxLxH = Embeddings(cfg, name="embeddings")(
      input_ids, token_types, deterministic
    )
    lowest = jnp.finfo(jnp.float32).min
    bias_Bx1x1xL = jnp.where(mask, 0.0, lowest)[:, None, None, :]
    for i in range(cfg.num_layers):
      hidden_BxLxH = Layer(cfg, name=f"layer_{i}")(
        hidden_BxLxH, bias_Bx1x1xL, deterministic
      )
    return hidden_BxLxH


class Pooler(nn.Module):
  """BERT's pooled output: tanh of a linear of the first token."""

  config: EncoderConfig

  @nn.compact
  def __call__(self, hidden_BxLxH: jax.Array) -> jax.Array:
    return jnp.tanh(
      _dense(self.config, self.config.hidden_size, "dense")(hidden_BxLxH[:, 0])
    )
