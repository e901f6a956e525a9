"""What the encoders of all families have in common.

Shape suffixes: T tokens of a batch, R rows of a group, L tokens of a row, H
hidden size, N attention heads, K size of one head (N * K = H), F feed-forward
size.

A batch is packed (see `inputs.packing`): everything runs over its T tokens flat
but attention, which runs over each group of rows of one length. Nothing but the
attention biases knows which tokens belong together.

A family is a module like `bert`, with a config of its own that makes its
encoder; nothing else here names one.
"""

import abc
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, TypeVar

import jax
from flax import linen as nn
from jax import numpy as jnp
from jax.extend import random as jax_random

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
class EncoderConfig(abc.ABC):
  """Sizes and rates of an encoder, under our own names.

  A family adds fields, and `family`: its name in `pretrained.families`.

  Attributes:
    hidden_dropout: of embeddings, of what a layer adds, and above the encoder.
    dtype: dtype of the computation; parameters are always float32, and so are
      softmax, normalisation statistics and everything after the last layer.
    rematerialise: whether the backward pass computes each layer again, of which
      only the input is kept: less memory, and more time.
    distinct_layers: so many layers stand for all: those beyond have the same
      parameters as the last of them.
  """

  vocab_size: int
  hidden_size: int
  num_layers: int
  num_heads: int
  intermediate_size: int
  max_positions: int
  layer_norm_eps: float = 1e-12
  activation: str = "gelu"
  hidden_dropout: float = 0.1
  attention_dropout: float = 0.1
  dtype: str = "float32"
  rematerialise: bool = False
  family: str = ""
  distinct_layers: ClassVar[int] = 1

  @property
  def max_length(self) -> int:
    """The longest sequence that has positions."""
    return self.max_positions

  @abc.abstractmethod
  def module(self, name: str | None = None) -> "Encoder":
    """The encoder of this config, as a flax module."""


class Encoder(nn.Module):
  """A transformer: token ids to the hidden states of its last layer."""

  config: EncoderConfig

  def __call__(
    self, batch: Batch, layout: Layout, deterministic: bool = True
  ) -> jax.Array:
    """Encodes a packed batch.

    Args:
      batch: int32[T] each: `input_ids`; `token_types` 0 or 1, ignored by models
        with one token type or none; `positions` below `config.max_length`,
        since a gather beyond a table raises nothing; `segments` and `parts` as
        in `attention_biases`.
      layout: the rows of the T tokens.
      deterministic: whether dropout is off; if not, the rng stream "dropout"
        is needed.

    Returns:
      `config.dtype`[T, H].
    """
    raise NotImplementedError


class Dropout(nn.Module):
  """Dropout from 16 random bits per element; the rate is exact to 2**-17.

  Drawing them is a visible part of a training step on CPU.
  """

  rate: float

  @nn.compact
  def __call__(self, x: jax.Array, deterministic: bool) -> jax.Array:
    if deterministic or self.rate == 0.0:
      return x
    bits = _random_bits(self.make_rng("dropout"), x.shape)
    keep = bits >= jnp.uint16(round(self.rate * 65536))
    return jnp.where(keep, x / (1.0 - self.rate), jnp.zeros((), x.dtype))


