"""ELECTRA encoders: BERT's layers on embeddings of a size of their own.

Clark et al. 2020. Of the two models of the pretraining, the discriminator is
the one to build on; the generator has the same form.

Shape suffixes as in `transformer`, and E size of the embeddings.
"""

import dataclasses

import jax
from flax import linen as nn

from splitner_jax.inputs.packing import Layout
from splitner_jax.models import transformer
from splitner_jax.models.bert import BertConfig, Embeddings, Layer
from splitner_jax.models.transformer import (
  Batch,
  attention_biases,
  dense,
  layer_type,
)


@dataclasses.dataclass(frozen=True)
class ElectraConfig(BertConfig):
  """Sizes and rates of an ELECTRA.

  Attributes:
    embedding_size: of each embedding; where it is not `hidden_size`, a linear
      layer is between them and the first layer.
  """

  embedding_size: int = 128
  family: str = "electra"

  def module(self, name: str | None = None) -> transformer.Encoder:
    return Encoder(self, name=name)


class Encoder(transformer.Encoder):
  """Embeddings, then BERT's layers; see `transformer.Encoder`."""

  config: ElectraConfig

  @nn.compact
  def __call__(
    self, batch: Batch, layout: Layout, deterministic: bool = True
  ) -> jax.Array:
    cfg = self.config
    narrow = dataclasses.replace(cfg, hidden_size=cfg.embedding_size)
    hidden_TxE = Embeddings(narrow, name="embeddings")(
      batch["input_ids"],
      batch["token_types"],
      batch["positions"],
      deterministic,
    )
    hidden_TxH = hidden_TxE
    if cfg.embedding_size != cfg.hidden_size:
      hidden_TxH = dense(cfg, cfg.hidden_size, "projection")(hidden_TxE)
    biases = attention_biases(batch["segments"], batch["parts"], layout)
    for i in range(cfg.num_layers):
      hidden_TxH = layer_type(cfg, Layer)(cfg, name=f"layer_{i}")(
        hidden_TxH, biases, layout, deterministic
      )
    return hidden_TxH
