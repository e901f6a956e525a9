"""Programs compiled for TPU slices that are not there."""

import importlib.util
import json
import os
import pathlib
import resource
import subprocess
import sys
from typing import Any, cast

import jax
import pytest

from splitner_jax.runtime import devices, topologies
from splitner_jax.runtime.errors import UserError
from splitner_jax.throughput import ahead, compiled_page, hlo

_ROOT = pathlib.Path(__file__).parents[1]
_CHIP = topologies.Chip("a chip", 100.0, 1e9, 10.0, 2.0)

# Of a compiled program, cut down to what the reading of it has to tell apart.
_HLO = """HloModule jit_step

%body (p: (s32[], f32[4])) -> (s32[], f32[4]) {
  %p = (s32[]{:T(128)}, f32[4]{0:T(128)}) parameter(0)
  %x = f32[4]{0:T(128)} get-tuple-element(%p), index=1
  %double = f32[4]{0:T(128)} add(%x, %x)
  %all = f32[10,6]{1,0:T(128)} get-tuple-element(%p), index=2
  %part = f32[6]{0:T(128)S(1)} fusion(%all), kind=kLoop
  ROOT %out = (s32[], f32[4]{0:T(128)}) tuple(%p, %double)
}

%condition (p.1: (s32[], f32[4])) -> pred[] {
  %p.1 = (s32[]{:T(128)}, f32[4]{0:T(128)}) parameter(0)
  %limit = s32[]{:T(128)} constant(10)
  ROOT %less = pred[]{:T(128)S(1)} fusion(%p.1, %limit), kind=kLoop
}

ENTRY %main.1 (a: bf16[8,100], b: f32[4]) -> f32[4] {
  %a = bf16[8,100]{1,0:T(8,128)} parameter(0)
  %b = f32[4]{0:T(128)} parameter(1)
  %copy = (bf16[2,100]{1,0:T(8,128)S(1)}, bf16[8,100]{1,0}) copy-start(%a)
  %here = bf16[2,100]{1,0:T(8,128)S(1)} copy-done(%copy)
  %fast = bf16[2,100]{1,0:T(8,128)S(1)} fusion(%here, %here), kind=kLoop
  %kept = bf16[2,100]{1,0:T(8,128)} fusion(%fast), kind=kLoop
  %while = (s32[], f32[4]) while(%b), condition=%condition, body=%body
  %sum = (f32[4]{0}, f32[6]{0:S(1)}) all-reduce(%b, %b), channel_id=3, x={}
  %one = s32[8,1,4]{2,1,0} all-gather(%b), channel_id=1, dimensions={0}
  %same = s32[8,1,4]{2,1,0:S(1)} all-gather(%b), channel_id=1, dimensions={0}
  ROOT %end = f32[4]{0:T(128)} get-tuple-element(%while), index=1
}
"""


def test_a_libtpu_that_does_not_fit_jax_is_named() -> None:
  class Unreadable:
    """As the compiler of another version makes it."""

    def compile(self) -> "Unreadable":
      return self

    def as_text(self) -> str:
      raise jax.errors.JaxRuntimeError("INTERNAL: RET_CHECK failure")

    cost_analysis = memory_analysis = dict

  with pytest.raises(UserError, match=r"libtpu .* pip install 'jax\[tpu\]=="):
    ahead.compile_program("training", cast(Any, Unreadable()), "2 x 8 tokens")


def test_traffic_is_what_goes_through_hbm() -> None:
  copied, kept = 2 * 2 * 100, 2 * 2 * 100
  # Each turn adds, and reads its part of an array with one for each.
  loop = 10 * (3 * 16 + 6 * 4)
  reduced = 16 + 2 * 16
  gathered = (128 + 16) + 16
  expected = copied + kept + loop + reduced + gathered
  assert hlo.hbm_bytes(_HLO) == expected


def test_collectives_are_counted_once() -> None:
  assert hlo.collectives(_HLO) == [("all-gather", 128), ("all-reduce", 40)]


def _program(**changed: object) -> ahead.Program:
  fields = {
    "name": "detector training",
    "reads": "2 x 8 tokens",
    "tokens": 16,
    "seconds": 1.0,
    "flops": 200.0,
    "hbm_bytes": 30,
    "accessed_bytes": 90.0,
    "arguments": 5,
    "temporaries": 6,
    "code": 7,
    "collectives": (hlo.Collective("all-reduce", 8),),
  }
  return ahead.Program(**(fields | changed))  # type: ignore[arg-type]


def _slice(chips: int) -> topologies.Slice:
  return topologies.Slice("v5e:2x2", _CHIP, tuple(jax.devices()[:chips]))


def test_roofline_is_the_slowest_part() -> None:
  one = _program().roofline(_slice(1))
  assert one == (2.0, 3.0, 0.0)
  assert (one.seconds, one.limit) == (3.0, "memory")
  four = _program(flops=900.0).roofline(_slice(4))
  # A ring: each chip sends 3/4 of the sum twice.
  assert four == (9.0, 3.0, 0.75 * 2 * 8 / 2.0)
  assert four.limit == "compute"
  assert _program(hbm_bytes=1).roofline(_slice(4)).limit == "links"


