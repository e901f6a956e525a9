"""Records of the core: what is decided once does not change."""

import dataclasses

import pytest

from splitner_jax.data.tags import LabelScheme
from splitner_jax.evaluation.thresholds import (
  MatchedPredictions,
  Target,
  Thresholds,
)
from splitner_jax.inputs.plan import Plan
from splitner_jax.tasks.decoding import Decoding


@pytest.mark.parametrize(
  "record",
  [Decoding, LabelScheme, MatchedPredictions, Plan, Target, Thresholds],
)
def test_no_field_can_be_set(record: type):
  made = object.__new__(record)
  for field in dataclasses.fields(record):
    with pytest.raises(dataclasses.FrozenInstanceError):
      setattr(made, field.name, None)
