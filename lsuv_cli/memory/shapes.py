"""The shape of every value of a graph, for one size of the batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import onnx
from onnx import defs, helper, numpy_helper
from onnx.shape_inference import InferenceError, infer_node_outputs, infer_shapes

from lsuv_cli.core.layout import FloatArray, TensorInfo
from lsuv_cli.graph.nodes import bodies, values_read
from lsuv_cli.memory.shape_values import ShapeValues

# The place of a float input on which a node's output shape depends.
SHAPE_GIVING_INPUTS = {"Resize": 2, "Upsample": 1}

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tensor:
    """What is known of a value.

    Attributes:
        dtype: the element type as ONNX counts them; 0 where it is unknown.
        shape: the shape, with None for an unknown dimension; None where not even its rank is known.
    """

    dtype: int
    shape: tuple[int | None, ...] | None

    @property
    def known_shape(self) -> Shape | None:
        """The shape, if all of it is known."""
        if self.shape is None or not self.dtype:
            return None
        known = tuple(size for size in self.shape if size is not None)
        return known if len(known) == len(self.shape) else None


Table = dict[str, Tensor]


def shapes_for(
    batch: int,
    model: onnx.ModelProto,
    shapes: Mapping[str, Shape],
    weights: Mapping[str, TensorInfo],
    values: Mapping[str, FloatArray],
) -> tuple[Table, set[str]]:
    """Find the shapes of a graph's values.

    Args:
        batch: samples in the batch.
        model: the graph; not modified.
        shapes: for each input the shape of one sample.
        weights: shape and dtype of initializers that the graph does not hold.
        values: their values, of which only those few are read that shapes depend on.

    Returns:
        What is known of each value, initializers included, and those that are guessed.
    """
    bare = _prepared(batch, model, shapes, weights, values)
    try:
        inferred = infer_shapes(bare, data_prop=True).graph
    except InferenceError:
        inferred = bare.graph
    table = {
        value.name: _tensor(value.type)
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
        if value.type.HasField("tensor_type")
    }
    for tensor in bare.graph.initializer:
        table.setdefault(tensor.name, Tensor(tensor.data_type, tuple(tensor.dims)))
    made = [name for node in bare.graph.node for name in node.output if name]
    if all(_is_known(table, name) for name in made):
        return table, set()
    return table, _completed(bare, table)


def _prepared(
    batch: int,
    model: onnx.ModelProto,
    shapes: Mapping[str, Shape],
    weights: Mapping[str, TensorInfo],
    values: Mapping[str, FloatArray],
) -> onnx.ModelProto:
    """The graph with its inputs' true shapes, and without what the file says of any other."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    graph = bare.graph
    del graph.value_info[:]
    for value in graph.output:
        value.ClearField("type")
    for value in graph.input:
        if value.name in shapes:
            shape = [batch, *shapes[value.name]]
            kind = value.type.tensor_type.elem_type
            value.CopyFrom(helper.make_tensor_value_info(value.name, kind, shape))
    held = {tensor.name for tensor in graph.initializer} | {value.name for value in graph.input}
    giving = {
        node.input[place]
        for node in graph.node
        if len(node.input) > (place := SHAPE_GIVING_INPUTS.get(node.op_type, len(node.input)))
    }
    for name, info in weights.items():
        if name in giving and name in values:
            graph.initializer.append(numpy_helper.from_array(values[name], name))
        elif name not in held:
            kind = helper.np_dtype_to_tensor_dtype(info.dtype)
            graph.input.append(helper.make_tensor_value_info(name, kind, info.shape))
    return bare


def _completed(model: onnx.ModelProto, table: Table) -> set[str]:
    """Find node by node what inference over the whole graph did not; return what is guessed."""
    constants = ShapeValues(model.graph.initializer)
    guessed: set[str] = set()
    for node in model.graph.node:
        unknown = [name for name in node.output if name and not _is_known(table, name)]
        if unknown:
            table |= _inferred(node, table, constants, model)
            for name in unknown:
                if not _is_known(table, name):
                    guessed.add(name)
                    table[name] = _guess(node, table.get(name), table)
        first = table.get(node.input[0]) if node.input else None
        constants.follow(node, first.known_shape if first else None)
        if not guessed.isdisjoint(values_read(node)):
            guessed.update(filter(None, node.output))
    return guessed


def _inferred(
    node: onnx.NodeProto, table: Table, constants: ShapeValues, model: onnx.ModelProto
) -> Table:
    """What inference says of one node's outputs."""
    versions = {entry.domain: entry.version for entry in model.opset_import}
    if bodies(node) or node.domain not in versions:
        return {}
    inputs = {
        name: helper.make_tensor_type_proto(table[name].dtype, table[name].shape)
        for name in node.input
        if name in table and table[name].dtype
    }
    try:
        schema = defs.get_schema(node.op_type, versions[node.domain], node.domain)
        found = infer_node_outputs(
            schema,
            node,
            inputs,
            constants.tensors(node.input),
            opset_imports=list(model.opset_import),
            ir_version=model.ir_version,
        )
    except (InferenceError, defs.SchemaError, RuntimeError):
        return {}
    return {
        name: _tensor(kind)
        for name, kind in found.items()
        if kind.HasField("tensor_type") and not _is_known(table, name)
    }


def _guess(node: onnx.NodeProto, said: Tensor | None, table: Table) -> Tensor:
    """A tensor like the largest that a node reads, as far as nothing else is known."""
    read = [table[name] for name in sorted(values_read(node)) if name in table]
    known = [tensor for tensor in read if tensor.known_shape is not None]
    largest = max(known, key=_elements, default=Tensor(0, ()))
    dtype = said.dtype if said is not None and said.dtype else largest.dtype
    if said is None or said.shape is None:
        return Tensor(dtype, largest.shape)
    rest = _elements(largest)
    if node.op_type != "NonZero":
        rest = -(-rest // max(_elements(said), 1))
    shape: list[int] = []
    for size in said.shape:
        shape.append(rest if size is None else size)
        rest = 1 if size is None else rest
    return Tensor(dtype, tuple(shape))


def _tensor(kind: onnx.TypeProto) -> Tensor:
    tensor = kind.tensor_type
    if not tensor.HasField("shape"):
        return Tensor(tensor.elem_type, None)
    sizes = tensor.shape.dim
    shape = tuple(size.dim_value if size.HasField("dim_value") else None for size in sizes)
    return Tensor(tensor.elem_type, shape)


def _is_known(table: Table, name: str) -> bool:
    return name in table and table[name].known_shape is not None


def _elements(tensor: Tensor) -> int:
    return math.prod(1 if size is None else size for size in tensor.shape or ())
