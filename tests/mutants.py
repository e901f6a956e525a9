"""Mutation testing of the core: do the tests see it if the code is changed?

  python -m tests.mutants --count=300 --seed=1 --output=mutants.jsonl

draws mutants of Cosmic Ray (`pip install cosmic-ray`), each one change of an
operator, a number or a condition, and runs the tests of its module on a copy of
the checkout, file by file until one fails. A mutant that they pass survives: it
is printed as a diff, to be killed by a new test, or to be named in
`equivalent_mutants` with the reason why no test can. What is in the output
already is not tried again, so that a run can be cut off. Ends with status 1 if
less than --least percent of the others are killed.
"""

import argparse
import difflib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

from tests.equivalent_mutants import reason

_ROOT = pathlib.Path(__file__).parents[1]

CORE = {
  "training/optimizer": ("optimizer",),
  "training/losses": ("losses", "loop_batches"),
  "training/step": ("step", "devices", "loop_batches"),
  "runtime/devices": ("targets", "devices", "loop_batches"),
  "evaluation/metrics": ("metrics", "scores"),
  "evaluation/calibration": ("metrics", "calibration"),
  "evaluation/thresholds": ("thresholds", "records", "tuning", "calibration"),
  "tasks/decoding": (
    "thresholds",
    "records",
    "single_step",
    "mentions",
    "tasks",
    "calibration",
  ),
  "inputs/packing": ("packing", "batches", "plan"),
  "inputs/plan": ("records", "plan", "loop_batches"),
  "data/tags": ("tags", "records", "formats", "properties"),
}
"""Modules, and the test files that should see what is changed in them, the
quickest first.
"""

# They need a choice of names, or change annotations alone.
_SKIPPED = ("VariableInserter", "VariableReplacer", "BinaryOperator_BitOr")


class Mutant(NamedTuple):
  """One change of a module: its operator's n-th place."""

  module: str
  operator: str
  number: int

  def __str__(self) -> str:
    return f"{self.module} {self.operator} {self.number}"


def _code(mutant: Mutant) -> str | None:
  """The module with the change, None if there is no such place."""
  from cosmic_ray import mutating, plugins

  source = _path(mutant.module).read_text("utf-8")
  operator = plugins.get_operator(mutant.operator)()
  return mutating.mutate_code(source, operator, mutant.number)


def _path(module: str) -> pathlib.Path:
  return _ROOT / "splitner_jax" / f"{module}.py"


def _all() -> Iterator[Mutant]:
  from cosmic_ray import ast, plugins

  for module in CORE:
    tree = ast.get_ast(_path(module).read_text("utf-8"))
    for name in sorted(plugins.operator_names()):
      if any(part in name for part in _SKIPPED):
        continue
      operator = plugins.get_operator(name)()
      nodes = ast.ast_nodes(tree)
      places = sum(len([*operator.mutation_positions(n)]) for n in nodes)
      yield from (Mutant(module, name, number) for number in range(places))


def sample(count: int, seed: int) -> list[Mutant]:
  """Mutants of all modules and kinds alike; the same for the same code.

  Of the 150 ways to replace one operator by another few say something new, so
  first a kind of change is drawn, then one of it.
  """
  rng = random.Random(seed)
  kinds: dict[tuple[str, str], list[Mutant]] = {}
  for mutant in _all():
    kind = mutant.operator.split("_")[0]
    kinds.setdefault((mutant.module, kind), []).append(mutant)
  for mutants in kinds.values():
    rng.shuffle(mutants)
  found: list[Mutant] = []
  while len(found) < count and any(kinds.values()):
    names = [name for name, mutants in kinds.items() if mutants]
    rng.shuffle(names)
    found += [kinds[name].pop() for name in names]
  return found[:count]


# Of other packages: what takes seconds to import, and is the same for all.
_IMPORTED_ONCE = """
import importlib, os, sys
for name in (
  "jax", "flax.linen", "optax", "scipy.optimize", "tokenizers",
  "ml_collections", "safetensors.numpy", "orbax.checkpoint", "jsonschema",
  "seqeval.metrics", "seqeval.scheme", "tqdm",
):
  importlib.import_module(name)
import pytest
assert not [n for n in sys.modules if n.startswith("splitner")]
for line in sys.stdin:
  number = os.fork()
  if not number:
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    options = ["-x", "-p", "no:cacheprovider", "--durations=0"]
    os._exit(pytest.main([*options, line.strip()]))
  print(number, flush=True)
  print(os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]), flush=True)
"""


