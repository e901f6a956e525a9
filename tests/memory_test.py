"""Freed memory stays with a process that wants to keep it."""

import platform
import subprocess
import sys

import pytest

_SCRIPT = """
import sys
import numpy as np
from splitner_jax import memory

def resident():
  with open("/proc/self/statm") as file:
    return int(file.read().split()[1])

if "keep" in sys.argv:
  memory.keep_freed()
before = resident()
block = np.ones(10_000_000)
grown = resident() - before
del block
print((resident() - before) / grown)
"""


@pytest.mark.skipif(
  platform.libc_ver()[0] != "glibc", reason="malloc of another C library"
)
def test_freed_memory_is_kept():
  kept = [
    float(subprocess.check_output([sys.executable, "-c", _SCRIPT, word]))
    for word in ("keep", "")
  ]
  assert kept[0] > 0.9
  assert kept[1] < 0.1
