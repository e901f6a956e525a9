"""Published checkpoints of backbones and of SplitNER, read without PyTorch.

  backbone = pretrained.read_backbone(pretrained.resolve("minilm"))
  params = pretrained.fill(model.init(...)["params"], backbone.folder)

`folders` finds a checkpoint and reads its config, `tensors` and `torch_files`
read its weights, `weights` maps their names and layouts to our parameters by
`table`. What differs from family to family is in `families`.
"""

from splitner_jax.pretrained.families import FAMILIES
from splitner_jax.pretrained.family import Family
from splitner_jax.pretrained.folders import (
  Backbone,
  entity_types,
  read_backbone,
  resolve,
)
from splitner_jax.pretrained.weights import (
  CheckpointHead,
  export,
  fill,
  read_head,
  to_hf,
)

__all__ = [
  "FAMILIES",
  "Backbone",
  "CheckpointHead",
  "Family",
  "entity_types",
  "export",
  "fill",
  "read_backbone",
  "read_head",
  "resolve",
  "to_hf",
]
