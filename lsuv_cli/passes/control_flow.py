"""If, Loop and Scan with layers in their bodies, and what they decide on some samples."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper

from lsuv_cli.graph.constants import constant_node
from lsuv_cli.graph.model_source import ModelSource
from lsuv_cli.graph.new_nodes import NewNames
from lsuv_cli.graph.nodes import DEFAULT_DOMAINS, attributes, bodies, values_read
from lsuv_cli.graph.operators.table import names_of

# ONNX Runtime would take minutes to load more.
MAX_UNROLLED_NODES = 2_000
SCAN_WITHOUT_BATCH_OPSET = 9
# The number of the iteration and the condition, which a Loop's body reads beside its states.
LOOP_OWN_INPUTS = 2

# Branch decisions, by the first output of each node: for an If 1 where its condition holds, else 0;
# for a Loop or Scan the number of its iterations. ANY stands for both branches, or one iteration.
Decisions = Mapping[str, int]
ANY = -1


def controlling_nodes(source: ModelSource) -> list[onnx.NodeProto]:
    """Find the nodes of the main graph that have layers in their bodies."""
    constants = set(source.parameters)
    layer_like = names_of(lambda operator: operator.looks_like_a_layer)
    found = []
    for node in source.skeleton.graph.node:
        if is_constant(node, constants):
            constants.update(node.output)
        old_scan = node.op_type == "Scan" and source.opset < SCAN_WITHOUT_BATCH_OPSET
        if (
            node.domain in DEFAULT_DOMAINS
            and not old_scan
            and _holds_layer(node, constants, layer_like)
        ):
            found.append(node)
    return found


def is_constant(node: onnx.NodeProto, constants: Collection[str]) -> bool:
    """Say whether a node makes the same values whatever the samples are.

    Args:
        node: the node.
        constants: the values that are the same whatever the samples are.
    """
    read = values_read(node)
    return node.op_type == "Constant" or (bool(read) and read.issubset(constants))


def constants_inside(
    node: onnx.NodeProto, body: onnx.GraphProto, constants: Collection[str]
) -> set[str]:
    """Return the values in a body that are the same whatever the samples are.

    A weight that a loop carries or scans over is among them, and what depends on the number of the
    iteration alone.

    Args:
        node: an If, Loop or Scan.
        body: one of its bodies.
        constants: the values outside that are the same whatever the samples are.
    """
    given, carried = body_inputs(node, body), _carried(node, body)
    held = {inner for inner, outer in given.items() if outer in constants}
    if node.op_type == "Loop":
        held.update(value.name for value in body.input[:1])
    while True:
        found = {*constants, *held, *(tensor.name for tensor in body.initializer)}
        for inner in body.node:
            if is_constant(inner, found):
                found.update(inner.output)
        changed = {name for name in held if carried.get(name, name) not in found}
        if not changed:
            return found - {""}
        held -= changed


def body_inputs(node: onnx.NodeProto, body: onnx.GraphProto) -> dict[str, str]:
    """Return for the inputs of a Loop's or Scan's body the value outside that they begin with.

    A scanned input stands for what is scanned over.
    """
    names = [value.name for value in body.input]
    outer = list(node.input)
    if node.op_type == "Loop":
        names, outer = names[LOOP_OWN_INPUTS:], outer[LOOP_OWN_INPUTS:]
    return dict(zip(names, outer, strict=False)) if node.op_type != "If" else {}


def _carried(node: onnx.NodeProto, body: onnx.GraphProto) -> dict[str, str]:
    """Return for the inputs of a body that it carries on the value that the next iteration gets."""
    names, made = [value.name for value in body.input], [value.name for value in body.output]
    if node.op_type == "Loop":
        return dict(zip(names[LOOP_OWN_INPUTS:], made[1:], strict=False))
    if node.op_type == "Scan":
        return dict(zip(names[: len(names) - len(scan_inputs(node))], made, strict=False))
    return {}


def _holds_layer(
    node: onnx.NodeProto, constants: Collection[str], layer_like: Collection[str]
) -> bool:
    for body in bodies(node):
        inside = constants_inside(node, body, constants)
        for inner in body.node:
            if inner.op_type in layer_like and not inside.isdisjoint(inner.input[:3]):
                return True
            if _holds_layer(inner, inside, layer_like):
                return True
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
    return abs(decision) * len(body.node) <= MAX_UNROLLED_NODES


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
