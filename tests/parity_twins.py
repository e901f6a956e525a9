"""Random encoders of transformers, and ours with their weights."""

import functools
import pathlib
from typing import Any

import jax
import numpy as np
import torch
import torch_models
from jax import numpy as jnp

from splitner_jax import pretrained
from splitner_jax.inputs.packing import Group
from splitner_jax.models import transformer

_SIZES = {
  "vocab_size": 60,
  "hidden_size": 24,
  "num_hidden_layers": 2,
  "num_attention_heads": 3,
  "intermediate_size": 40,
  "max_position_embeddings": 32,
}
_MODERNBERT = {
  "model_type": "modernbert",
  "local_attention": 4,
  "pad_token_id": 0,
  "cls_token_id": 1,
  "sep_token_id": 2,
  "bos_token_id": 1,
  "eos_token_id": 2,
}
_T5 = {
  "model_type": "t5",
  "d_model": 24,
  "d_kv": 8,
  "d_ff": 40,
  "num_layers": 2,
  "num_heads": 3,
  "feed_forward_proj": "relu",
}
# Of a family there may be several.
MODELS: dict[str, dict[str, Any]] = {
  "bert": {
    "model_type": "bert",
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
  },
  "roberta": {
    "model_type": "roberta",
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
  },
  "electra": {
    "model_type": "electra",
    "type_vocab_size": 2,
    "embedding_size": 16,
  },
  "electra of one size": {
    "model_type": "electra",
    "type_vocab_size": 2,
    "embedding_size": 24,
  },
  # Windows and angles that matter in sequences of 9 tokens.
  "modernbert": {
    **_MODERNBERT,
    "num_hidden_layers": 4,
    "rope_parameters": {
      "full_attention": {"rope_type": "default", "rope_theta": 50.0},
      "sliding_attention": {"rope_type": "default", "rope_theta": 7.0},
    },
  },
  "modernbert with biases": {
    **_MODERNBERT,
    "norm_bias": True,
    "attention_bias": True,
    "mlp_bias": True,
    "hidden_activation": "relu",
    "norm_eps": 1e-3,
    "global_attn_every_n_layers": 2,
  },
  "t5": _T5,
  # Heads that are together larger than the model, and a gate.
  "t5 with gates": {
    **_T5,
    "feed_forward_proj": "gated-gelu",
    "d_kv": 10,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 5,
  },
}
# Their gradient, or that of a part, is zero in exact arithmetic, and Adam makes
# noise big.
NOISE = ("key.bias", "Wqkv.bias")


class Twins:
  """A random encoder of transformers, and ours with its weights."""

  def __init__(self, name: str, folder: pathlib.Path):
    torch.manual_seed(0)
    self.name = name
    config = _SIZES | MODELS[name]
    self.theirs = torch_models.make_encoder(
      config["model_type"], config, pooler=True
    )
    # As they start, biases are 0 and scales 1: wrong ones would not be seen.
    with torch.no_grad():
      for tensor in self.theirs.parameters():
        tensor += 0.1 * torch.randn(tensor.shape)
    self.folder = str(folder)
    self.theirs.save_pretrained(self.folder)
    self.backbone = pretrained.read_backbone(self.folder)
    random = np.random.RandomState(0)
    self.ids = random.randint(5, _SIZES["vocab_size"], (3, 9))
    self.num_types = getattr(self.theirs.config, "type_vocab_size", 0)
    self.types = random.randint(0, 2, (3, 9)) * (self.num_types > 1)
    self.directions = random.standard_normal((3, 9, _SIZES["hidden_size"]))
    self.has_pooler = self.backbone.family.has_pooler
    self.params = self.start(with_pooler=self.has_pooler)

  def start(self, with_pooler: bool):
    """Parameters of ours, filled from the folder."""
    encoder = self.backbone.encoder.module()
    batch, layout = packed_batch(*[np.zeros((1, 2), np.int32)] * 3)
    init = functools.partial(encoder.init, jax.random.key(0), layout=layout)
    params = {"encoder": jax.eval_shape(init, batch)["params"]}
    if with_pooler:
      pooler = transformer.Pooler(self.backbone.encoder)
      hidden = jnp.zeros((1, self.backbone.encoder.hidden_size))
      params["pooler"] = jax.eval_shape(pooler.init, jax.random.key(0), hidden)[
        "params"
      ]
    zeros = jax.tree.map(lambda x: np.zeros(x.shape), params)
    return pretrained.fill(zeros, self.folder)

  def our_loss(self, params, mask, one_row=False):
    """A function of all outputs that count, and these outputs."""
    batch, layout = packed_batch(self.ids, self.types, mask, one_row=one_row)
    hidden = (
      self.backbone.encoder.module()
      .apply({"params": params["encoder"]}, batch, layout)
      .reshape(*mask.shape, -1)
    )
    weights = jnp.asarray(self.directions, jnp.float32) * mask[..., None]
    loss, outputs = jnp.sum(hidden * weights), [hidden]
    if self.has_pooler:
      pooled = transformer.Pooler(self.backbone.encoder).apply(
        {"params": params["pooler"]}, hidden[:, 0]
      )
      loss += jnp.sum(pooled * weights[:, 0])
      outputs.append(pooled)
    return loss, outputs

  @functools.cached_property
  def our_gradient(self):
    return jax.jit(jax.grad(self.our_loss, has_aux=True), static_argnums=2)

  def their_loss(self, mask):
    types = {"token_type_ids": torch.from_numpy(self.types)}
    found = self.theirs(
      torch.from_numpy(self.ids),
      attention_mask=torch.from_numpy(mask.astype(np.int64)),
      **(types if self.num_types else {}),
    )
    weights = torch.from_numpy(self.directions * mask[..., None]).float()
    outputs = [found.last_hidden_state]
    loss = (outputs[0] * weights).sum()
    if self.has_pooler:
      outputs.append(found.pooler_output)
      loss += (found.pooler_output * weights[:, 0]).sum()
    return loss, [output.detach().numpy() for output in outputs]

  def masks(self) -> dict[str, np.ndarray]:
    full = np.ones(self.ids.shape, bool)
    ragged = np.arange(9) < np.array([9, 4, 1])[:, None]
    return {"full": full, "ragged": ragged}


def packed_batch(
  ids, types, mask, *, one_row: bool = False
) -> tuple[dict[str, jax.Array], tuple[Group, ...]]:
  """Sequences as an encoder reads them, each in a row or all in one."""
  rows, length = mask.shape
  segments = jnp.where(mask, 1 + jnp.arange(rows)[:, None], 0)
  batch = {
    "input_ids": ids,
    "token_types": types,
    "positions": np.tile(np.arange(length), (rows, 1)),
    "segments": segments,
    "parts": np.zeros_like(ids),
  }
  layout = Group(1, rows * length) if one_row else Group(rows, length)
  return {
    name: jnp.asarray(x, jnp.int32).reshape(-1) for name, x in batch.items()
  }, (layout,)


def as_published(twins: Twins, params) -> dict[str, np.ndarray]:
  """Our tree under the names of `theirs`, which has no prefix."""
  family = twins.backbone.family
  return {
    name.removeprefix(family.prefix): tensor
    for name, tensor in pretrained.to_hf(params, family).items()
  }
