"""BERT and RoBERTa encoders.

Shape suffixes: T tokens of a batch, R rows of a group, L tokens of a row, H
hidden size, N attention heads, K size of one head (N * K = H), F feed-forward
size.

A batch is packed (see `inputs.packing`): everything runs over its T tokens flat
but attention, which runs over each group of rows of one length. Nothing but
`attention_biases` knows which tokens belong together.

One module serves both families: RoBERTa differs only in where its positions
start and in having a single token type. The layers are post-norm, as published
(Devlin et al. 2019, Liu et al. 2019).
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax
from flax import linen as nn
from jax import numpy as jnp

from splitner_jax.inputs.packing import Layout

Batch = Mapping[str, jax.Array]

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


def group_rows(x_T: jax.Array, layout: Layout) -> list[jax.Array]:
  """Splits tokens into the rows of each group: [T, ...] to [R, L, ...]."""
  groups, start = [], 0
  for rows, length in layout:
    part = jax.lax.slice_in_dim(x_T, start, start + rows * length)
    groups.append(part.reshape(rows, length, *x_T.shape[1:]))
    start += rows * length
  return groups


def attention_biases(
  segments_T: jax.Array, parts_T: jax.Array, layout: Layout
) -> list[jax.Array]:
  """What is added to the attention scores of each group, float32[R, 1, L, L].

  0 where token i sees token j, else the lowest number: they have to be of the
  same segment, and j of part 0 or of the part of i.
  """
  lowest = jnp.finfo(jnp.float32).min
  biases = []
  for segments_RxL, parts_RxL in zip(
    group_rows(segments_T, layout), group_rows(parts_T, layout), strict=True
  ):
    same_RxLxL = segments_RxL[:, :, None] == segments_RxL[:, None, :]
    parts_Rx1xL = parts_RxL[:, None, :]
    open_RxLxL = (parts_Rx1xL == 0) | (parts_Rx1xL == parts_RxL[:, :, None])
    biases.append(jnp.where(same_RxLxL & open_RxLxL, 0.0, lowest)[:, None])
  return biases


class Attention(nn.Module):
  """Multi-head self-attention, up to and including its output projection."""

  config: EncoderConfig

  @nn.compact
  def __call__(
    self,
    hidden_TxH: jax.Array,
    biases: Sequence[jax.Array],
    layout: Layout,
    deterministic: bool,
  ) -> jax.Array:
    cfg = self.config
    head_size = cfg.hidden_size // cfg.num_heads
    dropout = Dropout(cfg.attention_dropout)

    def heads(name: str) -> list[jax.Array]:
      x_TxH = _dense(cfg, cfg.hidden_size, name)(hidden_TxH)
      x_TxNxK = x_TxH.reshape(-1, cfg.num_heads, head_size)
      # Head axis first: batched matrix products on contiguous blocks.
      return [x.transpose(0, 2, 1, 3) for x in group_rows(x_TxNxK, layout)]

    mixed = []
    for query_RxNxLxK, key_RxNxLxK, value_RxNxLxK, bias_Rx1xLxL in zip(
      heads("query"), heads("key"), heads("value"), biases, strict=True
    ):
      scores_RxNxLxL = jnp.einsum(
        "rnqk,rnlk->rnql",
        query_RxNxLxK * (head_size**-0.5),
        key_RxNxLxK,
        preferred_element_type=jnp.float32,
      )
      weights_RxNxLxL = jax.nn.softmax(scores_RxNxLxL + bias_Rx1xLxL, axis=-1)
      weights_RxNxLxL = dropout(
        weights_RxNxLxL.astype(cfg.dtype), deterministic
      )
      mixed_RxNxLxK = jnp.einsum(
        "rnql,rnlk->rnqk", weights_RxNxLxL, value_RxNxLxK
      )
      mixed.append(
        mixed_RxNxLxK.transpose(0, 2, 1, 3).reshape(-1, cfg.hidden_size)
      )
    return _dense(cfg, cfg.hidden_size, "output")(jnp.concatenate(mixed))


class Layer(nn.Module):
  """One post-norm transformer layer."""

  config: EncoderConfig

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
    x_TxF = _dense(cfg, cfg.intermediate_size, "intermediate")(hidden_TxH)
    x_TxF = ACTIVATIONS[cfg.activation](x_TxF)
    x_TxH = _dense(cfg, cfg.hidden_size, "output")(x_TxF)
    return LayerNorm(cfg.layer_norm_eps, name="output_norm")(
      hidden_TxH + dropout(x_TxH, deterministic)
    )


class Encoder(nn.Module):
  """The transformer: token ids to the hidden states of its last layer."""

  config: EncoderConfig

  @nn.compact
  def __call__(
    self, batch: Batch, layout: Layout, deterministic: bool = True
  ) -> jax.Array:
    """Encodes a packed batch.

    Args:
      batch: int32[T] each: `input_ids`; `token_types` 0 or 1, ignored by models
        with one token type; `positions` below `config.max_length`, since a
        gather beyond a table raises nothing; `segments` and `parts` as in
        `attention_biases`.
      layout: the rows of the T tokens.
      deterministic: whether dropout is off; if not, the rng stream "dropout"
        is needed.

    Returns:
      `config.dtype`[T, H].
    """
    cfg = self.config
    hidden_TxH = Embeddings(cfg, name="embeddings")(
      batch["input_ids"],
      batch["token_types"],
      batch["positions"],
      deterministic,
    )
    biases = attention_biases(batch["segments"], batch["parts"], layout)
    for i in range(cfg.num_layers):
      hidden_TxH = Layer(cfg, name=f"layer_{i}")(
        hidden_TxH, biases, layout, deterministic
      )
    return hidden_TxH


class Pooler(nn.Module):
  """BERT's pooled output: tanh of a linear of one hidden state."""

  config: EncoderConfig

  @nn.compact
  def __call__(self, hidden_MxH: jax.Array) -> jax.Array:
    dense = _dense(self.config, self.config.hidden_size, "dense")
    return jnp.tanh(dense(hidden_MxH))
