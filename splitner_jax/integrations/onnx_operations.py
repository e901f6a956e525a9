"""How JAX's primitive operations are said in ONNX; see `onnx_graph`."""

import math
from collections.abc import Sequence

import numpy as np
from onnx import helper

from splitner_jax.integrations.onnx_graph import (
  Graph,
  Step,
  Translate,
  Value,
  constant,
  inline,
  onnx_type,
)


def _elements(operation: str, *, negated: bool = False) -> Translate:
  """An operation on the elements of its inputs, which ONNX stretches."""

  def translate(step: Step) -> list[Value]:
    shape = np.broadcast_shapes(*(x.shape for x in step.inputs))
    result = step.graph.add(operation, step.inputs, shape)
    return [step.graph.add("Not", [result], shape) if negated else result]

  return translate


def _rsqrt(step: Step) -> list[Value]:
  [x] = step.inputs
  root = step.graph.add("Sqrt", [x], x.shape)
  return [step.graph.add("Reciprocal", [root], x.shape)]


def _erfc(step: Step) -> list[Value]:
  [x] = step.inputs
  erf = step.graph.add("Erf", [x], x.shape)
  one = np.ones((), step.out[0].dtype)
  return [step.graph.add("Sub", [one, erf], x.shape)]


def _square(step: Step) -> list[Value]:
  [x] = step.inputs
  return [step.graph.add("Mul", [x, x], x.shape)]


def _integer_pow(step: Step) -> list[Value]:
  [x] = step.inputs
  power = np.asarray(step.params["y"], step.out[0].dtype)
  return [step.graph.add("Pow", [x, power], x.shape)]


def _cast(step: Step) -> list[Value]:
  [x] = step.inputs
  if step.avals[0].dtype == step.out[0].dtype:
    return [x]
  to = onnx_type(step.out[0].dtype)
  return [step.graph.add("Cast", [x], x.shape, to=to)]


def _select(step: Step) -> list[Value]:
  which, *cases = step.inputs
  if len(cases) != 2 or step.avals[0].dtype != bool:
    raise NotImplementedError("select_n of more than two cases")
  shape = np.broadcast_shapes(*(x.shape for x in step.inputs))
  return [step.graph.add("Where", [which, cases[1], cases[0]], shape)]


def _broadcast(step: Step) -> list[Value]:
  x = step.inputs[0]
  shape = [1] * len(step.out[0].shape)
  for size, axis in zip(
    x.shape, step.params["broadcast_dimensions"], strict=True
  ):
    shape[axis] = size
  return [step.graph.reshape(x, shape)]


def _reshape(step: Step) -> list[Value]:
  if step.params.get("dimensions") is not None:
    raise NotImplementedError("reshape of axes in another order")
  return [step.graph.reshape(step.full(0), step.out[0].shape)]


def _squeeze(step: Step) -> list[Value]:
  [x] = step.inputs
  gone = {axis % len(x.shape) for axis in step.params["dimensions"]}
  left = [size for axis, size in enumerate(x.shape) if axis not in gone]
  return [step.graph.reshape(x, left)]


def _expand_dims(step: Step) -> list[Value]:
  shape = list(step.inputs[0].shape)
  for axis in sorted(step.params["dimensions"]):
    shape.insert(axis, 1)
  return [step.graph.reshape(step.inputs[0], shape)]


def _transpose(step: Step) -> list[Value]:
  return [step.graph.transpose(step.inputs[0], step.params["permutation"])]


def _cut(
  graph: Graph,
  x: Value,
  starts: Sequence[int],
  ends: Sequence[int],
  strides: Sequence[int],
  shape: Sequence[int],
) -> Value:
  axes = [
    i
    for i, size in enumerate(x.shape)
    if (starts[i], ends[i], strides[i]) != (0, size, 1)
  ]
  if not axes:
    return x
  columns = starts, ends, _axes(x.shape), strides
  table = [[int(column[i]) for i in axes] for column in columns]
  return graph.add("Slice", [x, *(np.array(t, np.int64) for t in table)], shape)


def _axes(shape: Sequence[int]) -> list[int]:
  """The numbers of axes."""
  return list(range(len(shape)))


def _slice(step: Step) -> list[Value]:
  strides = step.params["strides"] or [1] * len(step.out[0].shape)
  starts, ends = step.params["start_indices"], step.params["limit_indices"]
  shape = step.out[0].shape
  return [_cut(step.graph, step.full(0), starts, ends, strides, shape)]


