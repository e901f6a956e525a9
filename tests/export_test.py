"""Encoders of a finished run, written for transformers."""

import shutil

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from splitner_jax import pretrained
from splitner_jax.commands import export
from splitner_jax.inference import model_folder
from splitner_jax.runtime.errors import UserError
from tests import runs


@pytest.fixture(scope="module")
def workdir(session_cache):
  return runs.finished(session_cache / "tiny")[0]


@pytest.mark.parametrize("task", ["detector", "classifier"])
def test_the_trained_encoder_is_what_is_written(workdir, tmp_path, task):
  export.export(workdir, task, str(tmp_path / "encoder"))

  trained = model_folder.load(str(workdir / "model")).params[task]
  zeros = jax.tree.map(np.zeros_like, {"encoder": trained["encoder"]})
  read = pretrained.fill(zeros, str(tmp_path / "encoder"))
  jax.tree.map(
    np.testing.assert_array_equal, read, {"encoder": trained["encoder"]}
  )
  modes = {p.stat().st_mode for p in (tmp_path / "encoder").iterdir()}
  assert len(modes) == 1
  # Training changed it, and its own pooler goes along.
  start = load_file(workdir.parent / "backbone/model.safetensors")
  written = load_file(tmp_path / "encoder/model.safetensors")
  word = "embeddings.word_embeddings.weight"
  assert np.abs(written[word] - start[word]).max() > 0
  same = np.array_equal(
    written["pooler.dense.bias"], start["pooler.dense.bias"]
  )
  assert same == (task == "detector")


def test_a_run_that_is_not_there(workdir, tmp_path):
  with pytest.raises(UserError, match=r"no/config.json: no such file"):
    export.export(tmp_path / "no", "detector", str(tmp_path / "encoder"))
  (tmp_path / "config.json").write_text("[]")
  with pytest.raises(UserError, match="is no config of a training run"):
    export.export(tmp_path, "detector", str(tmp_path / "encoder"))
  with pytest.raises(UserError, match="is not empty"):
    export.export(workdir, "detector", str(workdir))
  with pytest.raises(UserError, match="no tagger, only detector, classifier"):
    export.export(workdir, "tagger", str(tmp_path / "encoder"))
  # Its model is in no hub either.
  shutil.copy(workdir / "config.json", tmp_path)
  with pytest.raises(UserError, match="no folder 'model' yet; let the run"):
    export.export(tmp_path, "detector", str(tmp_path / "encoder"))
  assert not (tmp_path / "encoder").exists()
