"""Whole models: an encoder with features and a classifier at the targets.

A batch is a dict of arrays that `inputs.batches` makes. For T tokens: those of
`transformer.Encoder`; with the feature "pattern" `pattern_index`, int32[T]. For
M targets: `targets`, int32[M], the tokens at which the model answers; with
"char" `char_index`, with "pos" `pos_ids`, int32[M]; with features of words
`word_ids`, int32[M, K]; for all poolings but "cls" `ranges`, int32[M, 2], first
and end token. The indices are rows of `char_short` and `char_long` behind each
other, int32[U, W], and the same of "pattern".

Models return float32[M, C] logits, and also sow "hidden" (of all tokens) and
"classifier_input" (what the last linear layer sees) into the collection
"intermediates", for inspection.

Shape suffixes as in `transformer` and `features`.
"""

from collections.abc import Mapping, Sequence

import jax
from flax import linen as nn
from jax import numpy as jnp

from splitner_jax.inputs.packing import Layout
from splitner_jax.models import features
from splitner_jax.models.transformer import (
  Batch,
  Dropout,
  EncoderConfig,
  Pooler,
  normal_init,
)


def _classify(
  module: nn.Module,
  x: jax.Array,
  num_labels: int,
  dropout: float,
  deterministic: bool,
) -> jax.Array:
  module.sow("intermediates", "classifier_input", x)
  x = Dropout(dropout)(x, deterministic).astype(jnp.float32)
  return nn.Dense(num_labels, kernel_init=normal_init, name="classifier")(x)


class TokenClassifier(nn.Module):
  """Labels of tokens: the span detector and the sequence tagger.

  Attributes:
    features: any of "char", "pattern", "pos".
    char_vocab_size, pattern_vocab_size: ids of `inputs.patterns`.
    mask_char_padding: see `features.TextCNN.mask_padding`.
    pos_vocab_size: parts of speech, 0 for none included.
    word_sizes: of each column of `inputs.word_features`, how many ids it has.
  """

  encoder: EncoderConfig
  num_labels: int
  features: Sequence[str] = ()
  char_vocab_size: int = 0
  pattern_vocab_size: int = 0
  mask_char_padding: bool = True
  pos_vocab_size: int = 0
  word_sizes: Sequence[int] = ()

  @nn.compact
  def __call__(
    self,
    batch: Batch,
    layout: Layout,
    deterministic: bool = True,
    tables: Mapping[str, jax.Array] | None = None,
  ) -> jax.Array:
    """Returns logits, float32[M, num_labels].

    Args:
      batch: see above.
      layout: the rows of the T tokens.
      deterministic: whether dropout is off.
      tables: of each text feature its table (see `feature_tables`), of which
        the batch's indices are rows then; without dropout only.
    """
    cfg = self.encoder
    hidden_TxH = cfg.module("encoder")(batch, layout, deterministic)
    self.sow("intermediates", "hidden", hidden_TxH)
    targets_M = batch["targets"]
    parts = [hidden_TxH[targets_M]]
    if "char" in self.features:
      if tables:
        # Its part of the logits is in the table, and here it adds nothing.
        shape = len(targets_M), features.OUTPUT_SIZE
        parts.append(jnp.zeros(shape, cfg.dtype))
      else:
        parts.append(
          features.CharacterFeature(
            self.char_vocab_size, self.mask_char_padding, cfg.dtype, name="char"
          )([batch["char_short"], batch["char_long"]], batch["char_index"])
        )
    if "pattern" in self.features:
      texts = [] if tables else [batch["pattern_short"], batch["pattern_long"]]
      parts.append(
        features.PatternFeature(
          self.pattern_vocab_size,
          cfg.hidden_dropout,
          self.mask_char_padding,
          cfg.dtype,
          name="pattern",
        )(
          texts,
          batch["pattern_index"],
          batch["segments"],
          targets_M,
          layout,
          deterministic,
          tables["pattern"] if tables else None,
        )
      )
    if "pos" in self.features:
      parts.append(
        features.CategoryFeature(
          (self.pos_vocab_size,),
          features.POS_SIZE,
          dropout=cfg.hidden_dropout,
          name="pos",
        )(batch["pos_ids"][:, None], deterministic)
      )
    if self.word_sizes:
      parts.append(
        features.CategoryFeature(
          self.word_sizes,
          features.WORD_SIZE,
          deviation=1.0,
          dropout=cfg.hidden_dropout,
          name="words",
        )(batch["word_ids"], deterministic)
      )
    x_MxD = jnp.concatenate(parts, axis=-1)
    logits_MxC = _classify(
      self, x_MxD, self.num_labels, cfg.hidden_dropout, deterministic
    )
    if tables and "char" in self.features:
      logits_MxC = logits_MxC + tables["char"][batch["char_index"]]
    return logits_MxC


POOLINGS = ("cls", "mention", "cls+span")
"""The values of `PooledClassifier.pooling`."""


class PooledClassifier(nn.Module):
  """A label for what is asked about: the span classifier.

  Attributes:
    pooling: "cls": the pooler reads the target, as in the paper, where it is
      [CLS]. "mention": it reads the mean of the tokens in the target's range.
      "cls+span": it reads the target, and that mean stands beside what it says.
  """

  encoder: EncoderConfig
  num_labels: int
  pooling: str = "cls"

  @nn.compact
  def __call__(
    self, batch: Batch, layout: Layout, deterministic: bool = True
  ) -> jax.Array:
    """Returns logits, float32[M, num_labels]; see `TokenClassifier`."""
    cfg = self.encoder
    hidden_TxH = cfg.module("encoder")(batch, layout, deterministic)
    self.sow("intermediates", "hidden", hidden_TxH)
    pooler = Pooler(cfg, name="pooler")
    if self.pooling == "mention":
      x_MxD = pooler(_mean(hidden_TxH, batch["ranges"]))
    else:
      x_MxD = pooler(hidden_TxH[batch["targets"]])
    if self.pooling == "cls+span":
      mean_MxH = _mean(hidden_TxH, batch["ranges"])
      x_MxD = jnp.concatenate([x_MxD, mean_MxH], axis=-1)
    return _classify(
      self, x_MxD, self.num_labels, cfg.hidden_dropout, deterministic
    )


Model = TokenClassifier | PooledClassifier
"""Of any task."""


def _mean(hidden_TxH: jax.Array, ranges_Mx2: jax.Array) -> jax.Array:
  """The mean of each range of tokens, [M, H]; zeros where it is empty."""
  tokens_1xT = jnp.arange(len(hidden_TxH))[None]
  inside_MxT = (tokens_1xT >= ranges_Mx2[:, :1]) & (
    tokens_1xT < ranges_Mx2[:, 1:]
  )
  total_MxH = jnp.einsum(
    "mt,th->mh", inside_MxT.astype(jnp.float32), hidden_TxH.astype(jnp.float32)
  )
  count_Mx1 = jnp.sum(inside_MxT, axis=1, keepdims=True)
  return (total_MxH / jnp.maximum(count_Mx1, 1)).astype(hidden_TxH.dtype)
