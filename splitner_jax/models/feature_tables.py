"""Text features as rows of tables, for inference.

Without dropout, what a feature brings depends on the token's text alone until
it meets its neighbours: the character feature up to the logits, to which it
adds a few numbers, the pattern feature up to the gates of its LSTM. So each
text is computed once, and kept. What a row holds:

  char     its part of the logits, float32[C]
  pattern  what comes into the gates of the LSTM, float32[2, 4 G]

Shape suffixes as in `features`, and K rows of a table.
"""

from collections.abc import Mapping

import jax
import numpy as np

from splitner_jax.models import features
from splitner_jax.models.heads import Model, TokenClassifier
from splitner_jax.models.lstm import LSTM_SIZE, input_gates
from splitner_jax.runtime.types import Tree


def empty(model: Model, name: str, rows: int) -> np.ndarray:
  """A table without texts, for the feature `name`."""
  if name == "char":
    return np.zeros((rows, model.num_labels), np.float32)
  return np.zeros((2, rows, 4 * LSTM_SIZE), np.float32)


def fill(
  model: Model,
  name: str,
  params: Mapping[str, Tree],
  table: jax.Array,
  texts: Mapping[str, jax.Array],
) -> jax.Array:
  """The table with more texts in it.

  Args:
    model: whose feature it is.
    name: the feature's.
    params: the model's.
    table: as of `empty`.
    texts: `short` and `long`, int32[U, W] characters of texts as of
      `features`; `rows`, int32[U of both], where they belong: K of those that
      are none.
  """
  new = rows_of(model, name, params, (texts["short"], texts["long"]))
  if name == "char":
    return table.at[texts["rows"]].set(new, mode="drop")
  return table.at[:, texts["rows"]].set(new, mode="drop")


def rows_of(
  model: Model,
  name: str,
  params: Mapping[str, Tree],
  texts: tuple[jax.Array, jax.Array],
) -> jax.Array:
  """The rows of texts, short ones and then long ones; see `fill`."""
  assert isinstance(model, TokenClassifier), "no other has features"
  rows = _character_rows if name == "char" else _pattern_rows
  return rows(model, params, texts)


def _character_rows(
  model: TokenClassifier,
  params: Mapping[str, Tree],
  texts: tuple[jax.Array, jax.Array],
) -> jax.Array:
  cnn = params["char"]["cnn"]
  x_UxD = features.pooled_texts(
    cnn, features.CHARACTER_WIDTHS, texts, model.mask_char_padding
  )
  # Where the feature is in what the last linear layer reads.
  start = model.encoder.hidden_size
  kernel = params["classifier"]["kernel"][start : start + features.OUTPUT_SIZE]
  # Both linear layers at once: the last has few outputs.
  folded_DxC = cnn["output"]["kernel"] @ kernel
  return x_UxD @ folded_DxC + (cnn["output"]["bias"] @ kernel)[None]


def _pattern_rows(
  model: TokenClassifier,
  params: Mapping[str, Tree],
  texts: tuple[jax.Array, jax.Array],
) -> jax.Array:
  cnn, lstm = params["pattern"]["cnn"], params["pattern"]["lstm"]
  x_UxD = features.pooled_texts(
    cnn, features.PATTERN_WIDTHS, texts, model.mask_char_padding
  )
  output = cnn["output"]
  table = x_UxD @ output["kernel"] + output["bias"][None]
  return input_gates(table, lstm["kernel_in"], lstm["bias"])
