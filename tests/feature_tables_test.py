"""Features read from tables: the logits that they give when computed anew."""

import types

import jax
import numpy as np
import pytest

from splitner_jax.inference.forward import Forward, Programs
from splitner_jax.inputs import patterns
from splitner_jax.inputs.examples import Examples
from splitner_jax.inputs.packing import num_tokens
from splitner_jax.models.bert import BertConfig
from splitner_jax.models.heads import TokenClassifier
from splitner_jax.runtime import devices
from tests import random_examples

_LABELS = 5
_ENCODER = BertConfig(50, 16, 1, 2, 32, 96)
_TEXTS = (
  *random_examples.TEXTS,
  *(f"{'Ab-' * (i % 7)}{i}" for i in range(300)),
)


def _model(features: tuple[str, ...], reference: bool) -> TokenClassifier:
  return TokenClassifier(
    _ENCODER,
    _LABELS,
    features,
    patterns.CHARACTER_VOCAB,
    patterns.PATTERN_VOCAB,
    mask_char_padding=not reference,
    pos_vocab_size=6,
  )


def _examples(lengths: list[int]) -> Examples:
  return random_examples.make(lengths, texts=_TEXTS)


def _computed_anew(
  model: TokenClassifier, params, examples: Examples, reference: bool
) -> np.ndarray:
  """The logits of a model that gets the texts, as in training."""
  logits = np.zeros((len(examples.targets), _LABELS), np.float32)
  apply = jax.jit(model.apply, static_argnums=2)
  for batch in random_examples.pack(
    examples, [(4, 96)], model.features, reference=reference
  ):
    arrays = {name: array[0] for name, array in batch.arrays.items()}
    found = apply({"params": params}, arrays, batch.layout)
    logits[batch.targets] = np.asarray(found)[batch.places]
  return logits


@pytest.mark.parametrize(
  ("features", "reference"),
  [
    pytest.param(("char",), False, marks=pytest.mark.slow),
    pytest.param(("pattern",), False, marks=pytest.mark.slow),
    (("char", "pattern"), True),
    (("char", "pattern", "pos"), False),
  ],
)
def test_the_same_logits(features: tuple[str, ...], reference: bool) -> None:
  model = _model(features, reference)
  task = types.SimpleNamespace(
    name="detector",
    model=model,
    features=features,
    tokenizer=types.SimpleNamespace(
      pad_id=0, reference=reference, max_length=96
    ),
    targets_per_token=1.0,
  )
  examples = _examples([5, 40, 96, 3, 70, 33, 20, 61, 90, 2, 2, 80])
  [batch] = random_examples.pack(_examples([8]), [(1, 40)], features)
  arrays = {name: array[0] for name, array in batch.arrays.items()}
  shapes = jax.eval_shape(
    lambda key: model.init(key, arrays, batch.layout), jax.random.key(0)
  )["params"]
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda x: rng.normal(0, 0.06, x.shape).astype(np.float32), shapes
  )
  expected = _computed_anew(model, params, examples, reference)
  assert expected.std() > 0.1
  run = Forward(Programs(task, 8), devices.replicate(params))
  # From an empty table and from a full one; in several batches and alone.
  for _ in range(2):
    np.testing.assert_allclose(run(examples), expected, atol=1e-5, rtol=0)
  for i in range(0, len(examples), 4):
    np.testing.assert_allclose(
      run(examples.take([i])),
      expected[examples.target_slice(i)],
      atol=1e-5,
      rtol=0,
    )
  assert sum(num_tokens(shape.layout) for shape in run.programs.shapes) < 2000
