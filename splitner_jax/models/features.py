"""Features of tokens: characters, orthographic pattern, categories of words.

Paper, section 2.1, and Table 5 for the part of speech, a category.

The first two features of a token start from its text alone, so the CNNs run
once per distinct text of a batch, and the result is gathered to the tokens.
Distinct texts come in two tables, short and long, so that a few long ones do
not make all of them wide: row i of the feature is text i of the short table,
then of the long one.

Shape suffixes as in `transformer`, and: U distinct texts, W characters of a
text, C channels of the character embedding, F filters of each channel, M
targets.
"""

from collections.abc import Mapping, Sequence

import jax
import numpy as np
from flax import linen as nn
from jax import numpy as jnp

from splitner_jax.inputs.packing import Layout
from splitner_jax.models.lstm import BiLSTM, torch_uniform
from splitner_jax.models.text_windows import largest_responses
from splitner_jax.models.transformer import Dropout, normal_init
from splitner_jax.runtime import devices

EMBEDDING_SIZE = 50
FILTERS = 16
OUTPUT_SIZE = 768
POS_SIZE = 64
WORD_SIZE = 32
CHARACTER_WIDTHS = range(1, 6)
PATTERN_WIDTHS = range(1, 4)


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
    kernels_wFC, biases_FC = [], []
    for width in self.widths:
      init, shape = torch_uniform(width), (FILTERS, EMBEDDING_SIZE)
      kernels_wFC.append(
        self.param(f"conv_{width}_kernel", init, (width, *shape))
      )
      biases_FC.append(self.param(f"conv_{width}_bias", init, shape))
    pooled = [self._pool(embedding, kernels_wFC, ids) for ids in tables]
    x_UxFxC = jnp.concatenate(pooled) + jnp.concatenate(biases_FC)[None]
    x = x_UxFxC.reshape(len(x_UxFxC), x_UxFxC[0].size)
    return nn.Dense(
      OUTPUT_SIZE, dtype=self.dtype, kernel_init=normal_init, name="output"
    )(jax.nn.relu(x))

  def _pool(
    self,
    embedding: jax.Array,
    kernels_wFC: Sequence[jax.Array],
    ids_UxW: jax.Array,
  ) -> jax.Array:
    """Largest response of each filter: float[U, F of all widths, C]."""
    if devices.prefers_products():
      return largest_responses(
        embedding, kernels_wFC, ids_UxW, self.mask_padding, self.dtype
      )
    chars_UxWxC = _embed(embedding, kernels_wFC, ids_UxW, self.mask_padding)

    # Only the winning windows are computed again with a gradient, those of all
    # filters with one gather; ties have one winner, as in torch.
    where = []
    for kernel_wFC in kernels_wFC:
      response_UxWxFxC = jax.lax.stop_gradient(
        _responses(chars_UxWxC, kernel_wFC, ids_UxW, self.mask_padding)
      )
      best_UxFxC = jnp.argmax(response_UxWxFxC, axis=1)
      taps_w = jnp.arange(len(kernel_wFC))[None, :, None, None]
      where.append(best_UxFxC[:, None] + taps_w)
    where_UxFxC = jnp.concatenate(
      [w.reshape(len(w), w.shape[1] * w.shape[2], w.shape[3]) for w in where],
      axis=1,
    )
    winners_UxFxC = jnp.take_along_axis(chars_UxWxC, where_UxFxC, axis=1)
    largest, start = [], 0
    for kernel_wFC in kernels_wFC:
      taps, filters, channels = kernel_wFC.shape
      own_UxFxC = winners_UxFxC[:, start : start + taps * filters]
      start += taps * filters
      own_UxwxFxC = own_UxFxC.reshape(len(ids_UxW), taps, filters, channels)
      largest.append(jnp.sum(own_UxwxFxC * kernel_wFC[None], axis=1))
    return jnp.concatenate(largest, axis=1)


def _embed(
  embedding: jax.Array,
  kernels_wFC: Sequence[jax.Array],
  ids_UxW: jax.Array,
  mask_padding: bool,
) -> jax.Array:
  """Characters as vectors, with as many more as the widest kernel reads."""
  chars_UxWxC = embedding[ids_UxW]
  if mask_padding:
    chars_UxWxC = chars_UxWxC * (ids_UxW > 0)[..., None]
  beyond = max(len(kernel) for kernel in kernels_wFC) - 1
  return jnp.pad(chars_UxWxC, ((0, 0), (0, beyond), (0, 0)))