class _Checkout:
  """A copy of the checkout, in which a module can be another."""

  def __init__(self, folder: pathlib.Path):
    for part in ("splitner_jax", "tests", "configs", "pyproject.toml"):
      source = _ROOT / part
      copy = shutil.copytree if source.is_dir() else shutil.copy
      (folder / part).parent.mkdir(parents=True, exist_ok=True)
      copy(source, folder / part)
    self._folder = folder
    self._seconds: dict[str, float] = {}
    self._server = subprocess.Popen(
      [sys.executable, "-B", "-c", _IMPORTED_ONCE],
      cwd=folder,
      env={
        **os.environ,
        "PYTHONPATH": str(folder),
        # Of tests/conftest.py, which JAX reads at its import.
        "JAX_NUM_CPU_DEVICES": "4",
        "JAX_NUMPY_RANK_PROMOTION": "raise",
        "JAX_PLATFORMS": "cpu",
        # What a mutant leaves as it is, is compiled once.
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
      },
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )

  def close(self) -> None:
    """Ends the process that runs the tests."""
    self._server.kill()
    self._server.wait()

  def killer(self, mutant: Mutant, code: str) -> str | None:
    """The test file that sees a mutant, or does not end; None: it survives."""
    names = CORE[mutant.module]
    for name in names:
      if name not in self._seconds:
        start = time.monotonic()
        if self._fault(name, 600):
          said = (self._folder / "output.txt").read_text("utf-8")
          sys.exit(f"{said}\n{name} fails without a mutant")
        self._seconds[name] = time.monotonic() - start
    place = self._folder / "splitner_jax" / f"{mutant.module}.py"
    whole = place.read_text("utf-8")
    place.write_text(code, encoding="utf-8")
    try:
      faults = (self._fault(n, 30 + 5 * self._seconds[n]) for n in names)
      return next(filter(None, faults), None)
    finally:
      place.write_text(whole, encoding="utf-8")

  def _fault(self, name: str, seconds: float) -> str | None:
    """Runs a test file, in a process that has imported other packages."""
    assert self._server.stdin
    assert self._server.stdout
    print(f"tests/{name}_test.py", file=self._server.stdin, flush=True)
    number = int(self._server.stdout.readline())
    ended = threading.Timer(seconds, os.killpg, (number, signal.SIGKILL))
    ended.start()
    status = int(self._server.stdout.readline())
    ended.cancel()
    if status == -signal.SIGKILL:
      return f"{name}, without an end"
    return name if status else None


def _diff(mutant: Mutant, code: str) -> str:
  lines = (x.splitlines() for x in (_path(mutant.module).read_text(), code))
  name = mutant.module
  return "\n".join(difflib.unified_diff(*lines, name, "mutant", "", "", 1, ""))


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
  parser.add_argument("--count", type=int, default=300)
  parser.add_argument("--seed", type=int, default=1)
  parser.add_argument("--output", type=pathlib.Path, default="mutants.jsonl")
  parser.add_argument("--least", type=float, default=95, help="percent killed")
  given = parser.parse_args()
  known: dict[str, str | None] = {}
  if given.output.exists():
    rows = map(json.loads, given.output.read_text().splitlines())
    known = {row["mutant"]: row["killer"] for row in rows}
  survived, equivalent = 0, 0
  mutants = sample(given.count, given.seed)
  with tempfile.TemporaryDirectory() as name:
    checkout = _Checkout(pathlib.Path(name) / "checkout")
    for number, mutant in enumerate(mutants, 1):
      code = _code(mutant)
      assert code is not None
      key, diff = str(mutant), _diff(mutant, code)
      if key not in known:
        known[key] = checkout.killer(mutant, code)
        with given.output.open("a") as file:
          row = {"mutant": key, "killer": known[key]}
          file.write(json.dumps(row) + "\n")
      if not known[key]:
        why = reason(mutant.module, diff)
        equivalent += why is not None
        survived += why is None
        print(f"{f'same ({why})' if why else 'survived'}: {key}\n{diff}\n")
      print(
        f"{number} of {len(mutants)}: {survived} survived, {equivalent} are "
        "equivalent",
        flush=True,
      )
    checkout.close()
  others = len(mutants) - equivalent
  killed = 100 * (1 - survived / max(1, others))
  print(
    f"{killed:.1f} % of {others} mutants killed (seed {given.seed}), beside "
    f"{equivalent} equivalent ones"
  )
  sys.exit(killed < given.least)


if __name__ == "__main__":
  main()
