"""Attention's packed input projection taken apart.

PyTorch's MultiheadAttention keeps the projections to queries, keys and values in one matrix,
`in_proj_weight`, and multiplies by it once. They are three layers: each gets an orthonormal matrix
and a scale of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import onnx
from onnx import helper

from lsuv_cli.core.layout import TensorInfo
from lsuv_cli.graph.nodes import DEFAULT_DOMAINS, attributes, node_name, values_read
from lsuv_cli.graph.views import EVERYTHING, Sliced, View, with_whole

PARTS = ("query", "key", "value")
WEIGHT, BIAS = "in_proj_weight", "in_proj_bias"


def unpack_projections(
    nodes: Sequence[onnx.NodeProto],
    infos: Mapping[str, TensorInfo],
    views: Mapping[str, View],
) -> tuple[list[onnx.NodeProto], dict[str, View]]:
    """Replace each packed projection by three and a Concat.

    Args:
        nodes: in execution order.
        infos: shape and dtype of each parameter.
        views: the values that only show a parameter.

    Returns:
        The nodes, and the views that the new ones read.
    """
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in nodes:
        for name in values_read(node):
            readers.setdefault(name, []).append(node)
    everything = with_whole(infos, views)
    result: list[onnx.NodeProto] = []
    parts: dict[str, View] = {}
    absorbed: set[str] = set()
    for node in nodes:
        if node.output and node.output[0] in absorbed:
            continue
        weight = _packed_weight(node, everything, infos)
        if weight is None:
            result.append(node)
            continue
        axis, bias, add = *weight, None
        if not bias:
            following = readers.get(node.output[0], [])
            if len(following) == 1:
                bias, add = _added(following[0], node.output[0], everything)
        if BIAS not in everything.get(bias, View("")).parameter and (
            WEIGHT not in everything[node.input[1]].parameter
        ):
            result.append(node)
            continue
        if add is not None:
            absorbed.add(add.output[0])
        result += _unpacked(node, add, bias, axis, everything, infos, parts)
    return result, parts


def _packed_weight(
    node: onnx.NodeProto, everything: Mapping[str, View], infos: Mapping[str, TensorInfo]
) -> tuple[int, str] | None:
    """The axis of the weight's outputs and the node's own bias; None for another node."""
    if node.domain not in DEFAULT_DOMAINS or node.op_type not in ("MatMul", "Gemm"):
        return None
    view = everything.get(node.input[1])
    if view is None or node.input[0] in everything:
        return None
    whole = infos[view.parameter].shape
    shape = view.shape(whole)
    # What an exporter has sliced itself, cross-attention's queries say, is no packed weight.
    if math.prod(shape) != math.prod(whole):
        return None
    axis = 0 if attributes(node).get("transB", 0) else 1
    if len(shape) != 2 or shape[axis] % len(PARTS):
        return None
    return axis, node.input[2] if len(node.input) > 2 else ""


def _added(
    node: onnx.NodeProto, product: str, everything: Mapping[str, View]
) -> tuple[str, onnx.NodeProto | None]:
    """The parameter that an Add adds to the product, and the Add."""
    if node.op_type == "Add":
        other = node.input[1] if node.input[0] == product else node.input[0]
        if other in everything:
            return other, node
    return "", None


def _unpacked(
    node: onnx.NodeProto,
    add: onnx.NodeProto | None,
    bias: str,
    axis: int,
    everything: Mapping[str, View],
    infos: Mapping[str, TensorInfo],
    parts: dict[str, View],
) -> list[onnx.NodeProto]:
    def part(name: str, axis: int, index: int) -> str:
        view = everything[name]
        size = view.shape(infos[view.parameter].shape)[axis] // len(PARTS)
        limits = (*(EVERYTHING,) * axis, (index * size, (index + 1) * size, None))
        new = f"{name}/{PARTS[index]}"
        parts[new] = View(view.parameter, (*view.steps, Sliced(limits)))
        return new

    nodes, outputs = [], []
    for index, role in enumerate(PARTS):
        one = onnx.NodeProto()
        one.CopyFrom(node)
        one.name = f"{node_name(node)}.{role}"
        one.input[1] = part(node.input[1], axis, index)
        one.output[0] = f"{node.output[0]}/{role}"
        if bias and add is None:
            one.input[2] = part(bias, 0, index)
        nodes.append(one)
        outputs.append(one.output[0])
        if add is not None:
            sums = [one.output[0], part(bias, 0, index)]
            outputs[-1] = f"{add.output[0]}/{role}"
            nodes.append(helper.make_node("Add", sums, [outputs[-1]], name=f"{add.name}.{role}"))
    final = node.output[0] if add is None else add.output[0]
    return [*nodes, helper.make_node("Concat", outputs, [final], axis=-1, name=node_name(node))]
