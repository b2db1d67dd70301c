"""Einsum with one constant operand, written as the matrix product that it is."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from lsuv_cli.core.layout import TensorInfo
from lsuv_cli.graph.nodes import AXES_INPUT_OPSET, DEFAULT_DOMAINS, NewNames, attributes, node_name
from lsuv_cli.graph.views import Reshaped, Transposed, View, ViewStep, with_whole

# Stands for the three points, so that each axis or group of axes is one character.
ELLIPSIS = "."
TERM = re.compile(r"[A-Za-z]*\.?[A-Za-z]*")


def einsum_as_products(
    nodes: Sequence[onnx.NodeProto],
    infos: Mapping[str, TensorInfo],
    views: Mapping[str, View],
    names: NewNames,
    opset: int,
) -> tuple[list[onnx.NodeProto], dict[str, View]]:
    """Replace each Einsum of data and a parameter that is a matrix product by a MatMul.

    `bti,io->bto` is a Linear, `bchw,oc->bohw` a convolution with a kernel of one; `btd,dhk->bthk`
    and `bthk,hkd->btd` are attention's projections to and from its heads; `btgi,gio->btgo` has one
    matrix for each group. Left as they are: a parameter that is summed by itself or only scales the
    data, data of which no axis is kept, and a matrix that would be a copy of the parameter.

    Args:
        nodes: in execution order.
        infos: shape and dtype of each parameter.
        views: the values that only show a parameter.
        names: gives the new values their names.
        opset: the version of the default operator set.

    Returns:
        The nodes, and the views that the new ones read.
    """
    everything = with_whole(infos, views)
    made: dict[str, View] = {}
    result: list[onnx.NodeProto] = []
    for node in nodes:
        found = _product(node, everything)
        matrix = None if found is None else _matrix(found, everything, infos)
        if found is None or matrix is None:
            result.append(node)
            continue
        view, sizes = matrix
        weight = names.new(f"{node.output[0]}/weight")
        made[weight] = view
        result += _product_nodes(node, found, weight, sizes, names, opset)
    return result, made


@dataclass(frozen=True, slots=True)
class _Product:
    """An Einsum's values, and its labels by what becomes of them.

    Attributes:
        data_name: the value that is multiplied.
        weight_name: the parameter or the view of one.
        data: the data's labels, in order.
        weight: the weight's labels, in order.
        out: the output's labels, in order.
    """

    data_name: str
    weight_name: str
    data: str
    weight: str
    out: str

    @property
    def summed(self) -> str:
        """What only the data has: it is summed before the product."""
        return _only(self.data, without=self.weight + self.out)

    @property
    def batch(self) -> str:
        """What the data, the weight and the output have: one matrix for each index."""
        return "".join(label for label in self.data if label in self.weight and label in self.out)

    @property
    def kept(self) -> str:
        """What the data hands on to the output."""
        return "".join(
            label for label in self.data if label in self.out and label not in self.weight
        )

    @property
    def contracted(self) -> str:
        """The matrix's inputs, in the weight's order."""
        return _only("".join(label for label in self.weight if label in self.data), self.out)

    @property
    def new(self) -> str:
        """The matrix's outputs, in the weight's order."""
        return _only(self.weight, without=self.data)


def _only(labels: str, without: str) -> str:
    return "".join(label for label in labels if label not in without)


def _product(node: onnx.NodeProto, everything: Mapping[str, View]) -> _Product | None:
    """What an Einsum multiplies; None for another node, or where it is no matrix product."""
    if node.op_type != "Einsum" or node.domain not in DEFAULT_DOMAINS or len(node.input) != 2:
        return None
    terms = _terms(attributes(node)["equation"].decode())
    constant = [name in everything for name in node.input]
    if terms is None or sum(constant) != 1:
        return None
    left, right, out = terms
    if constant[0]:
        found = _Product(node.input[1], node.input[0], right, left, out)
    else:
        found = _Product(node.input[0], node.input[1], left, right, out)
    summed_weight = set(found.weight) - set(found.data) - set(out)
    made_of_nothing = set(out) - set(found.data) - set(found.weight)
    if summed_weight or made_of_nothing or not (found.contracted and found.new and found.kept):
        return None
    return found if _ellipsis_stays(found) else None


def _terms(equation: str) -> tuple[str, str, str] | None:
    """The labels of both operands and of the output, no label twice in one of them."""
    operands, arrow, out = equation.replace(" ", "").replace("...", ELLIPSIS).partition("->")
    left, _, right = operands.partition(",")
    if not arrow:
        labels = (left + right).replace(ELLIPSIS, "")
        if not (labels.islower() or labels.isupper()):
            return None  # which of both cases comes first, runtimes see differently
        once = sorted(label for label in labels if labels.count(label) == 1)
        out = ELLIPSIS * (ELLIPSIS in operands) + "".join(once)
    terms = left, right, out
    if not all(TERM.fullmatch(term) and len(set(term)) == len(term) for term in terms):
        return None
    return terms


def _ellipsis_stays(found: _Product) -> bool:
    """Whether the axes behind the three points, whose number is unknown, all stay in place."""
    if ELLIPSIS not in found.data + found.weight + found.out:
        return True
    return (
        ELLIPSIS in found.kept
        and not found.batch
        and len(found.contracted) == len(found.new) == 1
        and _only(found.data, found.summed) == found.kept + found.contracted
        and found.out == found.kept + found.new
    )


def _matrix(
    found: _Product, everything: Mapping[str, View], infos: Mapping[str, TensorInfo]
) -> tuple[View, dict[str, int]] | None:
    """The weight as (batch..., inputs, outputs), and each label's size; None if that is no view."""
    view = everything[found.weight_name]
    shape = view.shape(infos[view.parameter].shape)
    if len(shape) != len(found.weight):
        return None
    sizes = dict(zip(found.weight, shape, strict=True))
    batch = [sizes[label] for label in found.batch]
    # One for each kept axis but the last, which stands beside the matrix's inputs.
    batch += [1] * (len(found.kept) - 1) if batch else []
    target = (
        *batch,
        math.prod(sizes[label] for label in found.contracted),
        math.prod(sizes[label] for label in found.new),
    )
    steps: tuple[ViewStep, ...] = (
        Transposed(_permutation(found.weight, found.batch + found.contracted + found.new)),
        Reshaped(target),
    )
    matrix = View(view.parameter, (*view.steps, *steps))
    elements = np.empty(infos[view.parameter].shape, np.int8)  # takes no memory
    # Merging axes that do not lie side by side takes a copy, which is no view.
    if not np.may_share_memory(matrix.of(elements), elements):
        return None
    return matrix, sizes


