"""A kind of system that the package does not know: two taggers, averaged."""

import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import wnut17
from splitner_jax import SplitNER, tasks
from splitner_jax.data.sentences import Sentence
from splitner_jax.experiment import run
from splitner_jax.inference import model_folder
from splitner_jax.inputs.examples import Examples
from splitner_jax.tasks.decoding import Decoding
from splitner_jax.tasks.source import TaskSource
from splitner_jax.tasks.systems import (
  SYSTEMS,
  DetectionReading,
  Prediction,
  SystemKind,
  register,
)
from splitner_jax.tasks.systems.base import Forwards, Tasks
from tests import tiny


class Ensemble(SystemKind[DetectionReading]):
  """Labels words by the mean of what two taggers say."""

  name: ClassVar[str] = "ensemble"
  title: ClassVar[str] = "Two taggers"
  task_names: ClassVar[tuple[str, ...]] = ("tagger", "second")
  detection_task: ClassVar[str] = "tagger"

  def make(self, source: TaskSource) -> tasks.AnyTask:
    return tasks.sequence_tagging(
      source.settings,
      source.encoder,
      source.tokenizer,
      source.types(one_label_each=False),
      name=source.name,
    )

  def read(
    self,
    tasks: Tasks,
    forwards: Forwards,
    sentences: Sequence[Sentence],
    examples: Examples,
    outside_biases: Sequence[float],
  ) -> DetectionReading:
    both = [forwards[name](examples) for name in self.task_names]
    return DetectionReading(sentences, examples, np.mean(both, axis=0))

  def decode(
    self, tasks: Tasks, reading: DetectionReading, decoding: Decoding
  ) -> Prediction:
    found = self.detect(tasks, reading, decoding)
    mentions = [decoding.thresholds.keep(row) for row in found]
    return Prediction(mentions, [*mentions])


@pytest.fixture
def ensemble() -> Iterator[None]:
  register(Ensemble())
  yield
  del SYSTEMS["ensemble"]


@pytest.fixture
def config(tmp_path: pathlib.Path) -> ConfigDict:
  tiny.make_backbone(tmp_path / "backbone")
  tiny.make_wnut(tmp_path / "data")
  config = wnut17.get_config("single_seqtag")
  config.system = "ensemble"
  config.second = ConfigDict(config.tagger.to_dict())
  config.update_from_flattened_dict(
    {
      "backbone": str(tmp_path / "backbone"),
      "data.dir": str(tmp_path / "data"),
      "epochs": 3,
      "batch_size": 8,
      "max_length": 160,
      "learning_rate": 0.01,
      "tagger.features": "none",
      "second.features": "none",
      "second.scheme": "BIOE",
      "tagger.scheme": "BIOE",
      "tune_decoding": True,
    }
  )
  return config


@pytest.mark.usefixtures("ensemble")
def test_it_trains_is_scored_saved_loaded_and_tags(
  config: ConfigDict, tmp_path: pathlib.Path
):
  workdir = tmp_path / "run"
  report: dict[str, Any] = run.run(config, workdir)
  assert set(report["training"]) == {"tagger", "second"}
  assert report["test"]["all_sentences"]["f1"] > 0
  assert report["decoding"]["f1"] >= report["decoding"]["f1_before"]
  assert "calibration" not in report
  assert "Two taggers" in (workdir / "report.md").read_text()

  loaded = model_folder.load(str(workdir / "model"))
  one, other = (loaded.params[n]["classifier"]["kernel"] for n in loaded.params)
  assert not np.allclose(one, other)  # They begin and end apart.
  rows = (workdir / "predictions" / "test.jsonl").read_text().splitlines()
  sentences = [json.loads(row) for row in rows]
  ner = SplitNER.from_pretrained(str(workdir / "model"))
  found = ner.predict([s["tokens"] for s in sentences])
  assert [
    [(e.first_word, e.end_word, e.label) for e in entities]
    for entities in found
  ] == [
    [(e["start"], e["end"], e["label"]) for e in s["predicted"]]
    for s in sentences
  ]
  assert sum(map(len, found)) > 0
