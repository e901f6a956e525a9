"""Training that begins with an earlier model."""

import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest
from flax import traverse_util

from configs import wnut17
from splitner_jax.data.sentences import Sentence
from splitner_jax.experiment import run, warm_start
from splitner_jax.inference.ner_model import NerModel
from splitner_jax.runtime import devices
from splitner_jax.runtime.errors import UserError
from splitner_jax.tasks import AnyTask
from tests import runs, tiny_system


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> NerModel:
  return tiny_system.make(tmp_path_factory.mktemp("a"), features="both")


def _flat(tree) -> dict[str, np.ndarray]:
  return traverse_util.flatten_dict(devices.to_host(tree), sep="/")


def _other(model: NerModel, types: tuple[str, ...], **options) -> NerModel:
  """A model like this, of other types and with other parameters."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(tiny_system, "TYPES", types)
    made = tiny_system.make(options.pop("folder"), **options)
  params = jax.tree.map(lambda x: np.asarray(x) + 1, made.params)
  return NerModel(made.kind, made.tasks, params)


def _fill(model: NerModel, other: NerModel, name: str) -> dict[str, np.ndarray]:
  task: AnyTask = other.tasks[name]
  return _flat(warm_start.fill(other.params[name], task, model))


def test_labels_that_both_have_are_taken_over(
  model: NerModel, tmp_path: pathlib.Path
):
  """thing and person, but for their place; zebra is new, location is gone."""
  other = _other(
    model, ("person", "thing", "zebra"), folder=tmp_path, features="both"
  )
  fresh = _flat(other.params["classifier"])
  before = _flat(model.params["classifier"])
  found = _fill(model, other, "classifier")
  assert tiny_system.TYPES == ("location", "person", "thing")
  for name in ("classifier/kernel", "classifier/bias"):
    np.testing.assert_array_equal(found[name][..., :2], before[name][..., 1:])
    np.testing.assert_array_equal(found[name][..., 2], fresh[name][..., 2])
  del found["classifier/kernel"], found["classifier/bias"]
  assert len(found) > 10
  for name, value in found.items():
    np.testing.assert_array_equal(value, before[name])
  # The labels of the detector are the same.
  for name, value in _fill(model, other, "detector").items():
    np.testing.assert_array_equal(value, _flat(model.params["detector"])[name])


def _of_tags(folder: pathlib.Path, *tags: str) -> NerModel:
  sentence = Sentence(("a",) * len(tags), pos=tags)
  return tiny_system.make(folder, features="pos", sentences=[sentence])


def test_parts_of_speech_that_both_have_are_taken_over(tmp_path: pathlib.Path):
  """VERB, whose place is another one; ADP is new."""
  before = _of_tags(tmp_path / "a", "ADJ", "NOUN", "VERB")
  other = _of_tags(tmp_path / "b", "ADJ", "ADP", "VERB", "X")
  other = dataclasses.replace(
    other, params=jax.tree.map(lambda x: np.asarray(x) + 1, other.params)
  )
  found = _fill(before, other, "detector")["pos/embedding"]
  table = _flat(before.params["detector"])["pos/embedding"]
  fresh = _flat(other.params["detector"])["pos/embedding"]
  expected = [table[0], table[1], fresh[2], table[3], fresh[4]]
  np.testing.assert_array_equal(found, expected)


def test_a_feature_that_is_new_begins_anew(
  model: NerModel, tmp_path: pathlib.Path, caplog
):
  plain = tiny_system.make(tmp_path / "plain")
  other = _other(
    model, tiny_system.TYPES, folder=tmp_path / "both", features="both"
  )
  fresh = _flat(other.params["detector"])
  with caplog.at_level("INFO", "splitner_jax"):
    found = _fill(plain, other, "detector")
  before = _flat(plain.params["detector"])
  for name, value in found.items():
    # The last layer reads the features too.
    new = name.startswith(("char/", "pattern/")) or name == "classifier/kernel"
    expected = fresh[name] if new else before[name]
    np.testing.assert_array_equal(value, expected, err_msg=name)
  assert "new labels: none; new parameters: char/cnn/" in caplog.text
  assert ", classifier/kernel, " in caplog.text


def test_another_encoder_is_refused(model: NerModel, tmp_path: pathlib.Path):
  other = _other(model, tiny_system.TYPES, folder=tmp_path)
  task = other.tasks["classifier"]
  larger = task.model.encoder.__class__(
    **{**vars(task.model.encoder), "vocab_size": 1234}
  )
  object.__setattr__(task.model, "encoder", larger)
  with pytest.raises(UserError, match=r"vocab_size \d+ there, 1234 here"):
    warm_start.fill(other.params["classifier"], task, model)


def test_without_epochs_it_is_the_model(session_cache, tmp_path):
  folder = session_cache / "tiny"
  done, _ = runs.finished(folder)
  before = json.loads((done / "report.json").read_text())
  config = wnut17.get_config()
  config.backbone = str(folder / "backbone")
  config.data.dir = str(folder / "data")
  config.epochs, config.max_length = 0, 160
  config.start_from = str(done / "model")
  config.detector.question, config.detector.features = "", "none"
  after = run.run(config, tmp_path / "again")
  for split in ("dev", "test"):
    for row in ("all_sentences", "detection", "classification_on_gold"):
      assert after[split][row] == before[split][row]
  assert before["test"]["detection"]["f1"] > 0

  config.system = "single_qa"
  with pytest.raises(UserError, match=r"^config.start_from: .* is SplitNER"):
    run.run(config, tmp_path / "no")
