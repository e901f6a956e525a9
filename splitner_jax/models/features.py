"""Features of tokens: characters, orthographic pattern, part of speech.

Paper, section 2.1, and Table 5 for the part of speech.

The first two features of a token start from its text alone, so the CNNs run
once per distinct text of a batch, and the result is gathered to the tokens.
Distinct texts come in two tables, short and long, so that a few long ones do
not make all of them wide: row i of the feature is text i of the short table,
then of the long one.

Shape suffixes as in `bert`, and: U distinct texts, W characters of a text,
C channels of the character embedding, M filters of each channel, G size of
one direction of the LSTM.
"""

from collections.abc import Sequence

import jax
from flax import linen as nn
from jax import numpy as jnp

from splitner_jax.models.bert import Dropout, normal_init

EMBEDDING_SIZE = 50
FILTERS = 16
OUTPUT_SIZE = 768
LSTM_SIZE = 256
POS_SIZE = 64


def _torch_uniform(fan_in: int) -> nn.initializers.Initializer:
  """Uniform in +-1/sqrt(fan_in), torch's start of convolutions and LSTMs."""
  bound = fan_in**-0.5

  def init(key, shape, dtype=jnp.float32):
    return jax.random.uniform(key, shape, dtype, -bound, bound)

  return init


class TextCNN(nn.Module):
  """Depthwise convolutions over characters, maximum over positions, linear.

  Attributes:
    vocab_size: number of character ids, padding (0) included.
    widths: widths of the convolutions.
    mask_padding: whether a window counts only if it starts on a real
      character, with zeros after the end. False is the reference's rule
      (cnn.py): every window inside the given width counts, and padding has an
      embedding like any character.
  """

  vocab_size: int
  widths: Sequence[int]
  mask_padding: bool = True
  dtype: str = "float32"

  @nn.compact
  def __call__(self, *tables: jax.Array) -> jax.Array:
    """Maps tables of int32[U_i, W_i] to float[sum of U_i, OUTPUT_SIZE]."""
    embedding = self.param(
      "embedding", normal_init, (self.vocab_size, EMBEDDING_SIZE)
    )
    kernels_wMC, biases_MC = [], []
    for width in self.widths:
      init, shape = _torch_uniform(width), (FILTERS, EMBEDDING_SIZE)
      kernels_wMC.append(
        self.param(f"conv_{width}_kernel", init, (width, *shape))
      )
      biases_MC.append(self.param(f"conv_{width}_bias", init, shape))
    pooled = [self._pool(embedding, kernels_wMC, ids) for ids in tables]
    x_UxMxC = jnp.concatenate(pooled) + jnp.concatenate(biases_MC)[None]
    x = x_UxMxC.reshape(len(x_UxMxC), x_UxMxC[0].size)
    return nn.Dense(
      OUTPUT_SIZE, dtype=self.dtype, kernel_init=normal_init, name="output"
    )(jax.nn.relu(x))

  def _pool(
    self,
    embedding: jax.Array,
    kernels_wMC: Sequence[jax.Array],
    ids_UxW: jax.Array,
  ) -> jax.Array:
    """Largest response of each filter: float[U, M of all widths, C]."""
    width = ids_UxW.shape[1]
    real_UxW = ids_UxW > 0
    chars_UxWxC = embedding[ids_UxW]
    if self.mask_padding:
      chars_UxWxC = chars_UxWxC * real_UxW[..., None]
    beyond = max(len(kernel) for kernel in kernels_wMC) - 1
    chars_UxWxC = jnp.pad(chars_UxWxC, ((0, 0), (0, beyond), (0, 0)))

    def best_window(kernel_wMC: jax.Array) -> jax.Array:
      """Where each filter responds most, int32[U, M, C]."""
      taps = len(kernel_wMC)
      windows = width if self.mask_padding else width - taps + 1
      # Shifts, products and sums: a grouped convolution, and above all its
      # gradient, is many times slower on CPU.
      response_UxWxMxC = sum(
        chars_UxWxC[:, tap : tap + windows, None] * kernel_wMC[tap][None, None]
        for tap in range(taps)
      )
      if self.mask_padding:
        starts_UxWx1x1 = real_UxW[:, :, None, None]
        response_UxWxMxC = jnp.where(starts_UxWx1x1, response_UxWxMxC, -jnp.inf)
      return jnp.argmax(jax.lax.stop_gradient(response_UxWxMxC), axis=1)

    # Only the winning windows are computed again with a gradient, those of all
    # filters with one gather; ties have one winner, as in torch.
    where = [
      best_window(kernel)[:, None]
      + jnp.arange(len(kernel))[None, :, None, None]
      for kernel in kernels_wMC
    ]
    where_UxMxC = jnp.concatenate(
      [w.reshape(len(w), w.shape[1] * w.shape[2], w.shape[3]) for w in where],
      axis=1,
    )
    winners_UxMxC = jnp.take_along_axis(chars_UxWxC, where_UxMxC, axis=1)
    largest, start = [], 0
    for kernel_wMC in kernels_wMC:
      taps, filters, channels = kernel_wMC.shape
      own_UxMxC = winners_UxMxC[:, start : start + taps * filters]
      start += taps * filters
      own_UxwxMxC = own_UxMxC.reshape(len(ids_UxW), taps, filters, channels)
      largest.append(jnp.sum(own_UxwxMxC * kernel_wMC[None], axis=1))
    return jnp.concatenate(largest, axis=1)


