"""Exported programs: StableHLO by jax.export, ONNX in onnxruntime."""

import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from flax import traverse_util
from jax import numpy as jnp

from configs import common
from splitner_jax import SplitNER, pretrained, tasks
from splitner_jax.data.sentences import Sentence, Span
from splitner_jax.experiment.settings import task_settings
from splitner_jax.inference import model_folder
from splitner_jax.inference.ner_model import NerModel
from splitner_jax.inputs.tokenizer import Tokenizer
from splitner_jax.integrations import exports
from splitner_jax.integrations.programs import Program, ProgramForward, tagger
from splitner_jax.models.shapes import parameter_shapes
from splitner_jax.runtime import devices, files
from splitner_jax.runtime.errors import UserError
from splitner_jax.tasks.decoding import Decoding
from tests import runs, tiny_families, tiny_system

TEXTS = ["ada likes so so oslo bay .", "bo is in rome", "", "so so " * 30]


def _needs_onnx() -> None:
  for name in ("onnx", "onnxruntime"):
    pytest.importorskip(name, reason="needs the extra onnx")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
  """A model that reads both features, and finds much."""
  parent = tmp_path_factory.mktemp("exports")
  model = tiny_system.make(
    parent / "backbones", features="both", pooling="cls+span"
  )
  # Features of made-up parameters would say the same of every word.
  detector = devices.to_host(model.params["detector"])
  kernel = np.array(detector["classifier"]["kernel"])
  kernel[16:] *= 0.01
  detector["classifier"]["kernel"] = kernel
  params = {**model.params, "detector": devices.replicate(detector)}
  model = dataclasses.replace(model, params=params)
  model_folder.save(parent / "model", model)
  return parent / "model"


@pytest.fixture(scope="module")
def written(folder: pathlib.Path) -> Callable[[str], pathlib.Path]:
  """Exports the model, once for each format."""

  def write(kind: str) -> pathlib.Path:
    if kind == "onnx":
      _needs_onnx()
    target = folder.parent / kind
    if not target.is_dir():
      exports.write(model_folder.load(str(folder)), str(target), kind, rows=3)
    return target

  return write


def _forward(program: Program, params: Any) -> ProgramForward:
  """By our own model, without tables."""
  params = jax.tree.map(jnp.asarray, devices.to_host(params))
  call = jax.jit(program.call)
  return ProgramForward(program, lambda batch: np.asarray(call(params, batch)))


@pytest.mark.parametrize("kind", exports.FORMATS)
def test_programs_tag_as_the_model_does(
  kind: str, folder: pathlib.Path, written: Callable
):
  ner = SplitNER.from_pretrained(str(folder), compute_dtype="float32")
  wanted = ner.predict(TEXTS, threshold=0)
  assert sum(map(len, wanted)) > 3
  found = exports.load(str(written(kind)), str(folder))
  found.warm_up()
  again = found.predict(TEXTS, threshold=0)
  assert [[e[:4] for e in x] for x in again] == [
    [e[:4] for e in x] for x in wanted
  ]
  np.testing.assert_allclose(
    [e.score for x in again for e in x],
    [e.score for x in wanted for e in x],
    atol=1e-5,
  )


def test_warm_up_runs_each_program_once(folder: pathlib.Path):
  model = model_folder.load(str(folder))
  ran: list[str] = []

  def counted(name: str) -> ProgramForward:
    program = Program.of(model.tasks[name], 3, 0)

    def run(batch: Any) -> np.ndarray:
      assert batch.keys() == program.describe()["inputs"].keys()
      ran.append(name)
      return np.zeros((len(batch["targets"]), 1), np.float32)

    return ProgramForward(program, run)

  ner = tagger(model, {name: counted(name) for name in model.tasks})
  assert not ran
  ner.warm_up()
  assert sorted(ran) == ["classifier", "detector"]


_ALONE = """
import json, pathlib, sys
sys.modules["splitner_jax"] = None
sys.modules["flax"] = None
import numpy as np
from jax import export
from safetensors.numpy import load_file

task, batch, result = sys.argv[1:]
batch = dict(np.load(batch))
CODE
assert sorted(program.platforms) == ["cpu", "cuda", "tpu"]
np.save(result, logits)
"""


