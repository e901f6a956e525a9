"""The numbers of the reference implementation, case by case.

Every case of the folder SPLITNER_PARITY_DIR, else `shared/data/parity` beside
the checkout, is one test, and so are the small ones of tests/data/parity (see
make_parity_numbers.py). `parity_cases` says what a case is.
"""

import os
import pathlib

import jax
import numpy as np
import pytest
from parity_cases import SMALL_CASES, Case

from splitner_jax import pretrained
from splitner_jax.training import optimizer

_FOLDER = pathlib.Path(
  os.environ.get("SPLITNER_PARITY_DIR")
  or pathlib.Path(__file__).parents[2] / "shared" / "data" / "parity"
)
_PATHS = [
  path.with_suffix("")
  for folder in (_FOLDER, SMALL_CASES)
  for path in sorted(folder.glob("*.json"))
]


def test_cases_are_there() -> None:
  if not any(path.parent == _FOLDER for path in _PATHS):
    pytest.skip(f"no parity cases in {_FOLDER}: set SPLITNER_PARITY_DIR")


@pytest.mark.parametrize("packed", [False, True], ids=["", "packed"])
@pytest.mark.parametrize("path", _PATHS, ids=lambda path: path.name)
def test_case(path: pathlib.Path, packed: bool, tmp_path: pathlib.Path) -> None:
  case = Case(path, tmp_path, packed=packed)
  assert sorted(case.head.features) == sorted(case.description["features"])
  assert case.head.num_labels == case.description["num_labels"]

  (loss, outputs), gradient = jax.jit(
    jax.value_and_grad(case.loss, has_aux=True)
  )(case.params)
  for name in ("hidden", "pooled", "classifier_input", "logits"):
    if name in case.arrays:
      assert case.largest_difference(name, outputs[name]) <= 2e-5, name
  assert abs(float(loss) - float(case.arrays["loss"])) <= 1e-5

  norms = case.gradient_norms(gradient)
  expected = case.description["gradient_norms"]
  assert norms.keys() == expected.keys()
  for name, norm in norms.items():
    assert norm == pytest.approx(expected[name], rel=1e-3, abs=1e-6), name


def test_three_steps(tmp_path: pathlib.Path) -> None:
  case = Case(SMALL_CASES / "roberta_classifier", tmp_path)
  rule = optimizer.make(weight_decay=0.01, clip_norm=0.1)

  @jax.jit
  def step(params, state):
    gradient, _ = jax.grad(case.loss, has_aux=True)(params)
    updates, state = rule.update(gradient, state, params)
    return jax.tree.map(lambda p, u: p + 1e-4 * u, params, updates), state

  params, state = case.params, rule.init(case.params)
  for _ in range(3):
    params, state = step(params, state)
  tensors = pretrained.to_hf(params, case.backbone.family)
  prefix = "after_three_steps:"
  expected = {
    name.removeprefix(prefix): array
    for name, array in case.arrays.items()
    if name.startswith(prefix)
  }
  assert tensors.keys() == expected.keys()
  for name, tensor in tensors.items():
    # Their gradient is zero in exact arithmetic, and Adam makes noise big.
    if not name.endswith("key.bias"):
      assert np.abs(tensor - expected[name]).max() <= 1e-5, name