def _permutation(labels: str, wanted: str) -> tuple[int, ...]:
    return tuple(labels.index(label) for label in wanted)


def _product_nodes(
    node: onnx.NodeProto,
    found: _Product,
    weight: str,
    sizes: Mapping[str, int],
    names: NewNames,
    opset: int,
) -> list[onnx.NodeProto]:
    """The MatMul, and what brings the data to its order and the product to the output's."""
    output = node.output[0]
    rows = found.batch + found.kept
    chain = _Chain(found.data_name, output, names)
    if found.summed:
        chain.sum(_axes(found.data, found.summed), opset)
    data = _only(found.data, found.summed)
    if data != rows + found.contracted:
        chain.append("Transpose", "transposed", perm=_permutation(data, rows + found.contracted))
    if len(found.contracted) > 1:
        chain.reshape([0] * len(rows) + [math.prod(sizes[label] for label in found.contracted)])
    chain.append("MatMul", "product", weight, name=node_name(node))
    product = rows + found.new
    if len(found.new) > 1:
        chain.reshape([0] * len(rows) + [sizes[label] for label in found.new])
    if product != found.out:
        chain.append("Transpose", "ordered", perm=_permutation(product, found.out))
    chain.nodes[-1].output[0] = output
    return chain.nodes


def _axes(labels: str, wanted: str) -> list[int]:
    """Where some of the labels stand, counted from the end behind an ellipsis."""
    before = labels.partition(ELLIPSIS)[0]
    return [
        labels.index(label) if label in before else labels.index(label) - len(labels)
        for label in wanted
    ]


class _Chain:
    """Nodes that each take what the one before made."""

    def __init__(self, value: str, output: str, names: NewNames) -> None:
        self.value = value
        self.output = output
        self.names = names
        self.nodes: list[onnx.NodeProto] = []

    def append(
        self, operator: str, hint: str, *inputs: str, name: str = "", **attributes: Any
    ) -> None:
        """Append a node that reads the value so far, and these after it."""
        made = self.names.new(f"{self.output}/{hint}")
        self.nodes.append(
            helper.make_node(operator, [self.value, *inputs], [made], name=name, **attributes)
        )
        self.value = made

    def reshape(self, sizes: Sequence[int]) -> None:
        """Append a Reshape; 0 keeps the size that is there."""
        self.append("Reshape", "reshaped", self._integers(sizes))

    def sum(self, axes: Sequence[int], opset: int) -> None:
        """Append a ReduceSum over some axes."""
        if opset < AXES_INPUT_OPSET:
            self.append("ReduceSum", "sum", axes=axes, keepdims=0)
        else:
            self.append("ReduceSum", "sum", self._integers(axes), keepdims=0)

    def _integers(self, values: Sequence[int]) -> str:
        name = self.names.new(f"{self.output}/integers")
        value = numpy_helper.from_array(np.array(values, np.int64))
        self.nodes.append(helper.make_node("Constant", [], [name], value=value))
        return name
