"""The table: names and layouts of published weights, and of our parameters.

For every parameter of ours it has the tensors that hold it in a checkpoint of
Hugging Face's BERT or RoBERTa, or of the reference (model.py, cnn.py), and how
its numbers are laid out there. `weights` uses it in both directions.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from splitner_jax.models.features import EMBEDDING_SIZE, FILTERS

Arrays = Sequence[np.ndarray]


@dataclasses.dataclass(frozen=True)
class Layout:
  """How a parameter of ours is laid out over tensors of a checkpoint."""

  load: Callable[[Arrays], np.ndarray]
  save: Callable[[np.ndarray], Arrays]


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


_SAME = Layout(lambda t: t[0], lambda p: (p,))
_TRANSPOSED = Layout(lambda t: t[0].T, lambda p: (p.T,))
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


@dataclasses.dataclass(frozen=True)
class Entry:
  """A line of the table: a parameter of ours, and its tensors elsewhere."""

  ours: str
  foreign: tuple[str, ...]
  layout: Layout


def _linear(ours: str, foreign: str) -> list[Entry]:
  return [
    Entry(f"{ours}/kernel", (f"{foreign}.weight",), _TRANSPOSED),
    Entry(f"{ours}/bias", (f"{foreign}.bias",), _SAME),
  ]


def _norm(ours: str, foreign: str) -> list[Entry]:
  return [
    Entry(f"{ours}/scale", (f"{foreign}.weight",), _SAME),
    Entry(f"{ours}/bias", (f"{foreign}.bias",), _SAME),
  ]


def _embedding(ours: str, foreign: str) -> list[Entry]:
  return [Entry(ours, (f"{foreign}.weight",), _SAME)]


def _layer(i: int) -> list[Entry]:
  ours, foreign = f"encoder/layer_{i}", f"encoder.layer.{i}"
  attention = f"{foreign}.attention"
  return [
    *_linear(f"{ours}/attention/query", f"{attention}.self.query"),
    *_linear(f"{ours}/attention/key", f"{attention}.self.key"),
    *_linear(f"{ours}/attention/value", f"{attention}.self.value"),
    *_linear(f"{ours}/attention/output", f"{attention}.output.dense"),
    *_norm(f"{ours}/attention_norm", f"{attention}.output.LayerNorm"),
    *_linear(f"{ours}/intermediate", f"{foreign}.intermediate.dense"),
    *_linear(f"{ours}/output", f"{foreign}.output.dense"),
    *_norm(f"{ours}/output_norm", f"{foreign}.output.LayerNorm"),
  ]


def _cnn(ours: str, foreign: str, widths: Iterable[int]) -> list[Entry]:
  entries = [
    *_embedding(f"{ours}/embedding", f"{foreign}.emb"),
    Entry(f"{ours}/output/kernel", (f"{foreign}.lin.weight",), _CNN_LINEAR),
    Entry(f"{ours}/output/bias", (f"{foreign}.lin.bias",), _SAME),
  ]
  for i, width in enumerate(widths):
    conv, torch_conv = f"{ours}/conv_{width}", f"{foreign}.char_conv_{i}"
    entries += [
      Entry(f"{conv}_kernel", (f"{torch_conv}.weight",), _CONV_KERNEL),
      Entry(f"{conv}_bias", (f"{torch_conv}.bias",), _CONV_BIAS),
    ]
  return entries


def _lstm(ours: str, foreign: str) -> list[Entry]:
  def names(*kinds: str) -> tuple[str, ...]:
    return tuple(
      f"{foreign}.{kind}_l0{direction}"
      for direction in ("", "_reverse")
      for kind in kinds
    )

  return [
    Entry(f"{ours}/kernel_in", names("weight_ih"), _LSTM_KERNEL),
    Entry(f"{ours}/kernel_rec", names("weight_hh"), _LSTM_KERNEL),
    Entry(f"{ours}/bias", names("bias_ih", "bias_hh"), _LSTM_BIAS),
  ]


def table(num_layers: int) -> dict[str, Entry]:
  """The table, by our names, for an encoder of so many layers."""
  entries = [
    *_embedding("encoder/embeddings/word", "embeddings.word_embeddings"),
    *_embedding(
      "encoder/embeddings/position", "embeddings.position_embeddings"
    ),
    *_embedding(
      "encoder/embeddings/token_type", "embeddings.token_type_embeddings"
    ),
    *_norm("encoder/embeddings/norm", "embeddings.LayerNorm"),
    *(entry for i in range(num_layers) for entry in _layer(i)),
    *_linear("pooler/dense", "pooler.dense"),
    *_cnn("char/cnn", "char_cnn", range(1, 6)),
    *_cnn("pattern/cnn", "pattern_cnn", range(1, 4)),
    *_lstm("pattern/lstm", "pattern_lstm"),
    # Not in the reference's published code: the name is ours.
    *_embedding("pos/embedding", "pos_embedding"),
    *_linear("classifier", "classifier"),
  ]
  return {entry.ours: entry for entry in entries}


# Other spellings of the table's names.
_SPELLINGS = (
  (re.compile(r"^(bert|roberta)\."), ""),
  (re.compile(r"LayerNorm\.gamma$"), "LayerNorm.weight"),
  (re.compile(r"LayerNorm\.beta$"), "LayerNorm.bias"),
  # The reference's BERT models have this name, its RoBERTa models the other.
  (re.compile(r"^pattern_emb\."), "pattern_cnn."),
)


def canonical(name: str) -> str:
  """A tensor's name in the table's spelling."""
  for pattern, spelling in _SPELLINGS:
    name = pattern.sub(spelling, name)
  return name


def published(name: str, is_roberta: bool) -> str:
  """The reverse of `canonical`: the name in a checkpoint of a whole task."""
  if name.startswith(("embeddings.", "encoder.", "pooler.")):
    return ("roberta." if is_roberta else "bert.") + name
  return name if is_roberta else re.sub(r"^pattern_cnn", "pattern_emb", name)
