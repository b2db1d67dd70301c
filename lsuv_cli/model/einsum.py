"""Einsum with one constant operand, written as the matrix product that it is."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from lsuv_cli.core.layout import TensorInfo
from lsuv_cli.model.nodes import DEFAULT_DOMAINS, attributes, node_name
from lsuv_cli.model.views import Reshaped, Step, Transposed, View, with_whole

EQUATION = re.compile(r"((?:\.{3})?\w+),(\w+)->((?:\.{3})?\w+)")


def einsum_as_products(
    nodes: Sequence[onnx.NodeProto], infos: Mapping[str, TensorInfo], views: Mapping[str, View]
) -> tuple[list[onnx.NodeProto], dict[str, View]]:
    """Replace each Einsum that contracts the data's last axes with a parameter by a MatMul.

    `bti,io->bto` is a Linear; `btd,dhk->bthk` and `bthk,hkd->btd` are attention's projections to
    and from its heads.

    Args:
        nodes: in execution order.
        infos: shape and dtype of each parameter.
        views: the values that only show a parameter.

    Returns:
        The nodes, and the views that the new ones read.
    """
    everything = with_whole(infos, views)
    made: dict[str, View] = {}
    result: list[onnx.NodeProto] = []
    for node in nodes:
        result += _product(node, everything, infos, made) or [node]
    return result, made


def _product(
    node: onnx.NodeProto,
    everything: Mapping[str, View],
    infos: Mapping[str, TensorInfo],
    made: dict[str, View],
) -> list[onnx.NodeProto]:
    """The nodes that do the same; empty for any other node."""
    if node.op_type != "Einsum" or node.domain not in DEFAULT_DOMAINS or len(node.input) != 2:
        return []
    equation = attributes(node)["equation"].decode().replace(" ", "")
    data, weight = node.input
    if data in everything:
        data, weight = weight, data
        left, _, rest = equation.partition(",")
        right, _, out = rest.partition("->")
        equation = f"{right},{left}->{out}"
    match = EQUATION.fullmatch(equation)
    if match is None or weight not in everything or data in everything:
        return []
    labels = _labels(*match.groups())
    if labels is None:
        return []
    lead, inner, outer, inner_first = labels
    view = everything[weight]
    shape = view.shape(infos[view.source].shape)
    split = len(inner) if inner_first else len(outer)
    rows, columns = shape[:split], shape[split:]
    steps: list[Step] = [Reshaped((math.prod(rows), math.prod(columns)))]
    if not inner_first:
        steps.append(Transposed((1, 0)))
        rows, columns = columns, rows
    name, output = node_name(node), node.output[0]
    made[f"{output}/weight"] = View(view.source, (*view.steps, *steps))
    nodes: list[onnx.NodeProto] = []

    def reshape(value: str, sizes: tuple[int, ...], new: str) -> None:
        target = numpy_helper.from_array(np.array([0] * len(lead) + list(sizes), np.int64))
        nodes.append(helper.make_node("Constant", [], [f"{new}/shape"], value=target))
        nodes.append(helper.make_node("Reshape", [value, f"{new}/shape"], [new]))

    if len(inner) > 1:
        reshape(data, (math.prod(rows),), f"{output}/data")
        data = f"{output}/data"
    product = output if len(outer) == 1 else f"{output}/product"
    nodes.append(helper.make_node("MatMul", [data, f"{output}/weight"], [product], name=name))
    if len(outer) > 1:
        reshape(product, columns, output)
    return nodes


def _labels(data: str, weight: str, out: str) -> tuple[str, str, str, bool] | None:
    """The data's leading labels, the contracted, the new, and whether the weight begins with those.

    None where the equation is no product of the data's last axes with a matrix.
    """
    inner = "".join(label for label in data if label in weight and label not in out)
    outer = "".join(label for label in weight if label not in data)
    lead = data.removesuffix(inner)
    ellipsis_needs_reshape = "." in lead and (len(inner) > 1 or len(outer) > 1)
    if (
        not inner
        or not outer
        or ellipsis_needs_reshape
        or weight not in (inner + outer, outer + inner)
        or data != lead + inner
        or out != lead + outer
        or len(set(data.strip("."))) != len(data.strip("."))
    ):
        return None
    return lead, inner, outer, weight == inner + outer
