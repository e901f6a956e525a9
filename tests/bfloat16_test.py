"""The compute dtype of accelerators, with a real encoder, beside float32."""

import jax
import numpy as np
import pytest

from configs import demo
from splitner_jax.experiment import task_specs
from splitner_jax.runtime import devices
from splitner_jax.throughput import weights
from splitner_jax.training import loop


def _logits(name: str, dtype: str) -> np.ndarray:
  """Of a batch of real sentences; only the new layers are random."""
  config = demo.get_config()
  config.compute_dtype = dtype
  experiment = task_specs.prepare(config)
  part = experiment.parts[name]
  sentences = [s for s in experiment.corpus.train if s.spans][:16]
  setup = loop.prepare(part.task, part.settings, sentences)
  batch, _ = next(setup.batches(0))
  params = part.fill(devices.to_host(weights.parameters(part.task)))
  arrays = {key: value[0] for key, value in batch.arrays.items()}
  apply = jax.jit(part.task.model.apply, static_argnums=2)
  logits = apply({"params": params}, arrays, batch.layout)
  return np.asarray(logits)[arrays["weights"] > 0]


@pytest.mark.usefixtures("minilm")
@pytest.mark.parametrize(
  "name",
  [pytest.param("detector", marks=pytest.mark.slow), "classifier"],
)
def test_logits_are_near_those_of_float32(name: str) -> None:
  exact, near = _logits(name, "float32"), _logits(name, "bfloat16")
  assert exact.dtype == near.dtype == np.float32
  # Each rounding is up to 1/256 of a number; measured: 0.04 and 0.007.
  spread = exact.std()
  difference = np.abs(near - exact)
  assert 0 < difference.max() < 0.06 * spread
  assert difference.mean() < 0.01 * spread
