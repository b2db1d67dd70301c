"""If, Loop and Scan with layers in their bodies, and what they decide on some samples."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper

from lsuv_cli.graph.constants import constant_node
from lsuv_cli.graph.model_source import ModelSource
from lsuv_cli.graph.new_nodes import NewNames
from lsuv_cli.graph.nodes import DEFAULT_DOMAINS, attributes, bodies
from lsuv_cli.graph.operators.table import names_of

# ONNX Runtime would take minutes to load more.
MAX_UNROLLED_NODES = 2_000
SCAN_WITHOUT_BATCH_OPSET = 9

# Branch decisions, by the first output of each node: for an If 1 where its condition holds, else 0;
# for a Loop or Scan the number of its iterations.
Decisions = Mapping[str, int]


def controlling_nodes(source: ModelSource) -> list[onnx.NodeProto]:
    """Find the nodes of the main graph that have layers in their bodies."""
    constants = set(source.parameters)
    layer_like = names_of(lambda operator: operator.looks_like_a_layer)
    found = []
    for node in source.skeleton.graph.node:
        if node.op_type == "Constant" or _is_made_of(constants, node):
            constants.update(node.output)
        old_scan = node.op_type == "Scan" and source.opset < SCAN_WITHOUT_BATCH_OPSET
        if (
            node.domain in DEFAULT_DOMAINS
            and not old_scan
            and _holds_layer(node, constants, layer_like)
        ):
            found.append(node)
    return found


def _is_made_of(values: set[str], node: onnx.NodeProto) -> bool:
    return bool(node.input) and values.issuperset(node.input)


def _holds_layer(node: onnx.NodeProto, constants: set[str], layer_like: frozenset[str]) -> bool:
    for body in bodies(node):
        inner = constants | {tensor.name for tensor in body.initializer}
        for other in body.node:
            if other.op_type in layer_like and inner.intersection(other.input[:3]):
                return True
            if _holds_layer(other, inner, layer_like):
                return True
            if other.op_type == "Constant" or _is_made_of(inner, other):
                inner.update(other.output)
    return False


def can_be_unrolled(node: onnx.NodeProto, decision: int) -> bool:
    """Say whether a controlling node is short enough, and leaves no value without a size.

    Args:
        node: an If, Loop or Scan.
        decision: see `Decisions`.
    """
    if node.op_type == "If":
        return True
    (body,) = bodies(node)
    states = len(node.input) - 2
    if node.op_type == "Scan":
        states = len(node.input) - len(scan_inputs(node))
    if decision == 0 and any(node.output[states:]):
        return False
    return decision * len(body.node) <= MAX_UNROLLED_NODES


def probes(node: onnx.NodeProto, names: NewNames) -> tuple[list[onnx.NodeProto], str]:
    """Return nodes that compute what a controlling node decides.

    Args:
        node: an If, Loop or Scan.
        names: gives new values their names.

    Returns:
        The nodes, which run after those that make what `node` reads, and the name of the integer
        that they make; see `Decisions`.
    """
    decision = names.new(f"{node.output[0]}/decision")
    if node.op_type == "If":
        return [
            helper.make_node("Cast", [node.input[0]], [decision], to=TensorProto.INT64)
        ], decision
    if node.op_type == "Scan":
        position, axis = scan_inputs(node)[0]
        return _size_along(node.input[position], axis, decision, names), decision
    # A Loop has no output that counts its iterations; so its body must output something in each.
    counted = onnx.NodeProto()
    counted.CopyFrom(node)
    (body,) = bodies(counted)
    each = names.new("iteration")
    body.node.append(helper.make_node("Identity", [body.input[0].name], [each]))
    body.output.append(helper.make_tensor_value_info(each, TensorProto.INT64, []))
    every = names.new("iterations")
    carried = len(body.output) - 1
    outputs = [name or names.new("unused") for name in node.output]
    outputs += [names.new("unused") for _ in range(carried - 1 - len(outputs))]
    counted.output[:] = [names.new(name) for name in outputs] + [every]
    return [counted, *_size_along(every, 0, decision, names)], decision


def _size_along(value: str, axis: int, output: str, names: NewNames) -> list[onnx.NodeProto]:
    shape, index = names.new(f"{output}/shape"), names.new(f"{output}/axis")
    return [
        helper.make_node("Shape", [value], [shape]),
        constant_node(index, np.array(axis, np.int64)),
        helper.make_node("Gather", [shape, index], [output]),
    ]


def scan_inputs(node: onnx.NodeProto) -> list[tuple[int, int]]:
    """Return the position of each scanned input of a Scan, and the axis it is scanned along."""
    found = attributes(node)
    count = found["num_scan_inputs"]
    axes = found.get("scan_input_axes", [0] * count)
    states = len(node.input) - count
    return [(states + index, axes[index]) for index in range(count)]
