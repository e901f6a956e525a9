"""Sizes out of all proportion are refused before memory is asked for."""

import json
import pathlib
import subprocess
import sys
from typing import Any

import jax
import pytest
from paper_checkpoints import fails

from splitner_jax import pretrained
from splitner_jax.data.sentences import Sentence, Span
from splitner_jax.inference import model_folder
from splitner_jax.inference.forward import Programs
from splitner_jax.runtime import sizes
from splitner_jax.runtime.errors import UserError
from splitner_jax.serving import batching
from splitner_jax.training import cross_fitting, loop
from tests import runs, tiny, tiny_system, tiny_training

HUGE = 10**9


@pytest.mark.parametrize("field", ["batch_size", "row_length"])
def test_batches_of_a_training(tmp_path: pathlib.Path, field: str) -> None:
  """Memory for the plan alone would be asked for next."""
  task = tiny_system.make(tmp_path).tasks["detector"]
  sentences = [Sentence(("a", "b"), (Span(0, 1, "thing"),))]
  for value in (HUGE, 10**30):
    given = tiny_training.settings(**{field: value})
    fails(
      rf"config\.{field}: {value} in the detector would take at least "
      r"[\d,]+ GB of memory, and there are \d+; lower it",
      loop.prepare,
      task,
      given,
      sentences,
    )


def test_steps_that_never_come() -> None:
  task = tiny_training.Task()
  given = tiny_training.settings(accumulate_steps=3, epochs=1)
  match = "accumulate_steps: 3 is more than the 2 batches"
  fails(match, loop.prepare, task, given, [])
  given = tiny_training.settings(accumulate_steps=4, epochs=2)
  assert loop.prepare(task, given, [])


def test_folds() -> None:
  sentences = [Sentence((f"w{i}",)) for i in range(40)]
  cross_fitting.check_folds([40], sentences)
  fails(
    "folds: 41 is more than the 40 different training sentences",
    cross_fitting.check_folds,
    [41],
    [*sentences, *sentences],
  )


def test_batches_of_tagging(tmp_path: pathlib.Path) -> None:
  task: Any = tiny_system.make(tmp_path).tasks["detector"]
  fails("batch_size of inference: 1000000000 would", Programs, task, HUGE)
  assert Programs(task, 4000)


@pytest.mark.parametrize(
  "field",
  [
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "max_position_embeddings",
    "intermediate_size",
  ],
)
@pytest.mark.parametrize("factor", [100, HUGE, 10**25])
def test_a_backbone_that_its_weights_are_not(
  tmp_path: pathlib.Path, field: str, factor: int
) -> None:
  folder = tiny.make_backbone(tmp_path / "backbone")
  assert pretrained.read_backbone(str(folder))
  path = folder / "config.json"
  fields = json.loads(path.read_text())
  path.write_text(json.dumps(fields | {field: factor * fields[field]}))
  fails(
    r"config\.json: describes a model of [\d,]+ numbers or more, but its "
    r"weights are at most [\d,]+; get both",
    pretrained.read_backbone,
    str(folder),
  )


@pytest.mark.parametrize(
  "field",
  ["vocab_size", "hidden_size", "num_layers", "intermediate_size"],
)
def test_a_model_that_its_weights_are_not(
  tmp_path: pathlib.Path, field: str
) -> None:
  folder = tmp_path / "model"
  model_folder.save(folder, tiny_system.make(tmp_path / "backbones"))
  text = (folder / "config.json").read_text()
  for value in (1000, 2**31, 2**62, 10**25):
    config = json.loads(text)
    del config["checksum"]
    config["tasks"]["detector"]["encoder"][field] = value
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"^[^\n]+$"):
      model_folder.load(str(folder))


def test_the_end_of_the_memory_is_a_line() -> None:
  for error, match in (
    (MemoryError(), "^out of memory .the machine gives no more.; lower it$"),
    (MemoryError("Unable to allocate 9 TiB"), "allocate 9 TiB.; lower it$"),
    (
      jax.errors.JaxRuntimeError(
        "RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes.\nmore"
      ),
      "on the device .Out of memory allocating 99 bytes.; lower it$",
    ),
  ):
    with pytest.raises(UserError, match=match), sizes.told("lower it"):
      raise error
  with pytest.raises(jax.errors.JaxRuntimeError), sizes.told("lower it"):
    raise jax.errors.JaxRuntimeError("INTERNAL: a fault of ours")


_FULL = """
import jax
from splitner_jax.runtime import devices

def full(*_):
  raise jax.errors.JaxRuntimeError(
    "RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes.\\nmore"
  )

full.lower = full
devices.compile_forward = lambda _: full
from splitner_jax.commands import console
console.main()
"""


@pytest.mark.parametrize(
  ("arguments", "said"),
  [
    (
      ["tune", "--model={model}", "--data={file}", "--target=f1"],
      "out of memory on the device (Out of memory allocating 99 bytes); lower "
      "--batch_size",
    ),
    (
      ["serve", "--model={model}", "--port=0"],
      "{model}: out of memory on the device (Out of memory allocating 99 "
      "bytes); lower --batch_size",
    ),
    pytest.param(
      [
        *("benchmark", "--config=configs/demo.py", "--phases=inference"),
        *("--systems=splitner", "--output={here}/out"),
        "--config.backbone={backbone}",
      ],
      "out of memory on the device (Out of memory allocating 99 bytes); lower "
      "config.inference_batch_size, config.batch_size, --lengths or --types, "
      "or set config.rematerialise",
      marks=pytest.mark.slow,
    ),
  ],
  ids=["tune", "serve", "benchmark"],
)
def test_a_command_at_the_end_of_the_memory(
  tmp_path: pathlib.Path, arguments: list[str], said: str
) -> None:
  places = {
    "here": tmp_path,
    "model": tiny_system.save(tmp_path / "model"),
    "backbone": tiny.make_backbone(tmp_path / "backbone"),
    "file": tmp_path / "a.tsv",
  }
  places["file"].write_text("ada\tB-person\nlikes\tO\n\n")
  process = subprocess.run(
    [sys.executable, "-c", _FULL, *(a.format(**places) for a in arguments)],
    cwd=runs.ROOT,
    capture_output=True,
    text=True,
    timeout=120,
    check=False,
  )
  assert process.returncode == 1, process.stderr
  assert process.stdout == ""
  line = process.stderr.splitlines()[-1]
  assert line == "error: " + said.format(**places)
  assert "Traceback" not in process.stderr


def test_a_server_at_the_end_of_the_memory(
  caplog: pytest.LogCaptureFixture,
) -> None:
  error = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 99 bytes.\nmore")
  answer = str(batching.logged(error))
  assert caplog.messages == [
    f"{answer}: out of memory on the device (99 bytes); lower --batch_size, or "
    "--max_bytes for shorter texts"
  ]
