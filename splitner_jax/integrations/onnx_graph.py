"""A traced JAX function as an ONNX graph.

What JAX traces is a list of primitive operations on arrays of fixed shapes;
each is translated by the function that `onnx_operations` has for it. So a
family of encoders needs nothing of its own here.

Two things keep the graph small. What depends on constants alone is computed
now, if the result is small. And a broadcast only gives an array axes of size 1:
ONNX's operations on elements stretch them themselves, and `full` does it for
the others.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import onnx
from jax.extend import core
from jax.typing import DTypeLike
from numpy.typing import ArrayLike
from onnx import helper, numpy_helper

from splitner_jax.runtime.types import Tree

OPSET = 18
_IR_VERSION = 10  # Of the time of the opset: older run times read it.
# The most elements of a result that is computed now.
_SMALL = 65_536

Atom = core.Var | core.Literal

_INLINED = ("jaxpr", "call_jaxpr", "fun_jaxpr")
_NOTHING = (
  "stop_gradient",
  "copy",
  "copy_p",
  "optimization_barrier",
  "reduce_precision",
)


@dataclasses.dataclass(frozen=True)
class Value:
  """An array in the graph.

  Attributes:
    name: of it in the graph; "" of a constant that is not in it yet.
    shape: as ONNX has it: an axis may be 1 where the traced one is longer.
    constant: its value, if it is known.
  """

  name: str
  shape: tuple[int, ...]
  constant: np.ndarray | None = None


class Graph:
  """The nodes of a graph or of the body of a loop.

  Attributes:
    nodes: so far.
    root: the outermost graph, which has all constants.
  """

  def __init__(self, root: "Graph | None" = None):
    self.root = root or self
    self.nodes: list[onnx.NodeProto] = []
    self.constants: list[onnx.TensorProto] = []
    self._known: dict[tuple[object, ...], str] = {}
    self._count = 0

  def new_name(self, what: str) -> str:
    """A name that nothing else has."""
    self.root._count += 1
    return f"{what}_{self.root._count}"

  def add(
    self,
    operation: str,
    inputs: Sequence[Value | np.ndarray],
    shape: Sequence[int],
    **attributes: Any,
  ) -> Value:
    """Adds a node with one result."""
    [result] = self.add_node(operation, inputs, [shape], **attributes)
    return result

  def add_node(
    self,
    operation: str,
    inputs: Sequence[Value | np.ndarray],
    shapes: Sequence[Sequence[int]],
    **attributes: Any,
  ) -> list[Value]:
    """Adds a node with a result of each shape."""
    names = [self.name_of(x) for x in inputs]
    results = [self.new_name(operation) for _ in shapes]
    self.nodes.append(
      helper.make_node(operation, names, results, name=results[0], **attributes)
    )
    return [
      Value(name, tuple(map(int, shape)))
      for name, shape in zip(results, shapes, strict=True)
    ]

  def name_of(self, x: Value | np.ndarray) -> str:
    """The name of an array in the graph, to which a constant is added."""
    if isinstance(x, Value) and x.name:
      return x.name
    array = x.constant if isinstance(x, Value) else x
    assert array is not None
    array = np.ascontiguousarray(array).reshape(array.shape)
    key = (array.dtype.str, array.shape, array.tobytes())
    known = self.root._known
    if key not in known:
      known[key] = self.new_name("constant")
      self.root.constants.append(numpy_helper.from_array(array, known[key]))
    return known[key]

  def reshape(self, x: Value, shape: Sequence[int]) -> Value:
    """The same elements in another shape."""
    shape = tuple(map(int, shape))
    if shape == x.shape:
      return x
    if x.constant is not None:
      return constant(x.constant.reshape(shape))
    return self.add("Reshape", [x, np.array(shape, np.int64)], shape)

  def transpose(self, x: Value, order: Sequence[int]) -> Value:
    """Axes in another order."""
    order = [int(axis) for axis in order]
    if order == sorted(order):
      return x
    if x.constant is not None:
      return constant(np.transpose(x.constant, order))
    shape = [x.shape[axis] for axis in order]
    return self.add("Transpose", [x], shape, perm=order)

  def expand(self, x: Value, shape: Sequence[int]) -> Value:
    """Axes of size 1 stretched to a shape."""
    shape = tuple(map(int, shape))
    if x.shape == shape:
      return x
    if x.constant is not None and np.prod(shape) <= _SMALL:
      return constant(np.broadcast_to(x.constant, shape))
    return self.add("Expand", [x, np.array(shape, np.int64)], shape)


def constant(array: ArrayLike) -> Value:
  """A value that is known; NumPy's types of the machine are those of JAX."""
  array = np.asarray(array)
  return Value("", array.shape, array)


def _traced(x: Atom) -> jax.core.ShapedArray:
  """Shape and type of it, as traced."""
  assert isinstance(x.aval, jax.core.ShapedArray)
  return x.aval


class Step:
  """One operation that is being translated.

  Attributes:
    graph: where nodes go.
    params: of the primitive.
    inputs: its arrays, not stretched.
    avals: shapes and types of the inputs, as traced.
    out: shapes and types of the results, as traced.
    needed: of each result, whether anything reads it.
  """

  def __init__(
    self,
    graph: Graph,
    eqn: core.JaxprEqn,
    inputs: list[Value],
    needed: list[bool],
  ):
    self.graph, self.params, self.inputs = graph, eqn.params, inputs
    self.primitive = eqn.primitive
    self.avals = [_traced(x) for x in eqn.invars]
    self.out = [_traced(x) for x in eqn.outvars]
    self.needed: list[bool] = needed

  def full(self, i: int) -> Value:
    """An input, stretched to the shape that was traced."""
    return self.graph.expand(self.inputs[i], self.avals[i].shape)


