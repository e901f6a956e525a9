"""ModernBERT: its config, what its layers see, and where."""

import dataclasses
import functools
import json
import pathlib
from typing import Any

import jax
import numpy as np
import pytest
from flax import traverse_util
from paper_checkpoints import fails

from splitner_jax import pretrained
from splitner_jax.inference.forward import Forward, Programs
from splitner_jax.inputs.packing import Group
from splitner_jax.inputs.tokenizer import Tokenizer
from splitner_jax.models.heads import PooledClassifier, TokenClassifier
from splitner_jax.models.modernbert import ModernBertConfig, local_biases
from splitner_jax.models.shapes import parameter_shapes
from splitner_jax.runtime import devices
from tests import tiny_families, tiny_tasks

_CONFIG = ModernBertConfig(
  *(300, 16, 4, 2, 32, 512),
  layer_norm_eps=1e-5,
  local_window=3,
  global_theta=50.0,
  local_theta=7.0,
)


def _write(folder: pathlib.Path, **fields: Any) -> str:
  config = {**tiny_families.CONFIGS["modernbert"], "model_type": "modernbert"}
  config = {k: v for k, v in (config | fields).items() if v != "absent"}
  (folder / "config.json").write_text(json.dumps(config))
  return str(folder)


def test_config(tmp_path: pathlib.Path) -> None:
  backbone = pretrained.read_backbone(_write(tmp_path, mlp_bias=True))
  config = backbone.encoder
  assert isinstance(config, ModernBertConfig)
  assert (config.global_every, config.local_window) == (3, 8)
  assert (config.global_theta, config.local_theta) == (160000.0, 10000.0)
  assert (config.norm_bias, config.mlp_bias) == (False, True)
  assert (config.layer_norm_eps, config.activation) == (1e-5, "gelu")
  assert (config.hidden_dropout, config.attention_dropout) == (0.0, 0.0)
  assert config.max_length == 512
  pairs = backbone.family.pairs
  assert (pairs.separators, pairs.second_type, pairs.prefix_space) == (1, 0, 1)


@pytest.mark.parametrize("every", [1, 2, 3, 4])
def test_both_published_forms(tmp_path: pathlib.Path, every: int) -> None:
  """Layer by layer, as transformers 5 writes it, or every so many."""
  thetas = {"global_rope_theta": 9.0, "local_rope_theta": 8.0}
  old = pretrained.read_backbone(
    _write(tmp_path, global_attn_every_n_layers=every, **thetas)
  )
  new = pretrained.read_backbone(
    _write(
      tmp_path,
      **dict.fromkeys(("global_attn_every_n_layers", *thetas), "absent"),
      layer_types=[
        "sliding_attention" if i % every else "full_attention" for i in range(4)
      ],
      rope_parameters={
        "full_attention": {"rope_type": "default", "rope_theta": 9.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 8.0},
      },
    )
  )
  assert new.encoder == old.encoder
  assert new.encoder != pretrained.read_backbone(_write(tmp_path)).encoder


@pytest.mark.parametrize(
  ("field", "value"),
  [
    ("layer_types", ["sliding_attention"] * 4),
    ("layer_types", ["full_attention"] * 3),
    ("layer_types", "full_attention"),
    ("rope_parameters", {"full_attention": {"rope_type": "yarn"}}),
    ("rope_parameters", {"sliding_attention": {"rope_theta": 0}}),
    ("rope_parameters", [1]),
    ("rope_scaling", {"type": "linear", "factor": 2.0}),
    ("local_rope_theta", None),
    ("global_attn_every_n_layers", 0),
    ("local_attention", None),
    ("hidden_activation", "swish"),
    ("norm_bias", "yes"),
    ("hidden_size", 6),
    ("norm_eps", None),
  ],
)
def test_unsupported_config(
  tmp_path: pathlib.Path, field: str, value: Any
) -> None:
  folder = _write(tmp_path, **{field: value})
  fails(f"json: {field} is ", pretrained.read_backbone, folder)


def _batch(positions: np.ndarray) -> dict[str, np.ndarray]:
  """Tokens of one segment."""
  length = len(positions)
  ids = np.random.default_rng(0).integers(5, 300, length)
  ones = np.ones(length)
  return {
    name: x.astype(np.int32)
    for name, x in {
      "input_ids": ids,
      "token_types": 0 * ones,
      "positions": positions,
      "segments": ones,
      "parts": 0 * ones,
      "targets": np.arange(length),
    }.items()
  }


def _params(model: TokenClassifier | PooledClassifier) -> dict[str, Any]:
  rng = np.random.default_rng(0)
  flat = {
    name: rng.normal(name.endswith("scale"), 0.3, shape).astype(np.float32)
    for name, shape in parameter_shapes(model).items()
  }
  return traverse_util.unflatten_dict(flat, sep="/")


