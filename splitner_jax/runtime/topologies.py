"""TPU slices that are not there: their devices, and what their chips can do."""

import importlib.util
import os
import re
from typing import NamedTuple

import jax
from jax.experimental import topologies

from splitner_jax.runtime.errors import UserError


class Chip(NamedTuple):
  """What one chip can do, as Google publishes it.

  Attributes:
    name: as `jax.Device.device_kind` has it.
    flops_per_s: of matrix products in bfloat16.
    memory_bytes: of its high-bandwidth memory (HBM).
    memory_bytes_per_s: between that and the chip.
    link_bytes_per_s: to other chips of the slice, over all its links.
  """

  name: str
  flops_per_s: float
  memory_bytes: float
  memory_bytes_per_s: float
  link_bytes_per_s: float


CHIPS = {
  "v5e": Chip("TPU v5 lite", 197e12, 16 * 2**30, 819e9, 200e9),
  "v6e": Chip("TPU v6 lite", 918e12, 32 * 2**30, 1_640e9, 448e9),
}
"""https://cloud.google.com/tpu/docs/v5e and v6e: 1,600 and 3,584 Gbit/s of
links."""


class Slice(NamedTuple):
  """Chips that are wired to each other, by their description alone."""

  topology: str
  chip: Chip
  devices: tuple[jax.Device, ...]


def describe(topology: str) -> Slice:
  """The slice of a topology, such as v5e:2x4; no TPU is needed.

  Raises:
    UserError: there is none of that name, or no libtpu.
  """
  found = re.fullmatch(r"(\w+):(\d+)x(\d+)", topology)
  if found is None or found[1] not in CHIPS:
    raise UserError(
      f"--topology: {topology!r} is none such as v5e:1x1, v5e:2x4, v6e:16x16"
    )
  if importlib.util.find_spec("libtpu") is None:
    raise UserError(
      "the compiler for TPU is missing; install it with "
      "launch/setup.sh --tpu, or with pip install 'splitner_jax[tpu]'"
    )
  rows, columns = int(found[2]), int(found[3])
  # Else libtpu asks a machine of Google Cloud, which this is not, what it is,
  # and wants to be the only one.
  for name, value in (
    ("ALLOW_MULTIPLE_LIBTPU_LOAD", "1"),
    ("TPU_SKIP_MDS_QUERY", "1"),
    ("TPU_ACCELERATOR_TYPE", "v5litepod-8"),
    ("TPU_WORKER_HOSTNAMES", "localhost"),
  ):
    os.environ.setdefault(name, value)
  try:
    described = topologies.get_topology_desc(
      platform="tpu",
      topology_name=topology,
      # As of one host: a program is the same however many there are.
      chips_per_host_bounds=(rows, columns, 1),
    )
  except Exception as e:  # libtpu has several types.
    reason = str(e).split("\n")[0]
    raise UserError(f"--topology: {topology}: {reason}; try v5e:2x4") from e
  devices = tuple(described.devices)
  if len(devices) != rows * columns:
    raise UserError(
      f"--topology: {topology} has {len(devices)} devices; try v5e:2x4"
    )
  return Slice(topology, CHIPS[found[1]], devices)