def _reverse(step: Step) -> list[Value]:
  x = step.full(0)
  back = set(step.params["dimensions"])
  starts = [-1 if i in back else 0 for i in _axes(x.shape)]
  # The least number: down to the first element and with it.
  least = np.iinfo(np.int64).min
  ends = [least if i in back else size for i, size in enumerate(x.shape)]
  strides = [-1 if i in back else 1 for i in _axes(x.shape)]
  return [_cut(step.graph, x, starts, ends, strides, x.shape)]


def _split(step: Step) -> list[Value]:
  sizes = np.array(step.params["sizes"], np.int64)
  return step.graph.add_node(
    "Split",
    [step.full(0), sizes],
    [x.shape for x in step.out],
    axis=int(step.params["axis"]),
  )


def _concatenate(step: Step) -> list[Value]:
  parts = [step.full(i) for i in range(len(step.inputs))]
  axis = int(step.params["dimension"])
  return [step.graph.add("Concat", parts, step.out[0].shape, axis=axis)]


def _stack(step: Step) -> list[Value]:
  [shape] = [x.shape for x in step.out]
  axis = int(step.params["axis"]) % len(shape)
  single = [*shape[:axis], 1, *shape[axis + 1 :]]
  parts = [
    step.graph.reshape(step.full(i), single) for i in range(len(step.inputs))
  ]
  return [step.graph.add("Concat", parts, shape, axis=axis)]


def _pad(step: Step) -> list[Value]:
  config = step.params["padding_config"]
  if any(low < 0 or high < 0 or inner for low, high, inner in config):
    raise NotImplementedError("padding that cuts off or goes between")
  if not any(low or high for low, high, _ in config):
    return [step.full(0)]
  pads = np.array([[low, high] for low, high, _ in config], np.int64).T
  return [
    step.graph.add(
      "Pad",
      [step.full(0), pads.reshape(-1), step.inputs[1]],
      step.out[0].shape,
    )
  ]


def _iota(step: Step) -> list[Value]:
  shape, axis = step.out[0].shape, step.params["dimension"]
  line = np.arange(shape[axis], dtype=step.out[0].dtype)
  sizes = [1] * len(shape)
  sizes[axis] = shape[axis]
  return [constant(line.reshape(sizes))]


def _reduce(operation: str) -> Translate:
  def translate(step: Step) -> list[Value]:
    axes = np.array(step.params["axes"], np.int64)
    shape = step.out[0].shape
    return [step.graph.add(operation, [step.full(0), axes], shape, keepdims=0)]

  return translate


def _dot(step: Step) -> list[Value]:
  """A product of matrices: axes of the batch, then rows, then columns."""
  graph = step.graph
  (left_sum, right_sum), (left_batch, right_batch) = step.params[
    "dimension_numbers"
  ]
  left, right = step.full(0), step.full(1)

  def free(x: Value, *used: Sequence[int]) -> list[int]:
    taken = {axis for axes in used for axis in axes}
    return [axis for axis in _axes(x.shape) if axis not in taken]

  left_free = free(left, left_sum, left_batch)
  right_free = free(right, right_sum, right_batch)
  batch = [left.shape[axis] for axis in left_batch]
  total = math.prod(left.shape[axis] for axis in left_sum)
  rows = math.prod(left.shape[axis] for axis in left_free)
  columns = math.prod(right.shape[axis] for axis in right_free)
  left = graph.transpose(left, [*left_batch, *left_free, *left_sum])
  right = graph.transpose(right, [*right_batch, *right_sum, *right_free])
  left = graph.reshape(left, [*batch, rows, total])
  right = graph.reshape(right, [*batch, total, columns])
  product = graph.add("MatMul", [left, right], [*batch, rows, columns])
  return [graph.reshape(product, step.out[0].shape)]


def _gather(step: Step) -> list[Value]:
  """Rows of a table: whole slices, chosen by their places on some axes."""
  graph, numbers = step.graph, step.params["dimension_numbers"]
  chosen = list(numbers.start_index_map)
  table, places = step.full(0), step.full(1)
  kept = [axis for axis in _axes(table.shape) if axis not in chosen]
  sizes = step.params["slice_sizes"]
  if (
    sorted(chosen) != list(numbers.collapsed_slice_dims)
    or numbers.operand_batching_dims
    or any(sizes[axis] != table.shape[axis] for axis in kept)
  ):
    raise NotImplementedError("gather of parts of slices")
  table = graph.transpose(table, [*chosen, *kept])
  batch = list(places.shape[:-1])
  shape = [*batch, *table.shape[len(chosen) :]]
  if len(chosen) == 1:
    found = graph.add("Gather", [table, graph.reshape(places, batch)], shape)
  else:
    wide = graph.add("Cast", [places], places.shape, to=onnx_type(np.int64))
    found = graph.add("GatherND", [table, wide], shape)
  # The kept axes go where the result has them.
  order = [0] * len(shape)
  others = iter(range(len(batch)))
  offsets = {axis: len(batch) + i for i, axis in enumerate(numbers.offset_dims)}
  for axis in range(len(shape)):
    order[axis] = offsets[axis] if axis in offsets else next(others)
  return [graph.transpose(found, order)]


