"""Parity cases: numbers of another implementation for a model of ours.

A case is NAME.json (what the model is), NAME.npz (inputs and outputs) and
NAME.safetensors (weights under the reference's names). The cases in
tests/data/parity have no weights in a file: those are made up by their names.
"""

import json
import pathlib
import zlib

import jax
import numpy as np
from jax import numpy as jnp
from safetensors import numpy as safetensors_numpy

from splitner_jax import pretrained
from splitner_jax.inputs.packing import Group
from splitner_jax.models import heads
from splitner_jax.training import losses

Arrays = dict[str, np.ndarray]

SMALL_CASES = pathlib.Path(__file__).parent / "data" / "parity"


def made_up_weights(shapes: dict[str, list[int]]) -> Arrays:
  """Weights that follow from names and shapes alone, on every machine."""
  weights = {}
  for name, shape in shapes.items():
    # Of NumPy's generators, only this one's stream never changes.
    random = np.random.RandomState(zlib.crc32(name.encode()))
    numbers = random.standard_normal(shape) * min(0.2, shape[-1] ** -0.5)
    if name.endswith("LayerNorm.weight"):
      numbers += 1.0
    weights[name] = numbers.astype(np.float32)
  return weights


class Case:
  """A case's numbers, and our model with its weights.

  Args:
    path: of the case, without the endings.
    folder: to make a checkpoint in, as a hub would have it.
    packed: whether all sequences stand in one row.
  """

  def __init__(
    self, path: pathlib.Path, folder: pathlib.Path, *, packed: bool = False
  ):
    self.description = json.loads(path.with_suffix(".json").read_text())
    with np.load(path.with_suffix(".npz")) as arrays:
      self.arrays: Arrays = dict(arrays)
    weights = path.with_suffix(".safetensors")
    if weights.exists():
      (folder / "model.safetensors").symlink_to(weights.resolve())
    else:
      safetensors_numpy.save_file(
        made_up_weights(self.description["parameters"]),
        folder / "model.safetensors",
      )
    config = json.dumps(self.description["config"])
    (folder / "config.json").write_text(config)
    self.backbone = pretrained.read_backbone(str(folder))
    self.head = pretrained.read_head(str(folder))
    self.is_classifier = self.description["model"] == "classifier"
    self.model: heads.PooledClassifier | heads.TokenClassifier
    if self.is_classifier:
      self.model = heads.PooledClassifier(
        self.backbone.encoder, self.head.num_labels
      )
    else:
      self.model = heads.TokenClassifier(
        self.backbone.encoder,
        self.head.num_labels,
        self.head.features,
        self.head.char_vocab_size,
        self.head.pattern_vocab_size,
        mask_char_padding=False,
      )
    self.mask = self.arrays["attention_mask"] > 0
    rows, length = self.mask.shape
    self.layout = (Group(1, rows * length) if packed else Group(rows, length),)
    self.batch = self._batch()
    shapes = jax.eval_shape(
      lambda key, batch: self.model.init(key, batch, self.layout),
      jax.random.key(0),
      self.batch,
    )
    self.params = pretrained.fill(
      jax.tree.map(lambda x: np.zeros(x.shape), shapes["params"]),
      str(folder),
      complete=True,
    )

  def _batch(self) -> dict[str, jax.Array]:
    """Each sequence is a row; each token is a target, of classifiers [CLS]."""
    rows, length = self.mask.shape
    numbers = np.arange(rows * length, dtype=np.int32).reshape(rows, length)
    segments = np.where(self.mask, 1 + np.arange(rows)[:, None], 0)
    batch = {
      "input_ids": self.arrays["input_ids"].astype(np.int32),
      "token_types": self.arrays["token_type_ids"].astype(np.int32),
      "positions": numbers % length,
      "segments": segments.astype(np.int32),
      "parts": 0 * numbers,
      "targets": numbers[:, 0] if self.is_classifier else numbers,
    }
    for feature in self.head.features:
      # Each token is a row of its own.
      ids = self.arrays[f"{feature}_ids"].astype(np.int32)
      batch[f"{feature}_short"] = np.zeros((0, 8), np.int32)
      batch[f"{feature}_long"] = ids.reshape(-1, ids.shape[-1])
      batch[f"{feature}_index"] = numbers
    tables = ("short", "long")
    return {
      name: jnp.asarray(x if name.endswith(tables) else x.reshape(-1))
      for name, x in batch.items()
    }

  def loss(self, params) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss, and the outputs that it came from."""
    logits, state = self.model.apply(
      {"params": params}, self.batch, self.layout, mutable=["intermediates"]
    )
    outputs = {k: v[0] for k, v in state["intermediates"].items()}
    outputs["logits"] = logits
    if self.is_classifier:
      outputs["pooled"] = outputs["classifier_input"]
    labels = jnp.asarray(self.arrays["labels"], jnp.int32).reshape(-1)
    name = self.description["loss"]
    if self.is_classifier and self.backbone.family.name == "roberta":
      # The reference has no other loss there (model_span_roberta.py).
      name = "cross_entropy"
    counts = labels >= 0
    if name == "dice" and not self.is_classifier:
      # An ignored token trains class 0 in the reference's dice (loss.py).
      counts = jnp.asarray(self.mask).reshape(-1)
    loss = losses.LOSSES[name](
      logits, jnp.maximum(labels, 0), counts.astype(jnp.float32)
    )
    return loss, outputs

  def largest_difference(self, name: str, values: jax.Array) -> float:
    """To the case's numbers, where the attention mask counts."""
    expected = self.arrays[name]
    difference = np.abs(np.asarray(values).reshape(expected.shape) - expected)
    return float(
      difference[self.mask].max() if difference.ndim == 3 else difference.max()
    )

  def gradient_norms(self, gradient) -> dict[str, float]:
    """Norms of a gradient of ours, under the reference's names."""
    tensors = pretrained.to_hf(gradient, self.backbone.family)
    norms = {
      name: float(np.linalg.norm(tensor)) for name, tensor in tensors.items()
    }
    # torch adds two biases, so that each has the gradient of our one.
    return {name: norms[name.replace("bias_hh", "bias_ih")] for name in norms}
