"""Names and shapes of a model's parameters."""

import dataclasses

import jax
import numpy as np
from flax import traverse_util

from splitner_jax.inputs.packing import Group
from splitner_jax.models.heads import Model


def parameter_shapes(model: Model) -> dict[str, tuple[int, ...]]:
  """Shapes of a model's parameters by name; nothing is computed.

  Args:
    model: one of those in `heads`.
  """
  token: np.ndarray = np.zeros(8, np.int32)
  table: np.ndarray = np.zeros((8, 8), np.int32)
  arrays = dict.fromkeys(
    ("input_ids", "token_types", "positions", "segments", "parts", "targets"),
    token,
  )
  columns = len(getattr(model, "word_sizes", ()))
  arrays["word_ids"] = np.zeros((8, columns), np.int32)
  arrays |= {"char_index": token, "pattern_index": token, "pos_ids": token}
  arrays |= {
    f"{name}_{width}": table
    for name in ("char", "pattern")
    for width in ("short", "long")
  }
  # Most layers are alike, and tracing them all would be half of a model's load.
  encoder = model.encoder
  traced = min(encoder.distinct_layers, encoder.num_layers)
  model = model.clone(encoder=dataclasses.replace(encoder, num_layers=traced))
  variables = jax.eval_shape(
    lambda key, batch: model.init(key, batch, (Group(1, 8),)),
    jax.random.key(0),
    arrays | {"ranges": np.zeros((8, 2), np.int32)},
  )
  flat = traverse_util.flatten_dict(variables["params"], sep="/")
  last = f"/layer_{traced - 1}/"
  return {
    name.replace(last, f"/layer_{i}/"): leaf.shape
    for name, leaf in flat.items()
    for i in range(traced - 1, encoder.num_layers if last in name else traced)
  }