class BiLSTM(nn.Module):
  """A bidirectional LSTM whose inputs are rows of a table.

  The input projection is done once per distinct row, and both directions run
  in one scan: half the sequential steps.
  """

  @nn.compact
  def __call__(
    self, table_UxD: jax.Array, index_BxL: jax.Array, mask_BxL: jax.Array
  ) -> jax.Array:
    """Returns float32[B, L, 2 G], zero where `mask_BxL` is False."""
    size = LSTM_SIZE
    init = _torch_uniform(size)
    kernel_in = self.param(
      "kernel_in", init, (2, table_UxD.shape[-1], 4 * size)
    )
    kernel_rec = self.param("kernel_rec", init, (2, size, 4 * size))

    # torch has two biases, which are only ever added.
    def init_bias(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
      first, second = jax.random.split(key)
      return init(first, shape) + init(second, shape)

    bias = self.param("bias", init_bias, (2, 4 * size))
    table_2xUx4G = (
      jnp.einsum("ud,rdg->rug", table_UxD.astype(jnp.float32), kernel_in)
      + bias[:, None]
    )

    def directions(x_LxB):
      # The second direction reads from the end. Padding is on the right, so
      # it comes first there, and its state stays zero until the first token.
      return jnp.stack([x_LxB, x_LxB[::-1]], axis=1)

    index_Lx2xB = directions(index_BxL.T)
    mask_Lx2xB = directions(mask_BxL.T)
    inputs_Lx2xBx4G = table_2xUx4G[jnp.arange(2)[None, :, None], index_Lx2xB]

    def step(carry, inputs):
      hidden, cell = carry
      x, mask = inputs
      gates = x + jnp.einsum("rbd,rdg->rbg", hidden, kernel_rec)
      i, f, g, o = jnp.split(gates, 4, axis=-1)
      new_cell = jax.nn.sigmoid(f) * cell + jax.nn.sigmoid(i) * jnp.tanh(g)
      new_hidden = jax.nn.sigmoid(o) * jnp.tanh(new_cell)
      cell = jnp.where(mask, new_cell, cell)
      hidden = jnp.where(mask, new_hidden, hidden)
      return (hidden, cell), hidden

    zeros = jnp.zeros((2, index_BxL.shape[0], size))
    _, hidden_Lx2xBxG = jax.lax.scan(
      step, (zeros, zeros), (inputs_Lx2xBx4G, mask_Lx2xB[..., None])
    )
    forward, backward = hidden_Lx2xBxG[:, 0], hidden_Lx2xBxG[::-1, 1]
    hidden_BxLx2G = jnp.concatenate([forward, backward], axis=-1).transpose(
      1, 0, 2
    )
    return jnp.where(mask_BxL[..., None], hidden_BxLx2G, 0.0)


class CharacterFeature(nn.Module):
  """Character CNN: one vector of OUTPUT_SIZE per token."""

  vocab_size: int
  mask_padding: bool = True
  dtype: str = "float32"

  @nn.compact
  def __call__(
    self, tables: Sequence[jax.Array], index_BxL: jax.Array
  ) -> jax.Array:
    return TextCNN(
      self.vocab_size, range(1, 6), self.mask_padding, self.dtype, name="cnn"
    )(*tables)[index_BxL]


class PatternFeature(nn.Module):
  """Pattern CNN, then a BiLSTM over the sequence: 2 * LSTM_SIZE per token."""

  vocab_size: int
  dropout: float = 0.1
  mask_padding: bool = True
  dtype: str = "float32"

  @nn.compact
  def __call__(
    self,
    tables: Sequence[jax.Array],
    index_BxL: jax.Array,
    mask_BxL: jax.Array,
    deterministic: bool,
  ) -> jax.Array:
    table_UxD = TextCNN(
      self.vocab_size, range(1, 4), self.mask_padding, self.dtype, name="cnn"
    )(*tables)
    hidden = BiLSTM(name="lstm")(table_UxD, index_BxL, mask_BxL)
    return Dropout(self.dropout)(hidden, deterministic)


class PosFeature(nn.Module):
  """Embedding of the part of speech: POS_SIZE per token.

  Attributes:
    vocab_size: number of tags, 0 for none included.
  """

  vocab_size: int
  dropout: float = 0.1

  @nn.compact
  def __call__(self, ids_BxL: jax.Array, deterministic: bool) -> jax.Array:
    embedding = self.param(
      "embedding", normal_init, (self.vocab_size, POS_SIZE)
    )
    return Dropout(self.dropout)(embedding[ids_BxL], deterministic)
