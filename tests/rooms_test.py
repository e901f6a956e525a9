"""The rooms of the package: each uses only those below it, and no circles."""

import ast
import pathlib
import re
from collections.abc import Iterator

import pytest

_PACKAGE = pathlib.Path(__file__).parents[1] / "splitner_jax"
_FLOORS = (
  "runtime",
  "data",
  "evaluation",
  "inputs",
  "models",
  "pretrained",
  "tasks",
  "inference",
  "training",
  "experiment",
  "throughput",
  "serving",
  "integrations",
  "commands",
  "reproduce",
)
"""The lowest first."""
_WITHOUT_JAX = ("data", "evaluation", "inputs")


def _modules() -> dict[str, pathlib.Path]:
  """All modules, by their names within the package."""
  return {
    ".".join(path.relative_to(_PACKAGE).with_suffix("").parts): path
    for path in sorted(_PACKAGE.rglob("*.py"))
  }


def _imports(path: pathlib.Path) -> Iterator[str]:
  """What a module imports, of this package by the names within it."""
  for node in ast.walk(ast.parse(path.read_text("utf-8"))):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      module = str(node.module)
      own, _, inner = module.partition(".")
      if own == "splitner_jax":
        yield from (
          ".".join(filter(None, [inner, alias.name])) for alias in node.names
        )
      else:
        yield module


@pytest.mark.parametrize("floor", range(len(_FLOORS)))
def test_a_room_uses_only_those_below(floor: int) -> None:
  """Imports inside of functions and for type checkers included."""
  above = _FLOORS[floor + 1 :]
  modules = [m for m in _modules() if m.split(".")[0] == _FLOORS[floor]]
  assert modules
  for module in modules:
    for name in _imports(_modules()[module]):
      # The package itself, whose `SplitNER` is of the inference.
      assert name.split(".")[0] not in above, f"{module} imports {name}"


def test_every_module_has_a_room() -> None:
  """But for the commands' entry points, which hold nothing else."""
  for module, path in _modules().items():
    if module.split(".")[0] not in _FLOORS and module != "__init__":
      names = {name.split(".")[0] for name in _imports(path)}
      assert names == {"commands"}, module


def test_no_module_needs_itself() -> None:
  modules = _modules()

  def module_of(name: str) -> str | None:
    for candidate in (f"{name}.__init__", name, name.rpartition(".")[0]):
      if candidate in modules:
        return candidate
    return None

  edges = {
    module: {found for n in _imports(path) if (found := module_of(n))}
    for module, path in modules.items()
  }
  done: set[str] = set()

  def visit(module: str, way: tuple[str, ...]) -> None:
    assert module not in way, " -> ".join([*way, module])
    if module not in done:
      for other in sorted(edges[module] - {module}):
        visit(other, (*way, module))
      done.add(module)

  for module in modules:
    visit(module, ())


def test_rooms_without_jax() -> None:
  for module, path in _modules().items():
    if module.split(".")[0] in _WITHOUT_JAX:
      foreign = {name.split(".")[0] for name in _imports(path)}
      assert not foreign & {"jax", "flax", "optax"}, module


def test_few_lines_leave_a_type_open() -> None:
  found = [
    f"{name}: {line.strip()}"
    for name, path in _modules().items()
    for line in path.read_text().splitlines()
    if re.search(r"\bAny\b", line)
  ]
  assert len(found) < 60, "\n".join(found)
