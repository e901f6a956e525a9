"""What all tests share: fake devices, a cache of their own, real data."""

import contextlib
import functools
import gc
import os
import pathlib
import signal
import subprocess
from collections.abc import Iterator

# Read by jax at its import, also in the processes that tests start.
os.environ["JAX_NUM_CPU_DEVICES"] = "4"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests compile much and run little: these take three quarters off the time to
# compile for a CPU.
os.environ["XLA_FLAGS"] = " ".join(
  [
    os.environ.get("XLA_FLAGS", ""),
    "--xla_backend_optimization_level=0",
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
  ]
)

import jax
import pytest

from splitner_jax.runtime.cache import cache_dir
from splitner_jax.runtime.compilation import use_compilation_cache
from splitner_jax.tasks import TASK_KINDS
from splitner_jax.tasks.systems import SYSTEMS

# A shell lets its background jobs ignore ctrl-C, and they what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

_ROOT = pathlib.Path(__file__).parents[1]
_USER_CACHE = cache_dir()
_MINILM = "all-MiniLM-L6-v2"


# Files whose tests train: with several processes they go first, so that none is
# left to one process at the end.
_LONGEST = (
  "variants_test.py",
  "loop_test.py",
  "wheel_test.py",
  "experiment_test.py",
  "export_test.py",
  "outside_kind_test.py",
  "warm_start_test.py",
  "families_test.py",
  "devices_test.py",
)


def pytest_collection_modifyitems(
  config: pytest.Config, items: list[pytest.Item]
) -> None:
  items.sort(key=lambda item: item.path.name not in _LONGEST)
  # Long tests that passed with this very code are not run again.
  passed = _long_passed(config)
  rest = [item for item in items if item.nodeid not in passed]
  if passed and rest != items:
    print(f"{len(items) - len(rest)} long tests passed before, with this code")
    config.hook.pytest_deselected(items=[i for i in items if i not in rest])
    items[:] = rest


def _long_passed(config: pytest.Config) -> list[str]:
  cache = getattr(config, "cache", None)  # Not with -p no:cacheprovider.
  return cache.get(_cache_key(), []) if cache else []


@functools.cache
def _cache_key() -> str:
  """Of the commit; of no use to another run where files were changed."""
  command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
  done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True)
  commit = done.stdout.strip()
  other = not commit or commit.endswith("-dirty")
  return f"long/{os.getpid() if other else commit}"


class _Long:
  """Keeps in pytest's cache which long tests passed, as they pass."""

  def __init__(self, config: pytest.Config):
    self._config = config

  def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
    if report.passed and report.when == "call" and "long" in report.keywords:
      passed = [*_long_passed(self._config), report.nodeid]
      self._config.cache.set(_cache_key(), passed)


def pytest_configure(config: pytest.Config) -> None:
  # Not in the processes that tests are spread over.
  if hasattr(config, "cache") and not hasattr(config, "workerinput"):
    config.pluginmanager.register(_Long(config))


def pytest_sessionfinish() -> None:
  # See `forget_compiled`; some plugins ask the collector who holds an object.
  gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def session_cache(
  tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[pathlib.Path]:
  """SPLITNER_CACHE for this session; only the backbone is the user's own.

  One for all processes that tests are spread over, with what they compiled.
  """
  folder = tmp_path_factory.getbasetemp()
  if "PYTEST_XDIST_WORKER" in os.environ:
    folder = folder.parent
  folder = folder / "cache"
  folder.mkdir(exist_ok=True)
  if (_USER_CACHE / _MINILM).is_dir():
    with contextlib.suppress(FileExistsError):
      (folder / _MINILM).symlink_to(_USER_CACHE.resolve() / _MINILM)
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("SPLITNER_CACHE", str(folder))
    # As the commands do: many tests compile the same.
    use_compilation_cache()
    yield folder


@pytest.fixture(autouse=True, scope="module")
def forget_compiled() -> Iterator[None]:
  """Compiled programs of a module go with it.

  Each takes hundreds of memory maps, of which Linux gives a process 65,530;
  one more, and XLA crashes. What stays was imported, and is not looked through
  again: that takes up to half a second each time that training does it.
  """
  yield
  jax.clear_caches()
  gc.collect()
  gc.freeze()


@pytest.fixture
def registered() -> Iterator[None]:
  """What a test adds to the kinds of systems and tasks goes with it."""
  known = [(kinds, dict(kinds)) for kinds in (SYSTEMS, TASK_KINDS)]
  yield
  for kinds, before in known:
    kinds.clear()
    kinds.update(before)


@pytest.fixture(scope="session")
def minilm(session_cache: pathlib.Path) -> pathlib.Path:
  """Folder of the default backbone; skips where it is not."""
  folder = session_cache / _MINILM
  if not folder.is_dir():
    pytest.skip(f"{_MINILM} is not in {_USER_CACHE}: run launch/setup.sh")
  return folder


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
  """Folder of the real corpora and parity numbers; skips where it is not."""
  folder = pathlib.Path(
    os.environ.get("SPLITNER_DATA") or _ROOT.parent / "shared" / "data"
  )
  if not folder.is_dir():
    pytest.skip(f"no real data at {folder}: set SPLITNER_DATA")
  return folder
