"""Where the time of a training step goes, by a profile of the compiled step."""

import collections
import pathlib
import re
import tempfile
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from splitner_jax.runtime.types import Json
from splitner_jax.throughput.training import Training

HOST = "host"
OTHER = "other"
PARTS = (
  "embedding",
  "attention",
  "feed-forward",
  "features",
  "LSTM",
  "head",
  "optimizer",
  OTHER,
  HOST,
)
"""Of a step, in the order of the page."""

FEATURES = ("features", "LSTM")
"""The parts that only a token task with features has."""

_STEPS = 3
_DEFINITION = re.compile(
  r"^\s*(?:ROOT )?%?([\w.-]+) = .*?op_name=\"([^\"]*)\"", re.MULTILINE
)
# The first that is found in the path of an operation's module.
_PLACES = (
  (r"/lstm|BiLSTM", "LSTM"),
  (r"/(char|pattern|pos)(/|$)", "features"),
  (r"/embeddings(/|$)|/projection(/|$)", "embedding"),
  (r"/attention(/|$)", "attention"),
  (r"/layer_\d+(/|$)", "feed-forward"),
  # What all layers share: who sees whom, and rotations.
  (r"/encoder(/|$)", "attention"),
  # Everything else under a derivative: pooling, classifier, loss.
  (r"jvp", "head"),
)


def part_of(path: str) -> str:
  """The part that an operation belongs to.

  Args:
    path: of its module, as JAX names it: `jit(f)/jvp(Model)/encoder/...`.
  """
  if not path:
    return OTHER
  for pattern, part in _PLACES:
    if re.search(pattern, path):
      return part
  return "optimizer"


def paths(program: str) -> dict[str, str]:
  """The module of each operation of a compiled program, given as text."""
  return dict(_DEFINITION.findall(program))


def busy(
  trace: jax.profiler.ProfileData, modules: Mapping[str, str]
) -> dict[str, float]:
  """Seconds that operations of each part take, over all threads.

  An operation within another one, such as a loop's, counts for itself.

  Args:
    trace: a `jax.profiler.ProfileData`.
    modules: see `paths`.
  """
  seconds: dict[str, float] = collections.defaultdict(float)
  for plane in trace.planes:
    for line in plane.lines:
      _add_line(line, modules, seconds)
  return dict(seconds)


def _add_line(
  line: Any, modules: Mapping[str, str], seconds: dict[str, float]
) -> None:
  """Adds the operations of one thread."""
  events = []
  for event in line.events:
    name = dict(event.stats).get("hlo_op")
    if name is not None:
      events.append((event.start_ns, event.duration_ns, str(name)))
  around: list[tuple[float, str]] = []
  for start, duration, name in sorted(events, key=lambda e: (e[0], -e[1])):
    while around and around[-1][0] <= start:
      around.pop()
    part = part_of(modules.get(name, ""))
    seconds[part] += duration / 1e9
    if around:
      seconds[around[-1][1]] -= duration / 1e9
    around.append((start + duration, part))


def measure(
  training: Training, step_seconds: float, folder: pathlib.Path | None = None
) -> Json:
  """The parts of a step, for the report.

  Args:
    training: that is warm.
    step_seconds: of a step without a profile. Operations that run beside each
      other take more than that together: each part gets its share of it.
    folder: keeps the trace, for TensorBoard or Perfetto; None: it goes.
  """
  with tempfile.TemporaryDirectory() as place:
    where = pathlib.Path(place) if folder is None else folder
    with jax.profiler.trace(str(where)):
      for _ in range(_STEPS):
        training.step()
    newest = max(where.rglob("*.xplane.pb"), key=lambda p: p.stat().st_mtime)
    trace = jax.profiler.ProfileData.from_file(str(newest))
    modules: dict[str, str] = {}
    for program in training.compiled.programs.values():
      modules |= paths(program.as_text() or "")
    found = busy(trace, modules)
  total = sum(found.values())
  shares = {part: found.get(part, 0.0) / total for part in PARTS if total}
  parts = {
    part: share * step_seconds for part, share in shares.items() if share > 0
  }
  host = float(np.mean(training.host_seconds))
  return {"step_s": step_seconds, "parts": parts | {HOST: host}}