def _responses(
  chars_UxWxC: jax.Array,
  kernel_wFC: jax.Array,
  ids_UxW: jax.Array,
  mask_padding: bool,
) -> jax.Array:
  """What each filter says of each window, float[U, W, F, C].

  -inf of windows that do not count.
  """
  width, taps = ids_UxW.shape[1], len(kernel_wFC)
  windows = width if mask_padding else width - taps + 1
  # Shifts, products and sums: a grouped convolution, and above all its
  # gradient, is many times slower on CPU.
  response_UxWxFxC = sum(
    (
      chars_UxWxC[:, tap : tap + windows, None] * kernel_wFC[tap][None, None]
      for tap in range(1, taps)
    ),
    start=chars_UxWxC[:, :windows, None] * kernel_wFC[0][None, None],
  )
  if mask_padding:
    starts_UxWx1x1 = (ids_UxW > 0)[:, :, None, None]
    response_UxWxFxC = jnp.where(starts_UxWx1x1, response_UxWxFxC, -jnp.inf)
  return response_UxWxFxC


def pooled_texts(
  params: Mapping[str, jax.Array],
  widths: Sequence[int],
  tables: Sequence[jax.Array],
  mask_padding: bool,
) -> jax.Array:
  """What `TextCNN` has before its linear layer, float32[sum of U_i, F * C].

  Without a gradient, and so without computing anything twice.
  """
  kernels_wFC = [params[f"conv_{width}_kernel"] for width in widths]
  biases_FC = jnp.concatenate(
    [params[f"conv_{width}_bias"] for width in widths]
  )
  pooled = []
  for ids_UxW in tables:
    if devices.prefers_products():
      pooled.append(
        largest_responses(
          params["embedding"], kernels_wFC, ids_UxW, mask_padding, "float32"
        )
      )
      continue
    chars = _embed(params["embedding"], kernels_wFC, ids_UxW, mask_padding)
    largest = [
      jnp.max(_responses(chars, kernel, ids_UxW, mask_padding), axis=1)
      for kernel in kernels_wFC
    ]
    pooled.append(jnp.concatenate(largest, axis=1))
  x_UxFxC = jax.nn.relu(jnp.concatenate(pooled) + biases_FC[None])
  return x_UxFxC.reshape(len(x_UxFxC), -1)


class CharacterFeature(nn.Module):
  """Character CNN: one vector of OUTPUT_SIZE per target."""

  vocab_size: int
  mask_padding: bool = True
  dtype: str = "float32"

  @nn.compact
  def __call__(
    self, tables: Sequence[jax.Array], index_M: jax.Array
  ) -> jax.Array:
    return TextCNN(
      self.vocab_size,
      CHARACTER_WIDTHS,
      self.mask_padding,
      self.dtype,
      name="cnn",
    )(*tables)[index_M]


class PatternFeature(nn.Module):
  """Pattern CNN, then a BiLSTM over each segment: 2 * LSTM_SIZE per target."""

  vocab_size: int
  dropout: float = 0.1
  mask_padding: bool = True
  dtype: str = "float32"

  @nn.compact
  def __call__(
    self,
    tables: Sequence[jax.Array],
    index_T: jax.Array,
    segments_T: jax.Array,
    targets_M: jax.Array,
    layout: Layout,
    deterministic: bool,
    gates_2xUx4G: jax.Array | None = None,
  ) -> jax.Array:
    """With `gates_2xUx4G`, as of `input_gates`, the tables are not used."""
    rows = gates_2xUx4G
    if rows is None:
      rows = TextCNN(
        self.vocab_size,
        PATTERN_WIDTHS,
        self.mask_padding,
        self.dtype,
        name="cnn",
      )(*tables)
    hidden_Tx2G = BiLSTM(name="lstm")(
      rows,
      index_T,
      segments_T,
      layout,
      are_gates=gates_2xUx4G is not None,
    )
    return Dropout(self.dropout)(hidden_Tx2G[targets_M], deterministic)


class CategoryFeature(nn.Module):
  """Embeddings of categories: `width` for each column of each target.

  Attributes:
    sizes: of each column, how many ids it has, 0 for none included.
    width: of an embedding.
    deviation: of the embeddings at the start. At that of other layers, 0.02,
      what an id says hardly reaches the logits in a few epochs.
  """

  sizes: Sequence[int]
  width: int
  deviation: float = 0.02
  dropout: float = 0.1

  @nn.compact
  def __call__(self, ids_MxK: jax.Array, deterministic: bool) -> jax.Array:
    embedding = self.param(
      "embedding",
      nn.initializers.normal(self.deviation),
      (sum(self.sizes), self.width),
    )
    # The columns' embeddings stand behind each other.
    first_K = np.cumsum((0, *self.sizes[:-1]))
    x_MxKxE = embedding[ids_MxK + first_K[None]]
    return Dropout(self.dropout)(
      x_MxKxE.reshape(len(ids_MxK), -1), deterministic
    )