def _random_bits(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """uint16[shape].

  `jax.random.bits` runs Threefry once for each element, whose 64 bits are
  enough for four.
  """
  if jax.random.key_impl(key) != "threefry2x32":
    return _hashed_bits(key, shape)
  size = math.prod(shape)
  words = jax.lax.iota(jnp.uint32, 2 * -(-size // 4))
  words = jax_random.threefry_2x32(jax.random.key_data(key), words)
  bits = jax.lax.bitcast_convert_type(words, jnp.uint16)
  return bits.reshape(-1)[:size].reshape(shape)


def _hashed_bits(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """uint16[shape], each a hash of the key and of its place.

  For where memory is what is short: such a hash is a part of what reads it, in
  either direction, while the bits of a generator go through memory, and are
  laid out anew. Good enough to drop by; MurmurHash3's last steps, with words of
  the key between them.
  """
  words = jax.random.key_data(key)
  x = jnp.zeros(shape, jnp.uint32)
  stride = 1
  for axis in reversed(range(len(shape))):
    places = jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
    x = x + places * jnp.uint32(stride)
    stride *= shape[axis]
  for word, shift, factor in (
    (words[0], 16, 0x85EBCA6B),
    (words[1], 13, 0xC2B2AE35),
    (words[-1], 16, 0x9E3779B1),
  ):
    x = x ^ word
    x = (x ^ (x >> shift)) * jnp.uint32(factor)
  return (x >> 16).astype(jnp.uint16)


class LayerNorm(nn.Module):
  """Layer normalisation over the last axis, statistics in float32.

  Attributes:
    centred: whether the mean is taken off first; if not, the root mean square
      is what is divided by.
  """

  eps: float
  use_bias: bool = True
  centred: bool = True

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
    y = x.astype(jnp.float32)
    if self.centred:
      y = y - jnp.mean(y, axis=-1, keepdims=True)
    y = y * jax.lax.rsqrt(jnp.mean(y * y, axis=-1, keepdims=True) + self.eps)
    shape = (1,) * (x.ndim - 1) + (-1,)
    y = y * scale.reshape(shape)
    if self.use_bias:
      bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
      y = y + bias.reshape(shape)
    return y.astype(x.dtype)


LayerType = TypeVar("LayerType", bound=type[nn.Module])


def layer_type(config: EncoderConfig, layer: LayerType) -> LayerType:
  """The class of an encoder's layers, as its config wants them computed.

  Args:
    config: of the encoder.
    layer: whose arguments are hidden states, what they see, the layout, and
      whether dropout is off.
  """
  if not config.rematerialise:
    return layer
  layout, deterministic = 3, 4
  return nn.remat(layer, static_argnums=(layout, deterministic))


def dense(
  config: EncoderConfig, features: int, name: str, use_bias: bool = True
) -> nn.Dense:
  """A linear layer in the dtype of an encoder."""
  return nn.Dense(
    features,
    use_bias=use_bias,
    dtype=config.dtype,
    kernel_init=normal_init,
    name=name,
  )


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


def attend(
  query_TxNxK: jax.Array,
  key_TxNxK: jax.Array,
  value_TxNxK: jax.Array,
  biases: Sequence[jax.Array],
  layout: Layout,
  dropout: Callable[[jax.Array], jax.Array],
) -> jax.Array:
  """Multi-head attention within the rows of each group, [T, H].

  Args:
    query_TxNxK, key_TxNxK, value_TxNxK: of all tokens.
    biases: of each group, as of `attention_biases`, or one for each head.
    layout: the rows of the T tokens.
    dropout: of the attention weights.
  """
  head_size = query_TxNxK.shape[-1]

  def heads(x_TxNxK: jax.Array) -> list[jax.Array]:
    # Head axis first: batched matrix products on contiguous blocks.
    return [x.transpose(0, 2, 1, 3) for x in group_rows(x_TxNxK, layout)]

  mixed = []
  for query_RxNxLxK, key_RxNxLxK, value_RxNxLxK, bias_Rx1xLxL in zip(
    heads(query_TxNxK),
    heads(key_TxNxK),
    heads(value_TxNxK),
    biases,
    strict=True,
  ):
    scores_RxNxLxL = jnp.einsum(
      "rnqk,rnlk->rnql",
      query_RxNxLxK * (head_size**-0.5),
      key_RxNxLxK,
      preferred_element_type=jnp.float32,
    )
    weights_RxNxLxL = jax.nn.softmax(scores_RxNxLxL + bias_Rx1xLxL, axis=-1)
    weights_RxNxLxL = dropout(weights_RxNxLxL.astype(query_TxNxK.dtype))
    mixed_RxNxLxK = jnp.einsum(
      "rnql,rnlk->rnqk", weights_RxNxLxL, value_RxNxLxK
    )
    rows, num_heads, length, _ = mixed_RxNxLxK.shape
    mixed.append(
      mixed_RxNxLxK.transpose(0, 2, 1, 3).reshape(
        rows * length, num_heads * head_size
      )
    )
  return jnp.concatenate(mixed)


class Pooler(nn.Module):
  """BERT's pooled output: tanh of a linear of one hidden state."""

  config: EncoderConfig

  @nn.compact
  def __call__(self, hidden_MxH: jax.Array) -> jax.Array:
    linear = dense(self.config, self.config.hidden_size, "dense")
    return jnp.tanh(linear(hidden_MxH))