Translate = Callable[[Step], list[Value]]


def convert(
  function: Callable[..., Tree],
  batch: dict[str, np.ndarray],
  operations: dict[str, Translate],
  output: str,
) -> onnx.ModelProto:
  """A function of a batch as an ONNX model.

  Args:
    function: of a dict of arrays to one array; what it closes over are
      constants of the model.
    batch: arrays of the shapes and types that it is to have.
    operations: what translates each primitive.
    output: name of the result.

  Raises:
    NotImplementedError: the function has an operation that none translates.
  """
  closed = jax.make_jaxpr(function)(batch)
  names = sorted(batch)  # The order of JAX's trees.
  graph = Graph()
  inputs = [Value(name, batch[name].shape) for name in names]
  [result] = inline(graph, closed.jaxpr, closed.consts, inputs, operations)
  out = _traced(closed.jaxpr.outvars[0])
  result = graph.expand(result, out.shape)
  graph.nodes.append(
    helper.make_node("Identity", [graph.name_of(result)], [output])
  )
  model = helper.make_model(
    helper.make_graph(
      graph.nodes,
      "splitner_jax",
      [_info(name, batch[name].shape, batch[name].dtype) for name in names],
      [_info(output, out.shape, out.dtype)],
      initializer=graph.constants,
    ),
    opset_imports=[helper.make_opsetid("", OPSET)],
    producer_name="splitner_jax",
  )
  model.ir_version = _IR_VERSION
  return model


def _info(
  name: str, shape: Sequence[int], dtype: DTypeLike
) -> onnx.ValueInfoProto:
  return helper.make_tensor_value_info(name, onnx_type(dtype), list(shape))


def onnx_type(dtype: DTypeLike) -> int:
  """ONNX's number of a type."""
  return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def inline(
  graph: Graph,
  jaxpr: core.Jaxpr,
  constants: Sequence[ArrayLike],
  inputs: Sequence[Value],
  operations: dict[str, Translate],
  needed: Sequence[bool] | None = None,
) -> list[Value]:
  """Translates all that the results need, and returns the results.

  Args:
    graph: where nodes go.
    jaxpr: what was traced.
    constants, inputs: of it.
    operations: what translates each primitive.
    needed: which results are; None: all. The others mean nothing.
  """
  values: dict[core.Var, Value] = dict(zip(jaxpr.invars, inputs, strict=True))
  for variable, array in zip(jaxpr.constvars, constants, strict=True):
    values[variable] = constant(array)
  needed = needed or [True] * len(jaxpr.outvars)

  def read(variable: Atom) -> Value:
    if isinstance(variable, core.Literal):
      return constant(np.asarray(variable.val, _traced(variable).dtype))
    return values[variable]

  for eqn, live in _live(jaxpr, needed):
    given = [read(x) for x in eqn.invars]
    for variable, value in zip(
      eqn.outvars, _translate(graph, eqn, given, live, operations), strict=True
    ):
      values[variable] = value
  nothing = Value("", ())
  return [
    read(x) if wanted else nothing
    for x, wanted in zip(jaxpr.outvars, needed, strict=True)
  ]


def _live(
  jaxpr: core.Jaxpr, needed: Sequence[bool]
) -> list[tuple[core.JaxprEqn, list[bool]]]:
  """The operations that the results need, and which of theirs are."""

  def variables(them: Sequence[Atom]) -> set[core.Var]:
    return {x for x in them if not isinstance(x, core.Literal)}

  wanted = variables(
    [x for x, keep in zip(jaxpr.outvars, needed, strict=True) if keep]
  )
  found = []
  for eqn in reversed(jaxpr.eqns):
    live = [x in wanted for x in eqn.outvars]
    if any(live):
      found.append((eqn, live))
      wanted |= variables(eqn.invars)
  return found[::-1]


def _translate(
  graph: Graph,
  eqn: core.JaxprEqn,
  inputs: list[Value],
  needed: list[bool],
  operations: dict[str, Translate],
) -> list[Value]:
  name = eqn.primitive.name
  if name in _NOTHING:
    return inputs
  if name in operations and name != "scan":
    folded = _fold(eqn, inputs)
    return folded or operations[name](Step(graph, eqn, inputs, needed))
  if name in operations:
    return operations[name](Step(graph, eqn, inputs, needed))
  inner = next((eqn.params[k] for k in _INLINED if k in eqn.params), None)
  if inner is None:
    raise NotImplementedError(f"no ONNX operation for {name}")
  jaxpr = getattr(inner, "jaxpr", inner)
  consts = getattr(inner, "consts", [])
  return inline(graph, jaxpr, consts, inputs, operations, needed)


def _fold(eqn: core.JaxprEqn, inputs: Sequence[Value]) -> list[Value] | None:
  """The results, if they are small and follow from constants."""
  # A broadcast is not stretched, so that it costs nothing.
  if eqn.primitive.name == "broadcast_in_dim":
    return None
  size = sum(int(np.prod(_traced(x).shape)) for x in eqn.outvars)
  given = sum(int(np.prod(x.shape)) for x in inputs)
  if size > max(_SMALL, given) or any(x.constant is None for x in inputs):
    return None
  arrays = [
    np.broadcast_to(x.constant, _traced(variable).shape)  # type: ignore[arg-type]
    for x, variable in zip(inputs, eqn.invars, strict=True)
  ]
  results = eqn.primitive.bind(*arrays, **eqn.params)
  if not eqn.primitive.multiple_results:
    results = [results]
  return [constant(result) for result in results]
