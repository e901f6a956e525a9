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
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import NamedTuple

from tests.equivalent_mutants import reason

_ROOT = pathlib.Path(__file__).parents[1]

CORE = {
  "training/optimizer": ("optimizer",),
  "training/losses": ("losses", "loop_batches"),
  "training/step": ("devices", "loop_batches", "loop"),
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


class _Checkout:
  """A copy of the checkout, in which a module can be another."""

  def __init__(self, folder: pathlib.Path):
    for part in ("splitner_jax", "tests", "configs", "pyproject.toml"):
      source = _ROOT / part
      copy = shutil.copytree if source.is_dir() else shutil.copy
      (folder / part).parent.mkdir(parents=True, exist_ok=True)
      copy(source, folder / part)
    self._folder = folder
    self._environ = {
      **os.environ,
      "PYTHONPATH": str(folder),
      # What a mutant leaves as it is, is compiled once.
      "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    self._seconds: dict[str, float] = {}

  def survives(self, mutant: Mutant, code: str) -> bool:
    """Whether the tests of its module pass with it."""
    names = CORE[mutant.module]
    for name in names:
      if name not in self._seconds:
        start = time.monotonic()
        assert self._passes(name, None), f"{name} fails without a mutant"
        self._seconds[name] = time.monotonic() - start
    place = self._folder / "splitner_jax" / f"{mutant.module}.py"
    whole = place.read_text("utf-8")
    place.write_text(code, encoding="utf-8")
    try:
      return all(self._passes(n, 15 + 4 * self._seconds[n]) for n in names)
    finally:
      place.write_text(whole, encoding="utf-8")

  def _passes(self, name: str, seconds: float | None) -> bool:
    command = (
      "pytest",
      "-x",
      "-p",
      "no:cacheprovider",
      f"tests/{name}_test.py",
    )
    try:
      done = subprocess.run(
        [sys.executable, "-B", "-m", *command],
        cwd=self._folder,
        env=self._environ,
        capture_output=True,
        timeout=seconds,
      )
    except subprocess.TimeoutExpired:
      return False  # It does not end, which is seen too.
    return done.returncode == 0


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
  known: dict[str, bool] = {}
  if given.output.exists():
    rows = map(json.loads, given.output.read_text().splitlines())
    known = {row["mutant"]: row["survived"] for row in rows}
  survived, equivalent = 0, 0
  mutants = sample(given.count, given.seed)
  with tempfile.TemporaryDirectory() as name:
    checkout = _Checkout(pathlib.Path(name) / "checkout")
    for number, mutant in enumerate(mutants, 1):
      code = _code(mutant)
      assert code is not None
      key, diff = str(mutant), _diff(mutant, code)
      if key not in known:
        known[key] = checkout.survives(mutant, code)
        with given.output.open("a") as file:
          row = {"mutant": key, "survived": known[key]}
          file.write(json.dumps(row) + "\n")
      if known[key]:
        why = reason(mutant.module, diff)
        equivalent += why is not None
        survived += why is None
        print(f"{f'same ({why})' if why else 'survived'}: {key}\n{diff}\n")
      print(
        f"{number} of {len(mutants)}: {survived} survived, {equivalent} are "
        "equivalent",
        flush=True,
      )
  others = len(mutants) - equivalent
  killed = 100 * (1 - survived / max(1, others))
  print(
    f"{killed:.1f} % of {others} mutants killed (seed {given.seed}), beside "
    f"{equivalent} equivalent ones"
  )
  sys.exit(killed < given.least)


if __name__ == "__main__":
  main()
