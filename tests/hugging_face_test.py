"""Habits of Hugging Face: the pipeline's dictionaries, and the hub."""

import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from splitner_jax import SplitNER
from splitner_jax.inference import model_folder
from splitner_jax.integrations.hugging_face import NerPipeline, pipeline
from splitner_jax.runtime.errors import UserError
from tests import fake_hub, runs, tiny_system

TEXTS = ["ada likes so so oslo bay .", "bo is in rome", ""]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  return tiny_system.save(tmp_path_factory.mktemp("hugging_face"))


def test_entities_as_dictionaries():
  ner = pipeline(SplitNER(tiny_system.Capitals()), threshold=0.0)
  paris = {"entity_group": "name", "word": "Old Paris", "start": 3, "end": 12}
  rome = {"entity_group": "WORLD", "word": "ROME", "start": 0, "end": 4}
  paris["score"], rome["score"] = 0.6, 0.5
  assert ner("in Old Paris.") == [paris]
  # As transformers writes them: this order, and numbers that JSON takes.
  assert [*ner("in Old Paris.")[0]] == [
    *("entity_group", "score", "word", "start", "end")
  ]
  assert json.loads(json.dumps(ner("ROME"))) == [rome]
  assert ner(["ROME", "in Old Paris."]) == [[rome], [paris]]
  assert ner(()) == []
  found = ner(text for text in ["ROME", "in Old Paris."])
  assert next(found) == [rome]
  assert list(found) == [[paris]]
  assert NerPipeline(ner._ner, threshold=0.55)(["ROME"]) == [[]]
  with pytest.raises(UserError, match="text 0: is 3"):
    ner([3])


def test_the_same_as_of_transformers(folder: pathlib.Path):
  """The same keys, and the same kinds of values."""
  torch = pytest.importorskip("torch", reason="needs torch: --parity")
  import transformers

  config = transformers.BertConfig(
    vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=1
  )
  config.num_labels = 2
  tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
  config.vocab_size = len(tokenizer)
  torch.manual_seed(0)
  theirs = transformers.pipeline(
    "ner",
    model=transformers.BertForTokenClassification(config),
    tokenizer=tokenizer,
    aggregation_strategy="simple",
  )
  ours = pipeline(str(folder), threshold=0)
  for given in (TEXTS[0], TEXTS[:2]):
    shapes = []
    for found in (theirs(given), ours(given)):
      assert found
      first = found[0] if isinstance(given, str) else found[0][0]
      shapes.append([*first])
      assert isinstance(first["start"], int)
    assert shapes[0] == shapes[1]


_PROGRAM = """
import json, sys
import huggingface_hub
from splitner_jax import SplitNER
from splitner_jax.runtime.errors import UserError

previous, folder, name, texts = json.loads(sys.argv[1])
try:
  SplitNER.from_pretrained(previous).push_to_hub(name, private=True)
  huggingface_hub.upload_file(
    repo_id=name, path_or_fileobj=b"theirs", path_in_repo="onnx/tokenizer.json"
  )
  SplitNER.from_pretrained(folder).push_to_hub(name)
  ner = SplitNER.from_pretrained(name)
  found = ner.predict(texts, threshold=0)
  print(json.dumps([[entity[:4] for entity in x] for x in found]))
  SplitNER.from_pretrained("someone/else")
except UserError as e:
  print("error:", e)
"""


def _run(folder: pathlib.Path, hub: fake_hub.Hub, home: pathlib.Path, token):
  """What a process says that has this hub."""
  environment = {k: v for k, v in os.environ.items() if k[:3] != "HF_"}
  environment |= {
    "HF_ENDPOINT": hub.url,
    "HF_HOME": str(home),
    "HF_TOKEN": token,
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_XET": "1",
    "NO_PROXY": "127.0.0.1",
    "no_proxy": "127.0.0.1",
  }
  # A model of other files, in whose place the other comes.
  parent = home.with_name("previous")
  previous = tiny_system.make(parent / "backbones", same_tokenizer=False)
  model_folder.save(parent / "model", previous)
  argument = json.dumps([str(parent / "model"), str(folder), "ada/tiny", TEXTS])
  done = subprocess.run(
    [sys.executable, "-c", _PROGRAM, argument],
    capture_output=True,
    text=True,
    check=False,
    timeout=300,
    cwd=runs.ROOT,
    env=environment,
  )
  assert done.returncode == 0, done.stderr
  return done.stdout.splitlines()


def test_to_the_hub_and_back(folder: pathlib.Path, tmp_path: pathlib.Path):
  with fake_hub.running() as hub:
    found, nobody = _run(folder, hub, tmp_path / "home", fake_hub.TOKEN)
  ner = SplitNER.from_pretrained(str(folder))
  wanted = [[[*e[:4]] for e in x] for x in ner.predict(TEXTS, threshold=0)]
  assert any(wanted)
  assert json.loads(found) == wanted
  assert nobody.startswith("error: someone/else: no such folder, and no such")
  assert hub.private == {"ada/tiny": True}
  # What was asked beside that is nothing that is missed.
  assert not [line for line in hub.unknown if "someone" not in line]
  there = hub.models["ada/tiny"]
  assert there.pop("onnx/tokenizer.json") == b"theirs"
  assert (
    there.keys()
    == {
      str(path.relative_to(folder))
      for path in folder.rglob("*")
      if path.is_file()
    }
    | {".gitattributes"} & there.keys()
  )
  for name, data in there.items():
    if name != "README.md":
      assert data == (folder / name).read_bytes(), name


def test_a_hub_that_refuses(folder: pathlib.Path, tmp_path: pathlib.Path):
  with fake_hub.running() as hub:
    [said] = _run(folder, hub, tmp_path / "home", "hf_wrong")
  assert said.startswith("error: ada/tiny: cannot be uploaded (")
  assert "hf auth login" in said
  assert not hub.models


def test_the_example_of_the_readme(folder: pathlib.Path, monkeypatch, capsys):
  text = (runs.ROOT / "README.md").read_text()
  [code] = re.findall(
    r"```python\n(from splitner_jax.integrations.hugg.*?)```", text, re.S
  )
  work = folder.parent / "work"
  (work / "runs").mkdir(parents=True)
  (work / "runs/files").symlink_to(folder.parent)
  monkeypatch.chdir(work)
  names: dict[str, object] = {}
  exec(code, names)
  np.testing.assert_equal("ner" in names, True)
