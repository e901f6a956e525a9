"""Freed memory stays with a process that wants to keep it."""

import os
import pathlib
import platform
import subprocess
import sys

import pytest

_SCRIPT = """
import sys
import numpy as np
from splitner_jax.runtime import memory

def resident():
  with open("/proc/self/statm") as file:
    return int(file.read().split()[1])

if "keep" in sys.argv:
  memory.disable_malloc_trim()
before = resident()
block = np.ones(10_000_000)
grown = resident() - before
del block
print((resident() - before) / grown)
"""


@pytest.mark.skipif(
  platform.libc_ver()[0] != "glibc", reason="malloc of another C library"
)
def test_freed_memory_is_kept(tmp_path: pathlib.Path):
  def kept(word: str, **environment: str) -> float:
    command = [sys.executable, "-c", _SCRIPT, word]
    own = {k: v for k, v in os.environ.items() if k != "JAX_PLATFORMS"}
    return float(subprocess.check_output(command, env=own | environment))

  assert kept("keep", JAX_PLATFORMS="cpu") > 0.9
  assert kept("") < 0.1
  # Where JAX has an accelerator, unless it is told not to look for one.
  (tmp_path / "libtpu.py").touch()
  path = os.pathsep.join([str(tmp_path), str(pathlib.Path.cwd())])
  assert kept("keep", PYTHONPATH=path) < 0.1
  assert kept("keep", PYTHONPATH=path, JAX_PLATFORMS="cpu") > 0.9