def _scan(step: Step) -> list[Value]:
  """A loop, whose body is a graph in the graph."""
  params, graph = step.params, step.graph
  num_consts, num_carry = params["num_consts"], params["num_carry"]
  body, jaxpr = Graph(graph.root), params["jaxpr"]
  consts = [step.full(i) for i in range(num_consts)]
  given = [step.full(i) for i in range(num_consts, len(step.inputs))]
  inner = [
    Value(graph.new_name("state"), x.aval.shape)
    for x in jaxpr.jaxpr.invars[num_consts:]
  ]
  needed = [i < num_carry or need for i, need in enumerate(step.needed)]
  results = inline(
    body, jaxpr.jaxpr, jaxpr.consts, [*consts, *inner], OPERATIONS, needed
  )
  infos, names = [], []
  for variable, value, need in zip(
    jaxpr.jaxpr.outvars, results, needed, strict=True
  ):
    if need:
      # A name of its own: a body may hand on what it was given.
      whole = body.expand(value, variable.aval.shape)
      name = graph.new_name("result")
      body.nodes.append(
        helper.make_node("Identity", [body.name_of(whole)], [name])
      )
      names.append(name)
      infos.append(
        helper.make_tensor_value_info(
          name, onnx_type(variable.aval.dtype), list(variable.aval.shape)
        )
      )
  entries = [
    helper.make_tensor_value_info(
      value.name, onnx_type(x.aval.dtype), list(x.aval.shape)
    )
    for value, x in zip(inner, jaxpr.jaxpr.invars[num_consts:], strict=True)
  ]
  num_scanned = len(given) - num_carry
  direction = int(params["reverse"])
  found = iter(
    graph.add_node(
      "Scan",
      given,
      [x.shape for x, need in zip(step.out, needed, strict=True) if need],
      body=helper.make_graph(body.nodes, "body", entries, infos),
      num_scan_inputs=num_scanned,
      scan_input_directions=[direction] * num_scanned,
      scan_output_directions=[direction] * (len(names) - num_carry),
    )
  )
  return [next(found) if need else Value("", ()) for need in needed]


OPERATIONS: dict[str, Translate] = {
  **{
    name: _elements(operation)
    for name, operation in {
      "abs": "Abs",
      "add": "Add",
      "add_any": "Add",
      "and": "And",
      "ceil": "Ceil",
      "cos": "Cos",
      "div": "Div",
      "eq": "Equal",
      "erf": "Erf",
      "exp": "Exp",
      "floor": "Floor",
      "ge": "GreaterOrEqual",
      "gt": "Greater",
      "le": "LessOrEqual",
      "log": "Log",
      "logistic": "Sigmoid",
      "lt": "Less",
      "max": "Max",
      "min": "Min",
      "mul": "Mul",
      "neg": "Neg",
      "not": "Not",
      "or": "Or",
      "pow": "Pow",
      "sign": "Sign",
      "sin": "Sin",
      "sqrt": "Sqrt",
      "sub": "Sub",
      "tanh": "Tanh",
    }.items()
  },
  "broadcast_in_dim": _broadcast,
  "concatenate": _concatenate,
  "convert_element_type": _cast,
  "dot_general": _dot,
  "erfc": _erfc,
  "expand_dims": _expand_dims,
  "gather": _gather,
  "integer_pow": _integer_pow,
  "iota": _iota,
  "ne": _elements("Equal", negated=True),
  "pad": _pad,
  "reduce_max": _reduce("ReduceMax"),
  "reduce_min": _reduce("ReduceMin"),
  "reduce_sum": _reduce("ReduceSum"),
  "reshape": _reshape,
  "rev": _reverse,
  "rsqrt": _rsqrt,
  "scan": _scan,
  "select_n": _select,
  "slice": _slice,
  "split": _split,
  "square": _square,
  "squeeze": _squeeze,
  "stack": _stack,
  "transpose": _transpose,
}
"""By the names of JAX's primitives."""