def test_report_has_its_arithmetic() -> None:
  slice_ = _slice(4)
  program = _program().as_json(slice_)
  report = {
    "backbone": "random:tiny",
    "dtype": "bfloat16",
    "topology": "v5e:2x2",
    "chips": 4,
    "chip": _CHIP._asdict(),
    "command": "splitner compile_for --x",
    "jax": "9.8.7",
    "libtpu": "6.5.4",
    "programs": [
      {"fits": True} | program,
      {"name": "tagger training", "fits": False, "reason": "Used 2G of 1G hbm"},
    ],
    "largest": {"detector": program | {"batch_size": 64}},
  }
  assert json.loads(json.dumps(program))["needed"] == 18
  text = compiled_page.text(report)
  assert "200 FLOP / 100 FLOP/s = 2e+03 ms" in text
  assert "tagger training: does not fit (Used 2G of 1G hbm)" in text
  assert "largest batch of detector that fits: 64 examples" in text
  page = compiled_page.page([report], "The *end*.\n")
  assert "| tiny | v5e:2x2 | detector training | 64 | 2 x 8 tokens |" in page
  assert "tagger training does not fit" in page
  assert "splitner compile_for --x" in page
  assert "libtpu 6.5.4 with JAX 9.8.7;" in page
  assert "Nothing was compiled for: bert-base on v5e:1x1, roberta" in page
  assert page.endswith("## Notes\n\nThe *end*.\n")


@pytest.mark.parametrize(
  "topology", ["v5e", "v4:2x2x1", "v5e:2x4x1", "", "cpu:1x1"]
)
def test_unknown_slices(topology: str) -> None:
  with pytest.raises(UserError, match=r"--topology: .* is none such"):
    topologies.describe(topology)


def test_compiling_for_others_ends() -> None:
  here = devices.device_count()
  assert here == 4
  with devices.compiling_for(jax.devices()[:2]):
    assert devices.device_count() == 2
  assert devices.device_count() == here


@pytest.fixture
def compiler() -> None:
  if importlib.util.find_spec("libtpu") is None:
    pytest.skip("no compiler for TPU: run launch/setup.sh --tpu")


def _compile(
  folder: pathlib.Path, *options: str, timeout: float = 900
) -> dict[str, object]:
  """Runs the command in a process of its own: libtpu logs, and stays."""
  done = subprocess.run(
    [
      *(sys.executable, "-m", "splitner_jax.compile_for", *options),
      f"--json={folder / 'report.json'}",
      f"--page={folder / 'page.md'}",
    ],
    cwd=_ROOT,
    env=os.environ | {"HF_HUB_OFFLINE": "1"},
    capture_output=True,
    text=True,
    timeout=timeout,
  )
  assert done.returncode == 0, done.stderr
  assert (folder / "page.md").read_text().startswith("# Compiled for TPU")
  return json.loads((folder / "report.json").read_text())


@pytest.mark.slow
@pytest.mark.usefixtures("compiler", "minilm")
@pytest.mark.parametrize("loss", ["cross_entropy", "dice"])
def test_slice_of_eight(tmp_path: pathlib.Path, loss: str) -> None:
  """Each chip has the gradients of all by one all-reduce."""
  report = _compile(
    tmp_path,
    "--config=configs/demo.py",
    f"--config.detector.loss={loss}",
    "--config.detector.features=none",
    "--topology=v5e:2x4",
    "--tasks=detector",
    "--programs=training",
  )
  (training,) = report["programs"]
  assert training["fits"]
  kinds = [c["kind"] for c in training["collectives"]]
  assert kinds.count("all-reduce") == 1
  # A ratio over the batch needs the logits of all chips.
  gathered = {"all-gather"} if loss == "dice" else set()
  assert set(kinds) == {"all-reduce"} | gathered
  parameters = 22.7e6
  (reduced,) = (c for c in training["collectives"] if c["kind"] == kinds[-1])
  assert reduced["bytes"] == pytest.approx(4 * parameters, rel=0.02)
  # State and moments of AdamW, at the least, are read and written.
  assert training["hbm_bytes"] > 6 * 4 * parameters
  assert training["hbm_bytes"] < training["accessed_bytes"]
  assert training["arguments"] == pytest.approx(12 * parameters, rel=0.02)


@pytest.mark.long
@pytest.mark.usefixtures("compiler", "minilm")
def test_bert_base_with_both_features(tmp_path: pathlib.Path) -> None:
  def seconds() -> float:
    """CPU time of the processes that have ended, whatever else is running."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime

  before = seconds()
  report = _compile(
    tmp_path,
    "--config=configs/demo.py",
    "--config.backbone=random:bert-base",
    "--topology=v5e:1x1",
    "--tasks=detector",
    "--programs=training",
  )
  (training,) = report["programs"]
  assert training["fits"]
  assert seconds() - before < 300
  assert not training["collectives"]
