"""Attention's packed input projection, replaced by a layer for each projection in it.

PyTorch's MultiheadAttention keeps the projections to queries, keys and values in one matrix,
`in_proj_weight`. It multiplies by it once where all three have one source; where keys and values
alone have one, as in cross-attention, it multiplies by the rows of these two. Each projection is a
layer: it gets an orthonormal matrix and a scale of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.lib.array_utils import byte_bounds

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.nodes import DEFAULT_DOMAINS, attributes, node_name
from lsuv_cli.graph.views import EVERYTHING, Sliced, View
from lsuv_cli.passes.pipeline import Pass

# The three projections of attention, in their order in a packed parameter.
ROLES = ("query", "key", "value")
WEIGHT, BIAS = "in_proj_weight", "in_proj_bias"


@dataclass(frozen=True, slots=True)
class _Packed:
    """A product with the weights of several projections.

    Attributes:
        node: a MatMul or Gemm.
        axis: the axis of the outputs in its weight.
        bias: the parameter that is added to the product, or a view of one; "" if none.
        add: the Add that adds it; None where the node does or there is none.
        roles: the projections, in the order in which their weights lie.
    """

    node: onnx.NodeProto
    axis: int
    bias: str
    add: onnx.NodeProto | None
    roles: tuple[str, ...]


def unpack_projections(graph: EditableGraph) -> None:
    """Replace each product with several packed projections by a product for each and a Concat."""
    for node in graph.nodes:
        packed = _packed(node, graph)
        if packed is not None:
            if packed.add is not None:
                graph.remove(packed.add)
            graph.replace(node, _unpacked(packed, graph))


def _packed(node: onnx.NodeProto, graph: EditableGraph) -> _Packed | None:
    """Return what a node multiplies by, if these are several projections."""
    if node.domain not in DEFAULT_DOMAINS or node.op_type not in ("MatMul", "Gemm"):
        return None
    weight = node.input[1]
    if len(graph.shape(weight) or ()) != 2 or graph.is_weight(node.input[0]):
        return None
    bias, add = node.input[2] if len(node.input) > 2 else "", None
    if not bias:
        bias, add = _added(node, graph)
    elif not graph.is_weight(bias):
        return None
    axis = 0 if attributes(node).get("transB", 0) else 1
    if _is_of(WEIGHT, weight, graph):
        roles = _roles(weight, axis, graph)
    elif _is_of(BIAS, bias, graph):
        roles = _roles(bias, -1, graph)
    else:
        return None
    if len(roles) < 2 or (bias and not _are_equal(weight, axis, bias, graph)):
        return None
    return _Packed(node, axis, bias, add, roles)


def _is_of(packed: str, value: str, graph: EditableGraph) -> bool:
    """Say whether a value comes from a packed parameter, by the name that it has or had."""
    view = graph.view(value)
    if view is None:
        return False
    sources = graph.signature.sources(view.parameter) if graph.signature else ()
    return any(packed in name for name in (view.parameter, *sources))


def _are_equal(weight: str, axis: int, bias: str, graph: EditableGraph) -> bool:
    """Say whether a value has one element for each output of a weight."""
    shape = graph.shape(bias) or ()
    outputs = (graph.shape(weight) or ())[axis]
    return math.prod(shape) == outputs == shape[-1]


def _roles(value: str, axis: int, graph: EditableGraph) -> tuple[str, ...]:
    """Return the projections whose weights or biases a view of a packed parameter consists of.

    Args:
        value: the view, or the packed parameter.
        axis: the view's axis of outputs.
        graph: the graph.

    Returns:
        () where it does not consist of whole projections.
    """
    view = graph.view(value) or View(value)
    packed = np.empty(graph.info(view).shape, np.int8)  # takes no memory
    part = view.of(packed)
    others = part.size // part.shape[axis]
    third, rest = divmod(packed.size, others * len(ROLES))
    step = part.strides[axis]  # of bytes, and so of elements
    if rest or step <= 0 or part.shape[axis] % third:
        return ()
    # Where the view begins, counted in outputs.
    first, between = divmod(byte_bounds(part)[0] - byte_bounds(packed)[0], step)
    if between or first % third:
        return ()
    start = first // third
    return ROLES[start : start + part.shape[axis] // third]


def _added(node: onnx.NodeProto, graph: EditableGraph) -> tuple[str, onnx.NodeProto | None]:
    """Return the parameter that the only reader of a product adds to it, and that Add."""
    product = node.output[0]
    reader = graph.only_reader(product)
    if reader is not None and reader.op_type == "Add":
        other = reader.input[1] if reader.input[0] == product else reader.input[0]
        if graph.is_weight(other):
            return other, reader
    return "", None


def _unpacked(packed: _Packed, graph: EditableGraph) -> list[onnx.NodeProto]:
    """Return the nodes in the place of a packed projection and of the Add of its bias, if any."""
    node, add, bias = packed.node, packed.add, packed.bias
    final = node.output[0] if add is None else add.output[0]
    new = graph.new_nodes(final)
    outputs = []
    weights = _parts(node.input[1], packed.axis, packed.roles, graph)
    biases = _parts(bias, -1, packed.roles, graph) if bias else []
    for position, role in enumerate(packed.roles):
        one = onnx.NodeProto()
        one.CopyFrom(node)
        one.name = f"{node_name(node)}.{role}"
        one.input[1] = weights[position]
        one.output[0] = graph.new_name(f"{node.output[0]}/{role}")
        if bias and add is None:
            one.input[2] = biases[position]
        new.nodes.append(one)
        outputs.append(one.output[0])
        if add is not None:
            terms = [one.output[0], biases[position]]
            outputs[-1] = new.node("Add", terms, role, name=f"{add.name}.{role}")
    new.node("Concat", outputs, output=final, name=node_name(node), axis=-1)
    return new.nodes


def _parts(name: str, axis: int, roles: tuple[str, ...], graph: EditableGraph) -> list[str]:
    """Return the names of views of the equal parts of a packed parameter, or a view of one."""
    view = graph.view(name) or View(name)
    shape = view.shape(graph.info(view).shape)
    size = shape[axis] // len(roles)
    parts = []
    for index, role in enumerate(roles):
        limits = (*(EVERYTHING,) * (axis % len(shape)), (index * size, (index + 1) * size, None))
        parts.append(f"{name}/{role}")
        graph.add_view(parts[-1], View(view.parameter, (*view.steps, Sliced(limits))))
    return parts


# A MatMul that `einsum` made may multiply by a packed weight, too.
PASS = Pass("packed_projections", unpack_projections, requires=("rearrangements", "einsum"))
