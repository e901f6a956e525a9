"""The table: names and layouts of published weights, and of our parameters.

For every parameter of ours it has the tensors that hold it in a checkpoint of
Hugging Face's, whose encoder its family describes, or of the reference
(model.py, cnn.py), and how its numbers are laid out there. `weights` uses it in
both directions.
"""

from collections.abc import Iterable

import numpy as np

from splitner_jax.models.features import EMBEDDING_SIZE, FILTERS
from splitner_jax.pretrained.entries import (
  SAME,
  Arrays,
  Layout,
  WeightMapping,
  embedding,
  linear,
)
from splitner_jax.pretrained.family import Family


def _load_lstm_bias(tensors: Arrays) -> np.ndarray:
  forward_in, forward_rec, backward_in, backward_rec = tensors
  return np.stack([forward_in + forward_rec, backward_in + backward_rec])


def _save_lstm_bias(bias: np.ndarray) -> Arrays:
  zero = np.zeros_like(bias[0])
  return bias[0], zero, bias[1], zero


def _load_cnn_linear(tensors: Arrays) -> np.ndarray:
  kernel = tensors[0].reshape(len(tensors[0]), -1, EMBEDDING_SIZE, FILTERS)
  return kernel.transpose(1, 3, 2, 0).reshape(-1, len(kernel))


def _save_cnn_linear(kernel: np.ndarray) -> Arrays:
  out = kernel.shape[1]
  tensor = kernel.reshape(-1, FILTERS, EMBEDDING_SIZE, out)
  return (tensor.transpose(3, 0, 2, 1).reshape(out, -1),)


# torch: [channels * filters, 1, width], filters of a channel side by side;
# ours: [width, filters, channels], channels side by side.
_CONV_KERNEL = Layout(
  lambda t: t[0].reshape(EMBEDDING_SIZE, FILTERS, -1).transpose(2, 1, 0),
  lambda p: (p.transpose(2, 1, 0).reshape(-1, 1, len(p)),),
)
_CONV_BIAS = Layout(
  lambda t: t[0].reshape(EMBEDDING_SIZE, FILTERS).T,
  lambda p: (p.T.reshape(-1),),
)
_CNN_LINEAR = Layout(_load_cnn_linear, _save_cnn_linear)
# torch keeps the two directions apart, and two biases where one does.
_LSTM_KERNEL = Layout(
  lambda t: np.stack([t[0].T, t[1].T]), lambda p: (p[0].T, p[1].T)
)
_LSTM_BIAS = Layout(_load_lstm_bias, _save_lstm_bias)


def _cnn(ours: str, foreign: str, widths: Iterable[int]) -> list[WeightMapping]:
  entries = [
    *embedding(f"{ours}/embedding", f"{foreign}.emb"),
    WeightMapping(
      f"{ours}/output/kernel", (f"{foreign}.lin.weight",), _CNN_LINEAR
    ),
    WeightMapping(f"{ours}/output/bias", (f"{foreign}.lin.bias",), SAME),
  ]
  for i, width in enumerate(widths):
    conv, torch_conv = f"{ours}/conv_{width}", f"{foreign}.char_conv_{i}"
    entries += [
      WeightMapping(f"{conv}_kernel", (f"{torch_conv}.weight",), _CONV_KERNEL),
      WeightMapping(f"{conv}_bias", (f"{torch_conv}.bias",), _CONV_BIAS),
    ]
  return entries


def _lstm(ours: str, foreign: str) -> list[WeightMapping]:
  def names(*kinds: str) -> tuple[str, ...]:
    return tuple(
      f"{foreign}.{kind}_l0{direction}"
      for direction in ("", "_reverse")
      for kind in kinds
    )

  return [
    WeightMapping(f"{ours}/kernel_in", names("weight_ih"), _LSTM_KERNEL),
    WeightMapping(f"{ours}/kernel_rec", names("weight_hh"), _LSTM_KERNEL),
    WeightMapping(f"{ours}/bias", names("bias_ih", "bias_hh"), _LSTM_BIAS),
  ]


def table(family: Family, num_layers: int) -> dict[str, WeightMapping]:
  """The table, by our names, for an encoder of so many layers."""
  entries = [
    *family.entries(num_layers),
    *linear("pooler/dense", "pooler.dense"),
    *_cnn("char/cnn", "char_cnn", range(1, 6)),
    *_cnn("pattern/cnn", "pattern_cnn", range(1, 4)),
    *_lstm("pattern/lstm", "pattern_lstm"),
    # Not in the reference's published code: the names are ours.
    *embedding("pos/embedding", "pos_embedding"),
    *embedding("words/embedding", "words_embedding"),
    *linear("classifier", "classifier"),
  ]
  return {entry.ours: entry for entry in entries}


def published(name: str, part: str, family: Family) -> str:
  """The reverse of `Family.canonical`: the name in a whole task's checkpoint.

  Args:
    name: of a tensor in the table.
    part: of the model that it belongs to, such as "encoder".
    family: of the encoder.
  """
  if part in ("encoder", "pooler"):
    return family.prefix + name
  if name.startswith("pattern_cnn."):
    return family.pattern_cnn + name.removeprefix("pattern_cnn")
  return name
