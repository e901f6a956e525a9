"""A tiny system with made-up parameters, and one that needs no model."""

import dataclasses
import json
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from flax import traverse_util

from configs import common
from splitner_jax import pretrained, tasks
from splitner_jax.data.sentences import ScoredSpan, Sentence
from splitner_jax.data.text import TextStyle
from splitner_jax.experiment.settings import task_settings
from splitner_jax.inference import model_folder
from splitner_jax.inference.ner_model import Explained, NerModel
from splitner_jax.inputs.tokenizer import Tokenizer
from splitner_jax.models.shapes import parameter_shapes
from splitner_jax.runtime import devices
from splitner_jax.tasks.decoding import Decoding
from splitner_jax.tasks.source import TaskSource
from splitner_jax.tasks.systems import SYSTEMS, Steps
from tests import tiny

TYPES = ("location", "person", "thing")
GROUPS = "location,thing;person"
"""Of the types, for the system hierarchical."""


def make(
  folder: pathlib.Path,
  *,
  kind: str = "splitner",
  features: str = "none",
  sentences: Sequence[Sentence] = (),
  same_tokenizer: bool = True,
  **classifier: Any,
) -> NerModel:
  """A system on a backbone that is written to `folder`.

  Args:
    folder: gets a backbone for each task.
    kind: of the system.
    features: of the task that labels words.
    sentences: of the training data.
    same_tokenizer: whether the classifier's is the detector's.
    **classifier: fields of the classifier's part of the config.
  """
  config = common.get_config()
  config.classifier.update(classifier)
  config.detector.features = config.tagger.features = features
  config.detector.groups = GROUPS
  parts: dict[str, tasks.AnyTask] = {}
  for name in SYSTEMS[kind].task_names:
    source = tiny.make_backbone(folder / name)
    if name == "classifier" and not same_tokenizer:
      path = source / "tokenizer.json"
      fields = json.loads(path.read_text())
      vocabulary = fields["model"]["vocab"]
      vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
      path.write_text(json.dumps(fields))
    backbone = pretrained.read_backbone(str(source))
    tokenizer = Tokenizer(str(source), backbone.family.pairs, 200)
    parts[name] = SYSTEMS[kind].make(
      TaskSource(
        name,
        task_settings(config, name),
        backbone,
        tokenizer,
        TYPES,
        {},
        sentences,
      )
    )
  rng = np.random.default_rng(3)
  params = {}
  for name, task in parts.items():
    flat = {
      key: rng.normal(key.endswith("scale"), 0.3, shape).astype(np.float32)
      for key, shape in parameter_shapes(task.model).items()
    }
    if name == "detector" and kind == "splitner":
      # So that labels of all kinds win somewhere.
      flat["classifier/bias"] -= np.array([-0.8, 0.6, 2.4, -1.1], np.float32)
    params[name] = devices.replicate(
      traverse_util.unflatten_dict(flat, sep="/")
    )
  return NerModel(SYSTEMS[kind], parts, params, card="# A card\n")


def save(folder: pathlib.Path) -> pathlib.Path:
  """The folder of a model as `make` makes it."""
  model_folder.save(folder / "model", make(folder / "backbones"))
  return folder / "model"


@dataclasses.dataclass
class Capitals:
  """Stands in for a trained system: runs of capitalised words are mentions.

  Attributes:
    words: how many words it was given at a time.
    seconds: how long that takes it.
  """

  labels: tuple[str, ...] = ("name", "WORLD")
  decoding: Decoding = dataclasses.field(default_factory=Decoding)
  text_style: TextStyle = dataclasses.field(default_factory=TextStyle)
  words: list[int] = dataclasses.field(default_factory=list)
  seconds: float = 0.0

  reads_pos = False

  def predictor(self, batch_size: int) -> "Capitals":
    del batch_size
    return self

  def encode(self, sentences: Sequence[Sentence]) -> int:
    return len(sentences)

  def predict(
    self,
    sentences: Sequence[Sentence],
    examples: int,
    *,
    decoding: Decoding,
    batch_size: int | None,
  ) -> list[list[ScoredSpan]]:
    del batch_size
    assert examples == len(sentences)
    self.words.append(sum(len(s.words) for s in sentences))
    time.sleep(self.seconds)
    keep = decoding.thresholds.keep
    return [keep(self._spans(s.words)) for s in sentences]

  def explain(
    self, sentences: Sequence[Sentence], decoding: Decoding
  ) -> list[list[Explained]]:
    found = self.predict(
      sentences, len(sentences), decoding=decoding, batch_size=None
    )
    return [
      [(s, Steps(1.0, ((s.label, s.score), ("other", 0.25)))) for s in row]
      for row in found
    ]

  def _spans(self, words: Sequence[str]) -> list[ScoredSpan]:
    spans, start = [], None
    for i, word in enumerate([*words, ""]):
      if word[:1].isupper():
        start = i if start is None else start
      elif start is not None:
        label = "WORLD" if words[start].isupper() else "name"
        spans.append(ScoredSpan(start, i, label, 0.5 + 0.1 * (i - start > 1)))
        start = None
    return spans
