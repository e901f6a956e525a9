"""Programs in StableHLO: one for CPU, CUDA and TPU, by jax.export."""

import pathlib

import jax
import numpy as np
from flax import traverse_util
from jax import export

from splitner_jax.inputs.batches import Arrays
from splitner_jax.integrations.programs import Program, ProgramForward
from splitner_jax.pretrained.tensors import read_safetensors, write_safetensors
from splitner_jax.runtime import devices
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.types import Tree

PLATFORMS = ("cpu", "cuda", "tpu")
"""A program is for all of them."""


def write(program: Program, params: Tree, folder: pathlib.Path) -> None:
  """Writes NAME.stablehlo, and what it is called with, NAME.safetensors.

  Args:
    program: its function takes the parameters by name, float32, and a batch.
    params: the parameters.
    folder: that is there.
  """
  name = program.task.name
  flat = traverse_util.flatten_dict(devices.to_host(params), sep="/")
  flat = {key: np.ascontiguousarray(x, np.float32) for key, x in flat.items()}

  def call(params: Tree, batch: Arrays) -> Tree:
    tree = traverse_util.unflatten_dict(params, sep="/")
    return program.call(tree, batch)

  exported = export.export(jax.jit(call), platforms=PLATFORMS)(
    _shapes(flat), _shapes(program.arrays())
  )
  (folder / f"{name}.stablehlo").write_bytes(exported.serialize())
  write_safetensors(folder / f"{name}.safetensors", flat)


def _shapes(arrays: Arrays) -> dict[str, jax.ShapeDtypeStruct]:
  return {
    name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in arrays.items()
  }


def forward(program: Program, folder: pathlib.Path) -> ProgramForward:
  """The forward pass by what `write` wrote.

  Raises:
    UserError: the files are not there, or of another version of JAX.
  """
  name = program.task.name
  path = folder / f"{name}.stablehlo"
  try:
    exported = export.deserialize(bytearray(path.read_bytes()))
  except OSError as error:
    raise UserError(
      f"{path}: {error.strerror}; export the model again"
    ) from None
  except Exception as error:  # What is damaged, or of another format.
    reason = " ".join(str(error).split())[:160]
    raise UserError(
      f"{path}: cannot be read ({reason}); export the model again"
    ) from error
  params = read_safetensors(
    str(folder / f"{name}.safetensors"), "export the model again"
  )
  call = jax.jit(exported.call)

  def run(batch: Arrays) -> np.ndarray:
    return np.asarray(call(params, batch))

  return ProgramForward(program, run)
