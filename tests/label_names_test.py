"""A last layer that starts from the names of the types."""

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import wnut17
from splitner_jax.data.sentences import Sentence, Span
from splitner_jax.experiment import task_specs
from splitner_jax.inference.forward import Forward, Programs
from splitner_jax.inputs import questions
from splitner_jax.runtime import devices
from splitner_jax.training import loop
from tests import tiny


@pytest.fixture
def config(tmp_path) -> ConfigDict:
  config = wnut17.get_config()
  config.backbone = str(tiny.make_backbone(tmp_path / "bert"))
  config.data.dir = str(tiny.make_wnut(tmp_path / "data"))
  config.classifier.last_layer = "names"
  return config


@pytest.mark.parametrize("none_class", [False, True])
def test_a_name_is_held_for_its_type(config, none_class):
  config.classifier.none_class = none_class
  experiment = task_specs.prepare(config)
  part = experiment.parts["classifier"]
  setup = loop.prepare(part.task, part.settings, experiment.corpus.train)
  params = setup.init_state(part.fill).params
  names = [
    tuple(questions.type_name(label, {}).split()) for label in part.task.labels
  ]
  logits = part.task.logits(
    Forward(Programs(part.task, 8), devices.replicate(params)),
    [Sentence(words) for words in names],
    [[Span(0, len(words), "")] for words in names],
  )
  of_types = logits[:, : len(names)]
  # Columns are as long as each other and without what the names share.
  np.testing.assert_array_equal(of_types.argmax(axis=0), np.arange(len(names)))
  columns = params["classifier"]["kernel"][:, : len(names)]
  np.testing.assert_allclose(np.linalg.norm(columns, axis=0), 0.5, rtol=1e-5)


def test_other_parts_start_as_ever(config):
  def params(last_layer: str):
    config.classifier.last_layer = last_layer
    experiment = task_specs.prepare(config)
    part = experiment.parts["classifier"]
    setup = loop.prepare(part.task, part.settings, experiment.corpus.train)
    return setup.init_state(part.fill).params

  drawn, named = params("random"), params("names")
  assert drawn.keys() == named.keys()
  for ours, other in zip(
    jax.tree.leaves(drawn["pooler"]),
    jax.tree.leaves(named["pooler"]),
    strict=True,
  ):
    np.testing.assert_array_equal(ours, other)
  np.testing.assert_array_equal(
    drawn["classifier"]["bias"], named["classifier"]["bias"]
  )
  assert np.any(drawn["classifier"]["kernel"] != named["classifier"]["kernel"])
