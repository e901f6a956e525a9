"""Our numbers against PyTorch's and transformers', where they are installed."""

import copy
import functools
import json
import pathlib

import jax
import numpy as np
import pytest
import tokenizers

from splitner_jax import pretrained
from splitner_jax.pretrained import tensors, torch_files
from splitner_jax.training import losses, optimizer

torch = pytest.importorskip(
  "torch", reason="PyTorch is not installed: launch/test.sh --parity"
)

import torch_models  # noqa: E402  Only after the skip.
from parity_twins import (  # noqa: E402
  MODELS,
  NOISE,
  Twins,
  as_published,
  packed_batch,
)


@pytest.fixture(scope="module", params=list(MODELS))
def twins(
  request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Twins:
  return Twins(request.param, tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("kind", ["full", "ragged", "packed"])
def test_encoder(twins: Twins, kind: str) -> None:
  packed = kind == "packed"
  mask = twins.masks()["ragged" if packed else kind]
  gradient, outputs = twins.our_gradient(twins.params, mask, packed)
  twins.theirs.zero_grad()
  loss, expected = twins.their_loss(mask)
  loss.backward()
  differences = [
    np.abs(np.asarray(ours) - theirs)
    for ours, theirs in zip(outputs, expected, strict=True)
  ]
  assert differences[0][mask].max() <= 1e-5
  assert all(pooled.max() <= 1e-5 for pooled in differences[1:])

  gradients = as_published(twins, gradient)
  parameters = dict(twins.theirs.named_parameters())
  assert gradients.keys() == parameters.keys()
  for name, ours in gradients.items():
    theirs = parameters[name].grad.numpy()
    scale = max(1.0, np.abs(theirs).max())
    assert np.abs(ours - theirs).max() <= 1e-5 * scale, name


def test_round_trip(twins: Twins, tmp_path: pathlib.Path) -> None:
  folder = tmp_path / "exported"
  pretrained.export(twins.params, str(folder), twins.backbone)
  loaded, info = type(twins.theirs).from_pretrained(
    folder, output_loading_info=True
  )
  assert not any(info.values()), info
  expected = twins.theirs.state_dict()
  assert loaded.state_dict().keys() == expected.keys()
  for name, tensor in loaded.state_dict().items():
    assert torch.equal(tensor, expected[name]), name
  mask = twins.masks()["ragged"]
  exported = copy.copy(twins)
  exported.theirs = loaded.eval()
  for ours, theirs in zip(
    exported.their_loss(mask)[1], twins.their_loss(mask)[1], strict=True
  ):
    np.testing.assert_array_equal(ours, theirs)
  again = pretrained.fill(
    jax.tree.map(np.zeros_like, twins.params), str(folder)
  )
  jax.tree.map(np.testing.assert_array_equal, again, twins.params)
  assert pretrained.read_backbone(str(folder)).encoder == twins.backbone.encoder


def test_export_without_pooler(twins: Twins, tmp_path: pathlib.Path) -> None:
  params = twins.start(with_pooler=False)
  pretrained.export(params, str(tmp_path / "exported"), twins.backbone)
  _, info = type(twins.theirs).from_pretrained(
    tmp_path / "exported", output_loading_info=True
  )
  assert not any(info.values()), info


def test_three_steps(
  twins: Twins, tmp_path_factory: pytest.TempPathFactory
) -> None:
  # Of their own, since they change.
  trained = Twins(twins.name, tmp_path_factory.mktemp("trained"))
  mask = trained.masks()["ragged"]
  torch_models.train_three_steps(
    trained.theirs, lambda: trained.their_loss(mask)[0], clip_norm=1.0
  )
  rule = optimizer.make(weight_decay=0.01, clip_norm=1.0)
  update = jax.jit(rule.update)
  params, state = twins.params, rule.init(twins.params)
  for _ in range(3):
    gradient, _ = twins.our_gradient(params, mask)
    updates, state = update(gradient, state, params)
    params = jax.tree.map(lambda p, u: p + 1e-4 * u, params, updates)
  expected = dict(trained.theirs.named_parameters())
  for name, ours in as_published(twins, params).items():
    if not name.endswith(NOISE):
      theirs = expected[name].detach().numpy()
      assert np.abs(ours - theirs).max() <= 1e-5, name


@pytest.mark.parametrize("name", ["cross_entropy", "dice"])
def test_losses(name: str) -> None:
  random = np.random.RandomState(0)
  logits = random.standard_normal((20, 5)).astype(np.float32)
  labels = random.randint(0, 5, 20)
  labels[::4] = -100
  weights = (labels >= 0).astype(np.float32)
  ours, gradient = jax.value_and_grad(losses.LOSSES[name])(
    logits, np.maximum(labels, 0), weights
  )
  leaf = torch.tensor(logits, requires_grad=True)
  theirs = torch_models.LOSSES[name](leaf, torch.from_numpy(labels))
  theirs.backward()
  assert float(ours) == pytest.approx(theirs.item(), abs=1e-6)
  assert np.abs(np.asarray(gradient) - leaf.grad.numpy()).max() <= 1e-7


def test_minilm(minilm: pathlib.Path) -> None:
  from transformers import BertModel

  tokenizer = tokenizers.Tokenizer.from_file(str(minilm / "tokenizer.json"))
  tokenizer.no_truncation()
  tokenizer.enable_padding()
  encoded = tokenizer.encode_batch(_SENTENCES)
  ids, types, mask = (
    np.array([getattr(e, field) for e in encoded], np.int64)
    for field in ("ids", "type_ids", "attention_mask")
  )
  theirs = BertModel.from_pretrained(minilm).eval()
  with torch.no_grad():
    expected = theirs(
      torch.from_numpy(ids),
      attention_mask=torch.from_numpy(mask),
      token_type_ids=torch.from_numpy(types),
    ).last_hidden_state.numpy()

  backbone = pretrained.read_backbone(str(minilm))
  encoder = backbone.encoder.module()
  batch, layout = packed_batch(ids, types, mask > 0)
  shapes = jax.eval_shape(
    functools.partial(encoder.init, layout=layout), jax.random.key(0), batch
  )["params"]
  params = pretrained.fill(
    {"encoder": jax.tree.map(lambda x: np.zeros(x.shape), shapes)},
    backbone.folder,
  )
  hidden = jax.jit(encoder.apply, static_argnums=2)(
    {"params": params["encoder"]}, batch, layout
  ).reshape(expected.shape)
  assert len(encoded) == 50
  assert np.abs(np.asarray(hidden) - expected)[mask > 0].max() <= 1e-4


_SENTENCES = [
  f"{subject} {rest}"
  for subject in (
    "Mara Quill",
    "The Lindqvist Institute",
    "p53",
    "A storm over Port Vellin",
    "Nobody at the table",
  )
  for rest in (
    "arrived late .",
    "was seen near the old harbour at 6:45 pm , said two witnesses .",
    "binds to the promoter and blocks transcription in HeLa cells .",
    "has 1,024 followers on @synthetic #news",
    "cost 3.50 euros more than last year !",
    "knows that naïve café owners in Kraków do not ask why .",
    "and its sister company were sold to Orrin & Sons ( 1987 ) .",
    "?",
    "moved from unpronounceablyhyphenated-names to short ones .",
    'wrote : " rain , then more rain , then the longest rain that anyone in '
    'the valley could remember , until the river took the bridge . "',
  )
]


def _state_dict():
  torch.manual_seed(0)
  module = torch.nn.Linear(3, 2)
  shared = torch.randn(4, 6)
  return module.state_dict() | {
    "half": torch.randn(3, 2).half(),
    "bfloat16": torch.randn(5).bfloat16(),
    "double": torch.randn(2, 2).double(),
    "ids": torch.arange(4)[None],
    "flags": torch.tensor([True, False]),
    "scalar": torch.tensor(2.5),
    "empty": torch.zeros(0, 3),
    "transposed": shared.T,
    "part": shared[1:3, ::2],
    "parameter": torch.nn.Parameter(torch.randn(2)),
  }


@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "legacy"])
def test_torch_files(tmp_path: pathlib.Path, as_zip: bool) -> None:
  path = tmp_path / "pytorch_model.bin"
  state = _state_dict()
  torch.save(state, path, _use_new_zipfile_serialization=as_zip)
  arrays = torch_files.read(str(path))
  assert arrays.keys() == state.keys()
  for name, tensor in state.items():
    array, tensor = arrays[name], tensor.detach()
    assert str(tensor.dtype) == f"torch.{array.dtype.name}", name
    assert array.shape == tuple(tensor.shape), name
    np.testing.assert_array_equal(
      array.astype(np.float64), tensor.double().numpy(), err_msg=name
    )


@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "legacy"])
def test_torch_checkpoint(
  twins: Twins, tmp_path: pathlib.Path, as_zip: bool
) -> None:
  config = pathlib.Path(twins.folder, "config.json").read_text()
  (tmp_path / "config.json").write_text(config)
  torch.save(
    twins.theirs.state_dict(),
    tmp_path / "pytorch_model.bin",
    _use_new_zipfile_serialization=as_zip,
  )
  params = pretrained.fill(
    jax.tree.map(np.zeros_like, twins.params), str(tmp_path)
  )
  jax.tree.map(np.testing.assert_array_equal, params, twins.params)


def test_shards_of_transformers(twins: Twins, tmp_path: pathlib.Path) -> None:
  twins.theirs.save_pretrained(tmp_path, max_shard_size="12KB")
  index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
  assert len(set(index["weight_map"].values())) > 1
  found = tensors.read_tensors(str(tmp_path))
  # What is tied has two names in the state, and is written under one.
  assert found.keys() == dict(twins.theirs.named_parameters()).keys()
  params = pretrained.fill(
    jax.tree.map(np.zeros_like, twins.params), str(tmp_path)
  )
  jax.tree.map(np.testing.assert_array_equal, params, twins.params)
