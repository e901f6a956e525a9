"""Devices that programs are only compiled for, and processes of others."""

import jax
import numpy as np
import pytest

from splitner_jax.runtime import devices
from splitner_jax.runtime.errors import UserError


def test_another_process_is_refused(monkeypatch: pytest.MonkeyPatch):
  assert devices.device_count() == len(jax.local_devices())
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  with pytest.raises(UserError, match="this is one of 2 processes"):
    devices.device_count()


def test_devices_that_are_compiled_for(monkeypatch: pytest.MonkeyPatch):
  mine = jax.devices()
  with devices.compiling_for(mine[:2]):
    assert devices.device_count() == 2
    assert devices.replicated().device_set == set(mine[:2])
    with devices.compiling_for(mine[2:3]):
      assert devices.device_count() == 1
    assert devices.device_count() == 2
  assert devices.device_count() == len(mine)
  with pytest.raises(ZeroDivisionError), devices.compiling_for(mine[:1]):
    raise ZeroDivisionError
  assert devices.device_count() == len(mine)


class _Device:
  platform = "tpu"


def test_what_a_platform_is_given():
  assert devices.row_length() == 0
  assert devices.compute_dtype("auto") == "float32"
  with devices.compiling_for([_Device()]):  # type: ignore[list-item]
    assert devices.row_length() == 256
    assert devices.compute_dtype("auto") == "bfloat16"
    assert devices.compute_dtype("float32") == "float32"


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
def test_keys(platform: str, monkeypatch: pytest.MonkeyPatch):
  """Of the hardware's generator on TPU, of Threefry elsewhere."""
  monkeypatch.setattr(devices, "_platform", lambda: platform)
  drawn = devices.compile_forward(
    lambda seed, step, batch: jax.random.key_data(
      devices.device_key(seed, step)
    )
  )(np.uint32(1), np.int32(2), np.zeros((4, 1)))
  keys = np.asarray(drawn)
  assert keys.shape[-1] == (4 if platform == "tpu" else 2)
  assert len({tuple(key) for key in keys.reshape(4, -1).tolist()}) == 4