@pytest.mark.parametrize("task", ["detector", "classifier"])
def test_stablehlo_needs_none_of_this_package(
  task: str, folder: pathlib.Path, written: Callable, tmp_path: pathlib.Path
):
  """By the lines that the folder's own README.md has."""
  target = written("stablehlo")
  [code] = re.findall(
    r"```python\n(from jax import export.*?)```",
    (target / "README.md").read_text(),
    re.S,
  )
  model = model_folder.load(str(folder))
  program, batch = _batch(model, task, target)
  np.savez(tmp_path / "batch.npz", **batch)
  done = subprocess.run(
    [
      *(sys.executable, "-c"),
      _ALONE.replace("CODE", code.replace("detector.", f"{task}.")),
      *(task, tmp_path / "batch.npz", tmp_path / "logits.npy"),
    ],
    cwd=target,
    capture_output=True,
    text=True,
    check=False,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr
  logits = np.load(tmp_path / "logits.npy")
  wanted = _logits(program, model.params[task], batch)
  np.testing.assert_allclose(logits, wanted, atol=1e-5 * np.abs(wanted).max())


def _batch(
  model: NerModel, name: str, target: pathlib.Path
) -> tuple[Program, dict[str, np.ndarray]]:
  """The program of a task, and a batch of examples of several sentences."""
  fields = json.loads((target / "export.json").read_text())["tasks"][name]
  program = Program.of(model.tasks[name], fields["rows"], fields["length"])
  batch, _, _ = next(iter(program.batches(_examples(model, name))))
  assert {key: list(x.shape) for key, x in batch.items()} == {
    key: x["shape"] for key, x in fields["inputs"].items()
  }
  return program, batch


def _examples(model: NerModel, name: str) -> Any:
  sentences = [Sentence(tuple(text.split())) for text in TEXTS if text]
  task: Any = model.tasks[name]
  if name == "classifier":
    places = [[(0, 2), (3, 5)], [(0, 1)], [(2, 9)]]
    spans = [[Span(a, b, "thing") for a, b in row] for row in places]
    return task.encode(sentences, spans)
  examples, _ = task.encode(sentences)
  return examples


def _logits(program: Program, params: Any, batch: Any) -> np.ndarray:
  params = jax.tree.map(jnp.asarray, devices.to_host(params))
  return np.asarray(jax.jit(program.call)(params, batch))


def test_the_program_is_the_model(folder: pathlib.Path):
  """What is exported gives what training and tagging run."""
  model = model_folder.load(str(folder), compute_dtype="float32")
  predictor = model.predictor()
  for name in model.tasks:
    examples = _examples(model, name)
    program = Program.of(model.tasks[name], 3, 0)
    wanted = predictor.forwards[name](examples)
    found = _forward(program, model.params[name])(examples)
    scale = np.abs(wanted).max()
    np.testing.assert_allclose(found, wanted, atol=1e-5 * scale)


def _random_task(family: str, tmp_path: pathlib.Path) -> tuple[Any, Any]:
  """A tagger of a family, with parameters."""
  source = tiny_families.make(family, tmp_path / family)
  backbone = pretrained.read_backbone(str(source))
  tokenizer = Tokenizer(str(source), backbone.family.pairs, 200)
  config = common.get_config()
  task = tasks.sequence_tagging(
    task_settings(config, "tagger"),
    backbone.encoder,
    tokenizer,
    tiny_system.TYPES,
  )
  rng = np.random.default_rng(3)
  flat = {
    key: rng.normal("scale" in key, 0.3, shape).astype(np.float32)
    for key, shape in parameter_shapes(task.model).items()
  }
  return task, traverse_util.unflatten_dict(flat, sep="/")


@pytest.mark.parametrize("family", tiny_families.CONFIGS)
def test_onnx_of_each_family(family: str, tmp_path: pathlib.Path):
  _needs_onnx()
  from splitner_jax.integrations import onnx_export

  task, params = _random_task(family, tmp_path)
  program = Program.of(task, 2, 64)
  onnx_export.write(program, params, tmp_path)
  examples, _ = task.encode([Sentence(("ada", "likes", "oslo"))] * 5)
  wanted = _forward(program, params)(examples)
  found = onnx_export.forward(program, tmp_path)(examples)
  assert np.abs(wanted).max() > 0.5
  np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_onnx_within_a_ten_thousandth(folder: pathlib.Path, written: Callable):
  target = written("onnx")
  from splitner_jax.integrations import onnx_export

  model = model_folder.load(str(folder), compute_dtype="float32")
  for name in model.tasks:
    program, _ = _batch(model, name, target)
    examples = _examples(model, name)
    wanted = _forward(program, model.params[name])(examples)
    found = onnx_export.forward(program, target)(examples)
    scale = max(1.0, np.abs(wanted).max() / 10)
    np.testing.assert_allclose(found, wanted, atol=1e-4 * scale)


def test_integers_of_8_bits_are_smaller_and_near(
  folder: pathlib.Path, written: Callable, tmp_path: pathlib.Path
):
  target = written("onnx")
  model = model_folder.load(str(folder))
  exports.write(model, str(tmp_path / "int8"), "onnx", rows=3, int8=True)
  name = "detector.onnx"
  small, large = (
    (x / name).stat().st_size for x in (tmp_path / "int8", target)
  )
  assert small < 0.7 * large
  from splitner_jax.integrations import onnx_export

  program, _ = _batch(model, "detector", target)
  found, wanted = (
    onnx_export.forward(program, x)(_examples(model, "detector"))
    for x in (tmp_path / "int8", target)
  )
  assert np.abs(found - wanted).max() > 0
  assert np.corrcoef(found.reshape(-1), wanted.reshape(-1))[0, 1] > 0.98
  ner = exports.load(str(tmp_path / "int8"), str(folder))
  assert any(ner.predict(TEXTS, threshold=0))


# Of the operations those forms that no model of ours has.
_FUNCTIONS: dict[str, Callable[..., Any]] = {
  "gather of a later axis": lambda x, i: x[:, i],
  "gather of two axes": lambda x, i: x[i[:, None], i[None]],
  "gather of rows": lambda x, i: x[i],
  "slices": lambda x, i: x[::2, 1:4:2, ::-1] + x[:2, :2, 3:4],
  "products": lambda x, i: (
    jnp.einsum("abc,dbe->dcae", x, x) + jnp.einsum("abc,abc->", x, x)
  ),
  "products of batches": lambda x, i: jnp.einsum("abc,adc->abd", x, x),
  "reductions": lambda x, i: (
    x.max(axis=(0, 2)) - x.min(axis=1).sum() + jnp.mean(x)
  ),
  "choices": lambda x, i: jnp.where((x > 0) & ~(x >= 1) | (x != x), x, -(x**3)),
  "padding": lambda x, i: jnp.pad(x, ((1, 0), (0, 2), (3, 1))),
  "stacks": lambda x, i: jnp.stack([x, jnp.flip(x, 1)], 1)[:, 1, None],
  "splits": lambda x, i: jnp.concatenate(jnp.split(x, 2, 1)[::-1], 0),
  "numbers": lambda x, i: x * jnp.arange(5)[None, None] + jnp.float32(i[0]),
  "functions": lambda x, i: (
    jax.nn.gelu(x, approximate=False)
    + jax.nn.gelu(x, approximate=True)
    + jax.nn.softmax(x) * jax.lax.rsqrt(1 + x * x) * jnp.cos(jnp.sin(x))
  ),
  "a loop": lambda x, i: jax.lax.scan(
    lambda c, y: (c + y, (c * y, y)), jnp.zeros((4, 5)), x
  ),
  "a loop backwards": lambda x, i: jax.lax.scan(
    lambda c, y: (c * 0.5 + y @ x[0].T, c), jnp.zeros((4, 4)), x, reverse=True
  )[1],
  "constants": lambda x, i: jnp.ones((3, 4, 5))[0] + jnp.arange(5)[None],
}


@pytest.mark.parametrize("name", _FUNCTIONS)
def test_operations(name: str):
  _needs_onnx()
  import onnx
  import onnxruntime

  from splitner_jax.integrations.onnx_graph import convert
  from splitner_jax.integrations.onnx_operations import OPERATIONS

  rng = np.random.default_rng(0)
  batch = {
    "x": rng.normal(size=(3, 4, 5)).astype(np.float32),
    "i": rng.integers(0, 3, 6).astype(np.int32),
  }

  def function(batch):
    parts = jax.tree.leaves(_FUNCTIONS[name](batch["x"], batch["i"]))
    return jnp.concatenate([part.reshape(-1) for part in parts])

  model = convert(function, batch, OPERATIONS, "y")
  onnx.checker.check_model(model, full_check=True)
  session = onnxruntime.InferenceSession(model.SerializeToString())
  names = [node.name for node in session.get_inputs()]
  [found] = session.run(["y"], {n: batch[n] for n in names})
  np.testing.assert_allclose(
    found, np.asarray(function(batch)), rtol=1e-5, atol=1e-5
  )


def test_what_onnx_cannot_say(tmp_path: pathlib.Path, monkeypatch):
  _needs_onnx()
  from splitner_jax.integrations import onnx_export

  task, params = _random_task("electra", tmp_path)
  monkeypatch.setattr(onnx_export, "OPERATIONS", {})
  with pytest.raises(
    UserError, match=r"the tagger cannot be said in ONNX \(no"
  ):
    onnx_export.write(Program.of(task, 1, 64), params, tmp_path)


def test_mistakes_are_one_line(
  folder: pathlib.Path, written: Callable, tmp_path: pathlib.Path
):
  model = model_folder.load(str(folder))
  there = tmp_path / "there"
  there.mkdir()
  (there / "thesis.tex").write_text("")
  for options, said in (
    ({"output": str(there)}, "there is not empty; remove it or give another"),
    (
      {"rows": 1, "length": 900},
      "1 x 900 is no batch of a model that reads up",
    ),
    ({"rows": -1}, "no batch of a model"),
    ({"int8": True}, "--int8: only with --format=onnx"),
  ):
    given: Any = {
      "output": str(tmp_path / "new"),
      "kind": "stablehlo",
    } | options
    with pytest.raises(UserError, match=re.escape(said)):
      exports.write(model, **given)
  assert [p.name for p in tmp_path.iterdir()] == ["there"]

  target = written("stablehlo")
  with pytest.raises(
    UserError, match=r"export.json: No such file or directory"
  ):
    exports.load(str(tmp_path), str(folder))
  other = tiny_system.make(tmp_path / "other", kind="single_seqtag")
  model_folder.save(tmp_path / "model", other)
  with pytest.raises(
    UserError, match=r"was not made from the model .* \(other tasks, para"
  ):
    exports.load(str(target), str(tmp_path / "model"))
  program, _ = _batch(model, "detector", target)
  (tmp_path / "detector.stablehlo").write_bytes(b"x")
  from splitner_jax.integrations import stablehlo

  with pytest.raises(UserError, match=r"stablehlo: cannot be read \("):
    stablehlo.forward(program, tmp_path)
  short = Program.of(model.tasks["detector"], 1, 16)
  forward = _forward(short, model.params["detector"])
  with pytest.raises(UserError, match="does not fit rows of 16; export with a"):
    forward(_examples(model, "detector"))


def test_a_process_that_leaves_removes_its_folder(
  folder: pathlib.Path, tmp_path: pathlib.Path, monkeypatch
):
  def leave(*args: object) -> None:
    assert len(list(tmp_path.iterdir())) == 1
    files.remove_unfinished()
    assert not list(tmp_path.iterdir())
    raise KeyboardInterrupt

  monkeypatch.setattr(exports, "_write", leave)
  with pytest.raises(KeyboardInterrupt):
    exports.write(
      model_folder.load(str(folder)), str(tmp_path / "new"), "stablehlo"
    )


def test_an_export_is_of_one_model(
  folder: pathlib.Path, written: Callable, tmp_path: pathlib.Path
):
  target = tmp_path / "export"
  shutil.copytree(written("stablehlo"), target)
  model = model_folder.load(str(folder))

  # Thresholds are the model's own, whenever they were tuned.
  tuned = dataclasses.replace(model, decoding=Decoding(outside_bias=9.0))
  model_folder.save(tmp_path / "tuned", tuned)
  ner = exports.load(str(target), str(tmp_path / "tuned"))
  assert ner.model.decoding.outside_bias == 9

  params = devices.to_host(model.params["detector"])
  kernel = np.array(params["classifier"]["kernel"])
  kernel[0, 0] += 1e-3
  params["classifier"]["kernel"] = kernel
  detector = devices.replicate(params)
  trained = dataclasses.replace(
    model, params={**model.params, "detector": detector}
  )
  model_folder.save(tmp_path / "trained", trained)
  with pytest.raises(UserError) as caught:
    exports.load(str(target), str(tmp_path / "trained"))
  assert str(caught.value) == (
    f"{target}: was not made from the model {tmp_path / 'trained'} (other "
    "parameters); give the model that it was made from, or export again"
  )

  # Exports of before have no checksums, but types.
  path = target / "export.json"
  fields = json.loads(path.read_text())
  del fields["checksums"]
  path.write_text(json.dumps(fields))
  exports.load(str(target), str(tmp_path / "trained"))
  fields["labels"] = [f"other {label}" for label in fields["labels"]]
  path.write_text(json.dumps(fields))
  with pytest.raises(UserError, match=r"not made from .* \(other types\)"):
    exports.load(str(target), str(folder))


def test_the_example_of_the_readme(
  folder: pathlib.Path, tmp_path: pathlib.Path
):
  _needs_onnx()
  text = (runs.ROOT / "README.md").read_text()
  [block] = re.findall(
    r"```sh\n(splitner export --format=stable.*?)```", text, re.S
  )
  (tmp_path / "runs/files").mkdir(parents=True)
  (tmp_path / "runs/files/model").symlink_to(folder)
  path = (
    f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
  )
  done = subprocess.run(
    ["bash", "-ec", block],
    cwd=tmp_path,
    env={**os.environ, "PATH": path, "JAX_NUM_CPU_DEVICES": "1"},
    capture_output=True,
    text=True,
    check=False,
    timeout=300,
  )
  assert done.returncode == 0, done.stderr
  assert "JAX runs it in versions of the following six months" in done.stdout
  for name in ("exported/detector.stablehlo", "exported-onnx/classifier.onnx"):
    assert (tmp_path / name).stat().st_size > 10_000
