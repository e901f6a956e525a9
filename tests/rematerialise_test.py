"""Layers that are computed again: the same numbers, less to keep."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from jax import numpy as jnp

from splitner_jax.models.bert import BertConfig
from splitner_jax.models.electra import ElectraConfig
from splitner_jax.models.modernbert import ModernBertConfig
from splitner_jax.models.t5 import T5Config
from splitner_jax.models.transformer import EncoderConfig

_SIZES = (50, 16, 3, 2, 32, 64)
_LAYOUT = ((2, 8),)
_ENCODERS = {
  "bert": BertConfig(*_SIZES),
  "electra": ElectraConfig(*_SIZES, embedding_size=8),
  "modernbert": ModernBertConfig(*_SIZES),
  "t5": T5Config(*_SIZES, gated=True),
}


def _batch() -> dict[str, jax.Array]:
  tokens = jnp.arange(16)
  return {
    "input_ids": tokens * 3,
    "token_types": tokens % 2,
    "positions": tokens % 8,
    "segments": 1 + tokens // 8,
    "parts": jnp.zeros(16, jnp.int32),
  }


def _loss(config: EncoderConfig, params, batch) -> jax.Array:
  rngs = {"dropout": jax.random.key(7)}
  module = config.module()
  hidden = module.apply({"params": params}, batch, _LAYOUT, False, rngs=rngs)
  return jnp.sum(jnp.sin(hidden))


@pytest.mark.parametrize(
  "family",
  [
    *("bert", "t5"),
    # Their layers are made in the same place.
    *(
      pytest.param(f, marks=pytest.mark.slow) for f in ("electra", "modernbert")
    ),
  ],
)
def test_the_same_numbers_from_less(family: str):
  config = _ENCODERS[family]
  again = dataclasses.replace(config, rematerialise=True)
  batch = _batch()
  params = config.module().init(jax.random.key(0), batch, _LAYOUT)["params"]
  assert jax.tree.structure(params) == jax.tree.structure(
    again.module().init(jax.random.key(0), batch, _LAYOUT)["params"]
  )
  results, kept = [], []
  for each in (config, again):
    loss = functools.partial(_loss, each)
    results.append(jax.value_and_grad(loss)(params, batch))
    # The arrays that the forward pass leaves for the backward pass.
    _, backward = jax.vjp(lambda p, loss=loss: loss(p, batch), params)
    kept.append(sum(x.size for x in jax.tree.leaves(backward)))
  one, other = results

  def check(a: jax.Array, b: jax.Array) -> None:
    # To what float32 sums of numbers as large as the array's largest can keep.
    scale = max(1.0, float(jnp.abs(b).max()))
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * scale)

  jax.tree.map(check, one, other)
  assert kept[1] < 0.7 * kept[0]
