"""Damaged folders: what was there before, or one line; never anything else."""

import json
import pathlib
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import pytest

from configs import wnut17
from splitner_jax.experiment import run
from splitner_jax.experiment.settings import flat
from splitner_jax.inference import model_folder
from splitner_jax.inference.ner_model import NerModel
from splitner_jax.runtime import devices
from splitner_jax.runtime.errors import UserError
from tests import damage, runs, tiny_system, tiny_training
from tests.fuzzing import in_proportion

# Of the evaluations of a training.
_SCORES = [10.0, 30.0, 20.0, 25.0]


def _seeds(few: int, many: int, chunk: int) -> list:
  """Ranges of seeds: the first in each run, the others in a long one."""
  long = [
    pytest.param(range(start, min(start + chunk, many)), marks=pytest.mark.long)
    for start in range(few, many, chunk)
  ]
  return [pytest.param(range(few)), *long]


def _facts(model: NerModel) -> dict[str, Any]:
  """All that decides what a model says."""
  return {
    "kind": model.kind.name,
    "decoding": model.decoding,
    "text_style": model.text_style,
    "params": devices.to_host(model.params),
    "tasks": {
      name: (
        task.describe(),
        task.model,
        task.tokenizer.max_length,
        task.tokenizer.fast.backend_tokenizer.to_str(),
        task.tokenizer.fast.special_tokens_map,
      )
      for name, task in model.tasks.items()
    },
  }


def _assert_same(one: Any, other: Any) -> None:
  jax.tree.map(np.testing.assert_array_equal, one["params"], other["params"])
  assert one | {"params": 0} == other | {"params": 0}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  folder = tmp_path_factory.mktemp("saved")
  model = tiny_system.make(
    folder / "backbones", features="both", same_tokenizer=False
  )
  model_folder.save(folder / "model", model)
  return folder / "model"


def _copies(
  folder: pathlib.Path, place: pathlib.Path, seeds: range
) -> Iterator[str]:
  """Copies the folder to `place` and damages it, for each seed."""
  for seed in seeds:
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(folder, place)
    yield f"seed {seed}: {damage.do(place, seed)}"


def _result(what: str, action: Callable[[], Any], usual: float = 0.0) -> Any:
  """What the action gives; None if it is refused, in one line.

  Args:
    what: was damaged.
    action: that meets it.
    usual: seconds of CPU of the action with a whole folder.
  """
  try:
    with in_proportion(usual):
      return action()
  except UserError as e:
    said = str(e)
  except Exception as e:
    raise AssertionError(what) from e
  assert "\n" not in said, what
  return None


@pytest.mark.parametrize("seeds", _seeds(40, 4000, 40), ids=str)
def test_models(saved: pathlib.Path, tmp_path: pathlib.Path, seeds: range):
  place = tmp_path / "model"
  whole = _facts(model_folder.load(str(saved)))
  refused = 0
  for what in _copies(saved, place, seeds):
    found = _result(what, lambda: _facts(model_folder.load(str(place))))
    refused += found is None
    if found is not None:
      _assert_same(found, whole)
  assert 0 < refused < len(seeds)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory):
  """A finished training, and one that was stopped half-way."""
  folder = tmp_path_factory.mktemp("trained")
  params, _ = tiny_training.run(
    tiny_training.Task(_SCORES), folder / "finished", epochs=4
  )

  class Stopped(tiny_training.Task):
    def evaluate(self, *args):
      if len(self.evaluated) == 2:
        raise KeyboardInterrupt
      return super().evaluate(*args)

  with pytest.raises(KeyboardInterrupt):
    tiny_training.run(Stopped(_SCORES), folder / "stopped", epochs=4)
  return folder, devices.to_host(params)


@pytest.mark.parametrize("seeds", _seeds(12, 840, 36), ids=str)
def test_finished_trainings(trained, tmp_path: pathlib.Path, seeds: range):
  _go_on(trained, "finished", tmp_path / "run", seeds, [])


@pytest.mark.parametrize("seeds", _seeds(3, 60, 5), ids=str)
def test_stopped_trainings(trained, tmp_path: pathlib.Path, seeds: range):
  _go_on(trained, "stopped", tmp_path / "run", seeds, [20.0, 25.0])


def _go_on(trained, which, place: pathlib.Path, seeds: range, rest) -> None:
  """Trains on in damaged copies, with the scores that are still to come."""
  folder, whole = trained
  for what in _copies(folder / which, place, seeds):
    kept = place.glob("checkpoints/latest/[0-9]*")
    goes_on = any(map(pathlib.Path.is_dir, kept))
    task = tiny_training.Task(rest if goes_on else _SCORES)
    found = _result(what, lambda t=task: tiny_training.run(t, place, epochs=4))
    if found is not None:
      params = devices.to_host(found[0])
      jax.tree.map(np.testing.assert_array_equal, params, whole)


@pytest.fixture(scope="module")
def whole_run(session_cache: pathlib.Path, tmp_path_factory):
  """Config and folder of a run on all devices of this process."""
  settings = runs.finished(session_cache / "tiny")[0] / "config.json"
  config = wnut17.get_config()
  fields = json.loads(settings.read_text())
  del fields["content_hash"], fields["sources"]
  config.update_from_flattened_dict(flat(fields))
  folder = tmp_path_factory.mktemp("whole") / "run"
  start = time.process_time()
  run.run(config, folder)
  return config, folder, time.process_time() - start


@pytest.mark.parametrize("seeds", _seeds(0, 100, 10)[1:], ids=str)
def test_runs(whole_run, tmp_path: pathlib.Path, capfd, seeds: range):
  """A finished run gives the same model and scores again, or one line."""
  config, folder, seconds = whole_run
  whole = json.loads((folder / "report.json").read_text())
  model = _facts(model_folder.load(str(folder / "model")))
  place = tmp_path / "run"
  for what in _copies(folder, place, seeds):
    found = _result(what, lambda: run.run(config, place), seconds)
    if found is None:
      continue
    for split in ("dev", "test"):
      scores = (report[split]["all_sentences"] for report in (found, whole))
      assert next(scores) == next(scores), what
    _assert_same(_facts(model_folder.load(str(place / "model"))), model)
    capfd.readouterr()