@functools.partial(jax.jit, static_argnums=0)
def _apply(
  model: TokenClassifier, params: dict[str, Any], batch: dict[str, jax.Array]
) -> jax.Array:
  layout = (Group(1, len(batch["positions"])),)
  return model.apply({"params": params}, batch, layout)


@pytest.mark.parametrize("num_layers", [1, 2, 5])
def test_shapes_without_all_layers(num_layers: int) -> None:
  """The first layer has one normalisation less."""
  model = TokenClassifier(
    dataclasses.replace(_CONFIG, num_layers=num_layers), 4
  )
  layout = (Group(1, 4),)
  made = jax.eval_shape(
    lambda key, batch: model.init(key, batch, layout),
    jax.random.key(0),
    _batch(np.arange(4)),
  )["params"]
  expected = {
    name: leaf.shape
    for name, leaf in traverse_util.flatten_dict(made, sep="/").items()
  }
  assert parameter_shapes(model) == expected
  assert "encoder/layer_0/attention_norm/scale" not in expected
  assert ("encoder/layer_1/attention_norm/scale" in expected) == (
    num_layers > 1
  )


def test_local_biases() -> None:
  lowest = np.finfo(np.float32).min
  bias = np.zeros((1, 1, 4, 4), np.float32)
  bias[..., 1, 0] = lowest
  [near] = local_biases(
    [bias], np.array([5, 0, 4, 2]), (Group(1, 4),), window=2
  )
  assert set(np.unique(near)) == {0.0, lowest}
  assert (near[0, 0] == 0).astype(int).tolist() == [
    [1, 0, 1, 0],
    [0, 1, 0, 1],
    [1, 0, 1, 1],
    [0, 1, 1, 1],
  ]


def test_positions_count_and_not_places() -> None:
  model = TokenClassifier(_CONFIG, 4)
  apply = functools.partial(_apply, model, _params(model))
  batch = _batch(np.arange(12))
  logits = np.asarray(apply(batch))
  order = np.random.default_rng(1).permutation(12)
  mixed = {name: x[order] for name, x in batch.items()}
  mixed["targets"] = batch["targets"]
  np.testing.assert_allclose(apply(mixed), logits[order], atol=1e-5, rtol=0)
  # Only how far they are from each other.
  moved = {**batch, "positions": batch["positions"] + 100}
  np.testing.assert_allclose(apply(moved), logits, atol=1e-4, rtol=0)
  apart = {**batch, "positions": 2 * batch["positions"]}
  assert np.abs(apply(apart) - logits).max(axis=1).min() > 1e-2


@pytest.mark.parametrize("every", [1, 2])
def test_what_a_layer_sees(every: int) -> None:
  """In two layers all is seen, or of the second only what is near."""
  config = dataclasses.replace(_CONFIG, num_layers=2, global_every=every)
  # Without the first: layer 1 alone tells others of a token.
  model = TokenClassifier(config, 4)
  params = _params(model)
  attention = params["encoder"]["layer_0"]["attention"]
  attention["output"]["kernel"] = 0 * attention["output"]["kernel"]
  batch = _batch(np.arange(12))
  other = {**batch, "input_ids": batch["input_ids"].copy()}
  other["input_ids"][5] += 1
  logits, others = (_apply(model, params, x) for x in (batch, other))
  difference = np.abs(logits - others).max(axis=1)
  seen = np.ones(12, bool) if every == 1 else np.abs(np.arange(12) - 5) <= 3
  assert np.all(difference[seen] > 1e-4)
  assert np.all(difference[~seen] == 0)


def test_questions_that_share_a_sentence(tmp_path: pathlib.Path) -> None:
  """Each has the logits that it has by itself, and in a row of its own."""
  folder = tiny_families.make("modernbert", tmp_path)
  family = pretrained.FAMILIES["modernbert"]
  tokenizer = Tokenizer(str(folder), family.pairs, max_length=160)
  task = tiny_tasks.classifier(
    tokenizer, pooling="cls+span", context="shared", max_context=30
  )
  task = dataclasses.replace(
    task, model=dataclasses.replace(task.model, encoder=_CONFIG)
  )
  run = Forward(Programs(task), devices.replicate(_params(task.model)))
  sentences = tiny_tasks.random_sentences(8, longest=40)
  spans = [s.spans for s in sentences]
  examples = task.encode(sentences, spans)
  assert len(examples) < len(examples.targets)
  assert not examples.types.any()
  together = np.zeros((len(examples.targets), 2), np.float32)
  together[examples.asked] = run(examples)
  assert together.std() > 0.1
  alone = np.concatenate(
    [
      run(task.encode([sentence], [[span]]))
      for sentence in sentences
      for span in sentence.spans
    ]
  )
  np.testing.assert_allclose(alone, together, atol=1e-5, rtol=0)
