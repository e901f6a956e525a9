"""Whole models: an encoder with features and a classifier on top.

A batch is a dict of arrays (see `data.batches`); models return float32 logits
and also sow "hidden" and "classifier_input" (what the last linear layer
sees) into the collection "intermediates", for inspection.
"""

from collections.abc import Mapping, Sequence

import jax
from flax import linen as nn
from jax import numpy as jnp

from splitner_jax.models import features
from splitner_jax.models.bert import (
  Dropout,
  Encoder,
  EncoderConfig,
  Pooler,
  normal_init,
)

Batch = Mapping[str, jax.Array]


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
  """Labels for each token: the span detector and the sequence tagger.

  Attributes:
    features: any of "char", "pattern", "pos".
    char_vocab_size, pattern_vocab_size: ids of `data.patterns`.
    mask_char_padding: see `features.TextCNN.mask_padding`.
    pos_vocab_size: parts of speech, 0 for none included.
  """

  encoder: EncoderConfig
  num_labels: int
  features: Sequence[str] = ()
  char_vocab_size: int = 0
  pattern_vocab_size: int = 0
  mask_char_padding: bool = True
  pos_vocab_size: int = 0

  @nn.compact
  def __call__(self, batch: Batch, deterministic: bool = True) -> jax.Array:
    """Returns logits, float32[B, L, num_labels].

    Args:
      batch: `input_ids`, `token_types` int32[B, L], `mask` bool[B, L]; with
        features `char_index`, `pattern_index` int32[B, L] into the rows of
        `char_short`, `char_long`, `pattern_short`, `pattern_long` int32[U, W],
        and `pos_ids` int32[B, L] below `pos_vocab_size`.
      deterministic: whether dropout is off.
    """
    cfg = self.encoder
    hidden_BxLxH = Encoder(cfg, name="encoder")(
      batch["input_ids"], batch["token_types"], batch["mask"], deterministic
    )
    self.sow("intermediates", "hidden", hidden_BxLxH)
    parts = [hidden_BxLxH]
    if "char" in self.features:
      parts.append(
        features.CharacterFeature(
          self.char_vocab_size, self.mask_char_padding, cfg.dtype, name="char"
        )([batch["char_short"], batch["char_long"]], batch["char_index"])
      )
    if "pattern" in self.features:
      parts.append(
        features.PatternFeature(
          self.pattern_vocab_size,
          cfg.hidden_dropout,
          self.mask_char_padding,
          cfg.dtype,
          name="pattern",
        )(
          [batch["pattern_short"], batch["pattern_long"]],
          batch["pattern_index"],
          batch["mask"],
          deterministic,
        )
      )
    if "pos" in self.features:
      parts.append(
        features.PosFeature(
          self.pos_vocab_size, cfg.hidden_dropout, name="pos"
        )(batch["pos_ids"], deterministic)
      )
    x_BxLxD = jnp.concatenate(parts, axis=-1)
    return _classify(
      self, x_BxLxD, self.num_labels, cfg.hidden_dropout, deterministic
    )


POOLINGS = ("cls", "mention")
"""The values of `SequenceClassifier.pooling`."""


class SequenceClassifier(nn.Module):
  """One label for each sequence: the span classifier.

  Attributes:
    pooling: "cls": the pooler reads the first token, as in the paper.
      "mention": it reads the mean of the tokens that `mention` marks.
  """

  encoder: EncoderConfig
  num_labels: int
  pooling: str = "cls"

  @nn.compact
  def __call__(self, batch: Batch, deterministic: bool = True) -> jax.Array:
    """Returns logits, float32[B, num_labels]; see `TokenClassifier`.

    With the pooling "mention" the batch also has `mention`, bool[B, L].
    """
    cfg = self.encoder
    hidden_BxLxH = Encoder(cfg, name="encoder")(
      batch["input_ids"], batch["token_types"], batch["mask"], deterministic
    )
    self.sow("intermediates", "hidden", hidden_BxLxH)
    if self.pooling == "mention":
      hidden_BxLxH = _mean(hidden_BxLxH, batch["mention"])
    pooled_BxH = Pooler(cfg, name="pooler")(hidden_BxLxH)
    return _classify(
      self, pooled_BxH, self.num_labels, cfg.hidden_dropout, deterministic
    )


def _mean(hidden_BxLxH: jax.Array, where_BxL: jax.Array) -> jax.Array:
  """The mean of some tokens, [B, 1, H]; zeros where there are none."""
  where_BxLx1 = where_BxL[..., None].astype(jnp.float32)
  total_Bx1xH = jnp.sum(hidden_BxLxH * where_BxLx1, axis=1, keepdims=True)
  count_Bx1x1 = jnp.sum(where_BxLx1, axis=1, keepdims=True)
  mean_Bx1xH = total_Bx1xH / jnp.maximum(count_Bx1x1, 1.0)
  return mean_Bx1xH.astype(hidden_BxLxH.dtype)
