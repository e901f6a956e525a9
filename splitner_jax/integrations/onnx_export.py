"""Programs in ONNX, and their forward pass in onnxruntime.

Needs pip install "splitner_jax[onnx]".
"""

import logging
import pathlib

import jax
import numpy as np
import onnx
import onnxruntime
from jax import numpy as jnp

from splitner_jax.inputs.batches import Arrays
from splitner_jax.integrations.onnx_graph import convert
from splitner_jax.integrations.onnx_operations import OPERATIONS
from splitner_jax.integrations.programs import Program, ProgramForward
from splitner_jax.runtime import devices
from splitner_jax.runtime.errors import UserError
from splitner_jax.runtime.types import Tree

_MOST_BYTES = 2_000_000_000  # Of one file of protocol buffers.


def write(
  program: Program, params: Tree, folder: pathlib.Path, *, int8: bool = False
) -> None:
  """Writes NAME.onnx, parameters included.

  Args:
    program: its inputs are those of the file, its output is `logits`.
    params: the parameters.
    folder: that is there.
    int8: whether matrices are kept as integers of 8 bits, with scales; what
      is multiplied with them is rounded as it comes (dynamic quantisation).

  Raises:
    UserError: the model has a part that is not known here, or is too large.
  """
  # Arrays of JAX: what follows from them alone is computed now.
  arrays = jax.tree.map(jnp.asarray, devices.to_host(params))
  name = program.task.name
  try:
    model = convert(
      lambda batch: program.call(arrays, batch),
      program.arrays(),
      OPERATIONS,
      "logits",
    )
  except NotImplementedError as error:
    raise UserError(
      f"--format=onnx: the {name} cannot be said in ONNX ({error}); use "
      "--format=stablehlo"
    ) from error
  if model.ByteSize() > _MOST_BYTES:
    raise UserError(
      f"--format=onnx: the {name} has {model.ByteSize():,} bytes, more than a "
      "file of ONNX can; use --format=stablehlo"
    )
  onnx.checker.check_model(model, full_check=True)
  path = folder / f"{name}.onnx"
  if not int8:
    path.write_bytes(model.SerializeToString())
    return
  from onnxruntime import quantization

  # It advises on the root logger to prepare what needs no preparation.
  root = logging.getLogger()
  root.addFilter(_is_no_advice)
  try:
    quantization.quantize_dynamic(
      model,
      path,
      weight_type=quantization.QuantType.QInt8,
      op_types_to_quantize=["MatMul"],
      per_channel=True,
      # Sums of 8 x 8 bits overflow on processors without VNNI.
      reduce_range=True,
    )
  finally:
    root.removeFilter(_is_no_advice)


def _is_no_advice(record: logging.LogRecord) -> bool:
  return "pre-processing before quantization" not in record.getMessage()


def forward(program: Program, folder: pathlib.Path) -> ProgramForward:
  """The forward pass in onnxruntime, on CPU.

  Raises:
    UserError: there is no such file, or onnxruntime cannot run it.
  """
  path = folder / f"{program.task.name}.onnx"
  if not path.is_file():
    raise UserError(f"{path}: no such file; export the model again")
  try:
    session = onnxruntime.InferenceSession(
      str(path), providers=["CPUExecutionProvider"]
    )
  except Exception as error:  # Its own errors have no common base.
    reason = " ".join(str(error).split())[:160]
    raise UserError(
      f"{path}: cannot be run ({reason}); export the model again"
    ) from error
  names = [node.name for node in session.get_inputs()]

  def run(batch: Arrays) -> np.ndarray:
    [logits] = session.run(["logits"], {n: batch[n] for n in names})
    return logits

  return ProgramForward(program, run)
