"""Makes the numbers in tests/data/parity: python tests/make_parity_numbers.py

Needs PyTorch. The weights are not kept: `parity_cases` makes them up again.
"""

import json
from typing import Any

import numpy as np
import torch
from parity_cases import SMALL_CASES, made_up_weights
from torch_models import TaskModel, train_three_steps

_SIZES = {
  "vocab_size": 40,
  "hidden_size": 16,
  "num_hidden_layers": 2,
  "num_attention_heads": 2,
  "intermediate_size": 24,
  "max_position_embeddings": 20,
}
_FAMILIES: dict[str, dict[str, Any]] = {
  "bert": {
    "model_type": "bert",
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
  },
  "roberta": {
    "model_type": "roberta",
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
  },
}
_CASES: dict[str, dict[str, Any]] = {
  "bert_tagger": {
    "model": "tagger",
    "encoder": "bert",
    "features": ["pattern"],
    "loss": "dice",
    "num_labels": 7,
  },
  "roberta_classifier": {
    "model": "classifier",
    "encoder": "roberta",
    "features": [],
    "loss": "cross_entropy",
    "num_labels": 5,
  },
  "roberta_detector": {
    "model": "detector",
    "encoder": "roberta",
    "features": ["char", "pattern"],
    "loss": "cross_entropy",
    "num_labels": 4,
  },
}
_LENGTHS = (8, 5, 2)


def make_inputs(description: dict[str, Any]) -> dict[str, np.ndarray]:
  """Random token ids and labels, padded on the right."""
  random = np.random.RandomState(len(description["model"]))
  shape = (len(_LENGTHS), max(_LENGTHS))
  mask = np.arange(shape[1]) < np.array(_LENGTHS)[:, None]
  ids = random.randint(5, _SIZES["vocab_size"], shape)
  types = (np.arange(shape[1]) >= 3) & mask
  if description["encoder"] == "roberta":
    types[:] = False
  inputs = {
    "input_ids": np.where(mask, ids, description["config"]["pad_token_id"]),
    "attention_mask": mask,
    "token_type_ids": types,
  }
  for feature, rows, width in (("char", 95, 7), ("pattern", 42, 5)):
    lengths = random.randint(1, width + 1, (*shape, 1))
    ids = random.randint(1, rows, (*shape, width))
    inputs[f"{feature}_ids"] = np.where(np.arange(width) < lengths, ids, 0)
  labels = random.randint(0, description["num_labels"], shape)
  is_classifier = description["model"] == "classifier"
  inputs["labels"] = (
    labels[:, 0] if is_classifier else np.where(mask, labels, -100)
  )
  return {name: array.astype(np.int64) for name, array in inputs.items()}


def make(name: str, description: dict[str, Any]) -> None:
  """Writes one case."""
  description["config"] = _SIZES | _FAMILIES[description["encoder"]]
  model = TaskModel(description).eval()
  description["parameters"] = {
    key: list(tensor.shape) for key, tensor in model.named_parameters()
  }
  weights = made_up_weights(description["parameters"])
  with torch.no_grad():
    for key, tensor in model.named_parameters():
      tensor.copy_(torch.from_numpy(weights[key]))

  arrays = make_inputs(description)
  inputs = {key: torch.from_numpy(array) for key, array in arrays.items()}
  outputs = model(inputs)
  outputs["loss"].backward()
  description["gradient_norms"] = {
    key: float(tensor.grad.norm())
    for key, tensor in model.named_parameters()
    if tensor.grad is not None
  }
  if description["features"]:
    del outputs["classifier_input"]  # Large, and seen through the logits.
  arrays |= {key: value.detach().numpy() for key, value in outputs.items()}
  if name == "roberta_classifier":
    train_three_steps(model, lambda: model(inputs)["loss"], clip_norm=0.1)
    for key, tensor in model.named_parameters():
      arrays[f"after_three_steps:{key}"] = tensor.detach().numpy()
  np.savez_compressed(SMALL_CASES / f"{name}.npz", **arrays)
  text = json.dumps(description, indent=1, sort_keys=True)
  (SMALL_CASES / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
  SMALL_CASES.mkdir(parents=True, exist_ok=True)
  for case_name, case_description in _CASES.items():
    make(case_name, case_description)
