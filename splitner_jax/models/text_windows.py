"""The largest responses of text CNNs, as matrix products.

The same as in `features`, in the form for a matrix unit: which character a
window has at each of its taps is a row of zeros and a one, so that neither
direction gathers or scatters single numbers. On TPU those take most of a
training step's compilation and more memory traffic than a layer of the encoder.

All filters have as many taps here as the widest; those that they lack weigh 0.

Shape suffixes as in `features`, and: V character ids, T taps, D = F * C filters
of all widths and channels. Windows come first, for shifts along the first axis
are free.
"""

import functools
from collections.abc import Sequence

import jax
from jax import numpy as jnp


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def largest_responses(
  embedding_VxC: jax.Array,
  kernels_wFC: Sequence[jax.Array],
  ids_UxW: jax.Array,
  mask_padding: bool,
  dtype: str,
) -> jax.Array:
  """What each filter says of its best window, float32[U, F of all, C].

  Its gradient is that of the first of equally good windows. Texts without a
  character have 0 where `mask_padding` is true.

  Args:
    embedding_VxC: vectors of the characters.
    kernels_wFC: a list of them, of different widths.
    ids_UxW: characters of the texts, 0 for padding.
    mask_padding: see `features.TextCNN.mask_padding`.
    dtype: of the products' arguments; float32 ones are exact.
  """
  args = embedding_VxC, kernels_wFC, ids_UxW, mask_padding, dtype
  return _forward(*args)[0]


def _forward(embedding_VxC, kernels_wFC, ids_UxW, mask_padding, dtype):
  kernel_TxD = _joined(kernels_wFC)
  taps, width = len(kernel_TxD), ids_UxW.shape[1]
  chars_WxUxD = jnp.einsum(
    "wuv,vd->wud",
    _one_hot(embedding_VxC, ids_UxW, taps, mask_padding, dtype),
    _per_filter(embedding_VxC, kernel_TxD).astype(dtype),
    precision=_precision(dtype),
    preferred_element_type=dtype,
  )
  response_WxUxD = jnp.zeros((width, *chars_WxUxD.shape[1:]), jnp.float32)
  for tap in range(taps):
    window_chars = chars_WxUxD[tap : tap + width].astype(jnp.float32)
    response_WxUxD += window_chars * kernel_TxD[tap][None, None]
  window_WxUxD = jax.lax.broadcasted_iota(jnp.int32, response_WxUxD.shape, 0)
  if mask_padding:
    counts = (ids_UxW > 0).T[..., None]
  else:
    windows_D = [
      jnp.full(kernel[0].size, width - len(kernel) + 1)
      for kernel in kernels_wFC
    ]
    counts = window_WxUxD < jnp.concatenate(windows_D)[None, None]
  largest_UxD, best_UxD = jax.lax.reduce(
    (jnp.where(counts, response_WxUxD, -jnp.inf), window_WxUxD),
    (jnp.float32(-jnp.inf), jnp.int32(width)),
    _better,
    (0,),
  )
  largest_UxD = jnp.where(largest_UxD > -jnp.inf, largest_UxD, 0.0)
  shape = len(ids_UxW), -1, embedding_VxC.shape[1]
  saved = embedding_VxC, kernels_wFC, ids_UxW, best_UxD
  return largest_UxD.reshape(shape), saved


def _better(one, other):
  """Of two pairs of a response and its window."""
  (a, i), (b, j) = one, other
  is_one = (a > b) | ((a == b) & (i < j))
  return jnp.where(is_one, a, b), jnp.where(is_one, i, j)


def _backward(mask_padding, dtype, saved, d_largest_UxFxC):
  embedding_VxC, kernels_wFC, ids_UxW, best_UxD = saved
  kernel_TxD = _joined(kernels_wFC)
  taps, width = len(kernel_TxD), ids_UxW.shape[1]
  one_hot = _one_hot(embedding_VxC, ids_UxW, taps, mask_padding, dtype)
  windows = jnp.arange(width)[:, None, None]
  d_largest_UxD = d_largest_UxFxC.reshape(best_UxD.shape)
  d_response_WxUxD = jnp.where(
    windows == best_UxD[None], d_largest_UxD[None], 0.0
  )
  # What the characters at each tap of the best windows have got.
  d_taps_TxVxD = jnp.einsum(
    "wutv,wud->tvd",
    jnp.stack([one_hot[tap : tap + width] for tap in range(taps)], axis=2),
    d_response_WxUxD.astype(dtype),
    precision=_precision(dtype),
    preferred_element_type=jnp.float32,
  )
  chars_VxD = _per_filter(embedding_VxC, kernel_TxD)
  channels = embedding_VxC.shape[1]
  d_kernel_TxFxC = jnp.sum(d_taps_TxVxD * chars_VxD[None], axis=1).reshape(
    taps, -1, channels
  )
  d_embedding_VxFxC = jnp.sum(d_taps_TxVxD * kernel_TxD[:, None], axis=0)
  d_embedding_VxFxC = d_embedding_VxFxC.reshape(len(chars_VxD), -1, channels)
  d_kernels, start = [], 0
  for kernel in kernels_wFC:
    end = start + kernel.shape[1]
    d_kernels.append(d_kernel_TxFxC[: len(kernel), start:end])
    start = end
  return jnp.sum(d_embedding_VxFxC, axis=1), d_kernels, None


largest_responses.defvjp(_forward, _backward)


def _joined(kernels_wFC: Sequence[jax.Array]) -> jax.Array:
  """Kernels of all widths as one, float32[T, D]."""
  taps = max(len(kernel) for kernel in kernels_wFC)
  kernel_TxFxC = jnp.concatenate(
    [
      jnp.pad(kernel, ((0, taps - len(kernel)), (0, 0), (0, 0)))
      for kernel in kernels_wFC
    ],
    axis=1,
  )
  return kernel_TxFxC.reshape(taps, -1)


def _per_filter(embedding_VxC: jax.Array, kernel_TxD: jax.Array) -> jax.Array:
  """The embedding beside itself, once for each filter: [V, D]."""
  filters = kernel_TxD.shape[1] // embedding_VxC.shape[1]
  return jnp.tile(embedding_VxC, (1, filters))


def _one_hot(
  embedding_VxC: jax.Array,
  ids_UxW: jax.Array,
  taps: int,
  mask_padding: bool,
  dtype: str,
) -> jax.Array:
  """Characters as zeros and a one, [W + T - 1, U, V]; beyond the text zeros."""
  ids_WxU = jnp.pad(ids_UxW.T, ((0, taps - 1), (0, 0)), constant_values=-1)
  ids_V = jnp.arange(len(embedding_VxC))
  is_it = ids_WxU[..., None] == ids_V[None, None]
  if mask_padding:
    is_it = is_it & (ids_V > 0)[None, None]
  return is_it.astype(dtype)


def _precision(dtype: str) -> jax.lax.Precision:
  # Else a TPU rounds float32 to bfloat16.
  if dtype == "float32":
    return jax.lax.Precision.HIGHEST
  return jax.lax.Precision.DEFAULT
