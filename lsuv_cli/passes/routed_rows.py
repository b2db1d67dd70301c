"""Rows that go through one of several matrices each: sorted by these, and put back in place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from lsuv_cli.graph.new_nodes import NewNodes
from lsuv_cli.graph.nodes import node_name

# From these opsets on an operator has the form that is used here.
SIZES_INPUT_OPSET = 13  # Split takes sizes that may be computed
ALLOW_ZERO_OPSET = 14  # Reshape can be told that a size of 0 is meant

TO_THE_END = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Routes:
    """Matrices, one of which an index chooses for each row.

    Attributes:
        node: the node that multiplies by them, in the model as it was.
        index: the value that holds each row's matrix; its axes are the last ones of the data's
            before the matrix's inputs and the axis beside them, or are spread to these.
        weights: the values that hold the matrices, (in, out) each.
        biases: the vectors that are added to what they make, (out,) each; None for none.
        adder: the name of the node that adds these.
        outputs: the number of a matrix's outputs.
        dtype: that of the weights.
    """

    node: onnx.NodeProto
    index: str
    weights: Sequence[str]
    biases: Sequence[str] | None
    adder: str
    outputs: int
    dtype: np.dtype[Any]


def write_routed(
    new: NewNodes, routes: Routes, data: str, opset: int, *, inputs_first: bool
) -> str:
    """Append the products with the matrices that an index chooses; return what they make together.

    Args:
        new: receives the nodes.
        routes: the matrices, and the index.
        data: what is multiplied, (..., rows, in), or (..., in, rows).
        opset: the version of the default operator set.
        inputs_first: whether the data are (..., in, rows); the result is (..., out, rows) then,
            and (..., rows, out) else.
    """
    writer = _Writer(new, routes, opset)
    return writer.written(data, inputs_first=inputs_first)


class _Writer:
    """Appends the nodes; see `write_routed`.

    The data become (n, rows, in), n for as many choices, and are sorted by the matrix that is
    chosen. Every matrix then has adjacent ones for its data.
    """

    def __init__(self, new: NewNodes, routes: Routes, opset: int) -> None:
        self._new = new
        self._routes = routes
        self._exact: dict[str, Any] = {"allowzero": 1} if opset >= ALLOW_ZERO_OPSET else {}

    def written(self, data: str, *, inputs_first: bool) -> str:
        """Append the nodes for some data; return the name of the result."""
        new = self._new
        shape = new.node("Shape", [data], "shape")
        ends = [new.integers([limit], "integers") for limit in (0, -2, TO_THE_END)]
        before = new.node("Slice", [shape, ends[0], ends[1]], "before")
        behind = new.node("Slice", [shape, ends[1], ends[2]], "behind")
        index = new.node("Cast", [self._routes.index], "positions", to=TensorProto.INT64)
        index = new.node("Expand", [index, before], "chosen")
        chosen = new.node("Shape", [index], "choices")
        ones = new.integers([1, 1], "integers")
        data = new.node(
            "Expand", [data, new.node("Concat", [chosen, ones], "whole", axis=0)], "spread"
        )
        count = new.node("Reshape", [new.node("Size", [index], "size"), self._one()], "count")
        sizes = new.node("Concat", [count, behind], "sizes", axis=0)
        data = new.node("Reshape", [data, sizes], "flat", **self._exact)
        if inputs_first:
            data = new.node("Transpose", [data], "turned", perm=[0, 2, 1])
        made = self._routed(data, index, count, behind, rows_axis=int(inputs_first))
        if inputs_first:
            made = new.node("Transpose", [made], "turned", perm=[0, 2, 1])
        outputs = new.integers([self._routes.outputs], "integers")
        rows = new.node("Gather", [behind, new.integers([int(inputs_first)], "integers")], "rows")
        last = [outputs, rows] if inputs_first else [rows, outputs]
        whole = new.node("Concat", [chosen, *last], "whole", axis=0)
        return new.node("Reshape", [made, whole], "routed", **self._exact)

    def _one(self) -> str:
        return self._new.integers([1], "integers")

    def _routed(self, data: str, index: str, count: str, behind: str, rows_axis: int) -> str:
        """Append what (n, rows, in) become, (n, rows, out).

        Args:
            data: (n, rows, in).
            index: n choices, in any shape.
            count: n, (1,).
            behind: the last two sizes of the data as they were.
            rows_axis: which of these is the number of rows.
        """
        new, routes = self._new, self._routes
        number = len(routes.weights)
        index = new.node("Reshape", [index, new.integers([-1], "integers")], "choice")
        # Positions that are counted from the end are below zero.
        index = new.node("Mod", [index, new.integers([number], "integers")], "choice")
        each = new.constant(np.arange(number).reshape(-1, 1), "matrices")
        is_chosen = new.node("Equal", [each, index], "is_chosen")  # (matrices, n)
        places = new.node("NonZero", [is_chosen], "places")
        order = new.node("Gather", [places, new.constant(np.array(1), "columns")], "order")
        numbers = new.node("Cast", [is_chosen], "numbers", to=TensorProto.INT64)
        counts = new.reduce_sum(numbers, [1], "counts")
        data = new.node("Gather", [data, order], "sorted", axis=0)
        hints = [f"rows{position}" for position in range(number)]
        parts = new.parts(data, counts, hints, axis=0)
        made = [self._product(part, position) for position, part in enumerate(parts)]
        together = new.node("Concat", made, "made", axis=0) if number > 1 else made[0]
        rows = new.node("Gather", [behind, new.integers([rows_axis], "integers")], "rows")
        outputs = new.integers([routes.outputs], "integers")
        sizes = new.node("Concat", [count, rows, outputs], "sizes", axis=0)
        zero = numpy_helper.from_array(np.zeros(1, routes.dtype))
        zeros = new.node("ConstantOfShape", [sizes], "zeros", value=zero)
        return new.node("ScatterND", [zeros, new.unsqueeze(order, 1), together], "placed")

    def _product(self, data: str, position: int) -> str:
        """Append the product with one matrix, and its bias."""
        new, routes = self._new, self._routes
        name = new.node(
            "MatMul",
            [data, routes.weights[position]],
            f"product.{position}",
            name=f"{node_name(routes.node)}.{position}",
        )
        new.nodes[-1].metadata_props.extend(routes.node.metadata_props)
        if routes.biases is None:
            return name
        terms = [name, routes.biases[position]]
        return new.node("Add", terms, f"sum.{position}", name=f"{routes.adder}.{position}")
