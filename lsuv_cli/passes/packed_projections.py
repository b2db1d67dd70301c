"""Attention's packed input projection, replaced by three layers.

PyTorch's MultiheadAttention keeps the projections to queries, keys and values in one matrix,
`in_proj_weight`, and multiplies by it once. They are three layers: each gets an orthonormal matrix
and a scale of its own.
"""

from __future__ import annotations

import math

import onnx

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.nodes import DEFAULT_DOMAINS, attributes, node_name
from lsuv_cli.graph.views import EVERYTHING, Sliced, View
from lsuv_cli.passes.pipeline import Pass

# The three projections of attention, in their order in a packed parameter.
ROLES = ("query", "key", "value")
WEIGHT, BIAS = "in_proj_weight", "in_proj_bias"


def unpack_projections(graph: EditableGraph) -> None:
    """Replace each packed projection by three and a Concat."""
    for node in graph.nodes:
        axis = _packed_axis(node, graph)
        if axis is None:
            continue
        bias, add = node.input[2] if len(node.input) > 2 else "", None
        if not bias:
            bias, add = _added(node, graph)
        elif not graph.is_weight(bias):
            continue
        names = [view.parameter if view else "" for view in map(graph.view, (bias, node.input[1]))]
        if BIAS in names[0] or WEIGHT in names[1]:
            if add is not None:
                graph.remove(add)
            graph.replace(node, _unpacked(node, add, bias, axis, graph))


def _packed_axis(node: onnx.NodeProto, graph: EditableGraph) -> int | None:
    """Return the axis of the outputs in a weight that could be packed; None for another node."""
    if node.domain not in DEFAULT_DOMAINS or node.op_type not in ("MatMul", "Gemm"):
        return None
    view = graph.view(node.input[1])
    if view is None or graph.is_weight(node.input[0]):
        return None
    whole = graph.info(view).shape
    shape = view.shape(whole)
    # A weight that an exporter has sliced itself, as for cross-attention's queries, is not packed.
    if math.prod(shape) != math.prod(whole):
        return None
    axis = 0 if attributes(node).get("transB", 0) else 1
    return axis if len(shape) == 2 and shape[axis] % len(ROLES) == 0 else None


def _added(node: onnx.NodeProto, graph: EditableGraph) -> tuple[str, onnx.NodeProto | None]:
    """Return the parameter that the only reader of a product adds to it, and that Add."""
    product = node.output[0]
    reader = graph.only_reader(product)
    if reader is not None and reader.op_type == "Add":
        other = reader.input[1] if reader.input[0] == product else reader.input[0]
        if graph.is_weight(other):
            return other, reader
    return "", None


def _unpacked(
    node: onnx.NodeProto, add: onnx.NodeProto | None, bias: str, axis: int, graph: EditableGraph
) -> list[onnx.NodeProto]:
    """Return the nodes in the place of a packed projection and of the Add of its bias, if any."""
    final = node.output[0] if add is None else add.output[0]
    new = graph.new_nodes(final)
    outputs = []
    for index, role in enumerate(ROLES):
        one = onnx.NodeProto()
        one.CopyFrom(node)
        one.name = f"{node_name(node)}.{role}"
        one.input[1] = _part(node.input[1], axis, index, graph)
        one.output[0] = graph.new_name(f"{node.output[0]}/{role}")
        if bias and add is None:
            one.input[2] = _part(bias, 0, index, graph)
        new.nodes.append(one)
        outputs.append(one.output[0])
        if add is not None:
            terms = [one.output[0], _part(bias, 0, index, graph)]
            outputs[-1] = new.node("Add", terms, role, name=f"{add.name}.{role}")
    new.node("Concat", outputs, output=final, name=node_name(node), axis=-1)
    return new.nodes


def _part(name: str, axis: int, index: int, graph: EditableGraph) -> str:
    """Return the name of a view of one of the three equal parts of a packed parameter."""
    part = f"{name}/{ROLES[index]}"
    view = graph.view(name) or View(name)
    size = view.shape(graph.info(view).shape)[axis] // len(ROLES)
    limits = (*(EVERYTHING,) * axis, (index * size, (index + 1) * size, None))
    graph.add_view(part, View(view.parameter, (*view.steps, Sliced(limits))))
    return part


# A MatMul that `einsum` made may multiply by a packed weight, too.
PASS = Pass("packed_projections", unpack_projections, requires=("rearrangements", "einsum"))
