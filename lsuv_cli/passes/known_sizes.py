"""Integers that a graph computes from constants and known sizes, whatever the samples are.

PyTorch's older exporter writes `in_proj_weight[:E]`, where E is the width of a query, as arithmetic
on the query's Shape. The width is known nevertheless, so the slice is always the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from lsuv_cli.graph.dataflow import SIZE_READERS
from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.nodes import DEFAULT_DOMAINS, attributes
from lsuv_cli.passes.inferred_shapes import Sizes, inferred_sizes
from lsuv_cli.passes.size_arithmetic import ARITHMETIC, MOVERS, PartlyKnown, all_known, evaluate

# Operators of which the computation of a size consists.
SIZE_OPERATORS = SIZE_READERS | MOVERS | ARITHMETIC


class KnownSizes:
    """The integers of a graph that do not depend on the samples, computed as they are asked for.

    Shapes are inferred the first time that the size of a value is needed.
    """

    def __init__(self, graph: EditableGraph) -> None:
        """Begin without any.

        Args:
            graph: its nodes may be replaced meanwhile as long as its values stay what they are.
        """
        self._graph = graph
        self._found: dict[str, PartlyKnown | None] = {}
        self._inferred: Mapping[str, Sizes] | None = None

    def integers(self, value: str) -> NDArray[Any] | None:
        """Return a value, int32 or int64; None where it depends on the samples, or may do so."""
        constant = self._graph.integers(value)
        if constant is not None:
            return constant
        found = self._computed(value)
        is_known = found is not None and found.is_known and found.values.dtype.kind == "i"
        return found.values if found is not None and is_known else None

    def _computed(self, value: str) -> PartlyKnown | None:
        """Return a value that is computed from sizes; None for any other."""
        if not self._is_computation(value):
            return None
        pending = [value]
        while pending:
            name = pending[-1]
            missing = [other for other in self._operands(name) if other not in self._found]
            pending += missing
            if not missing:
                pending.pop()
                if name not in self._found:
                    self._found[name] = self._evaluated(name)
        return self._found[value]

    def _is_computation(self, value: str) -> bool:
        """Say whether a value is computed by operators on sizes alone; looks at no shapes."""
        pending, seen = [value], {value}
        while pending:
            name = pending.pop()
            node = self._graph.producer(name)
            if self._graph.integers(name) is not None:
                continue
            if (
                node is None
                or node.op_type not in SIZE_OPERATORS
                or node.domain not in DEFAULT_DOMAINS
            ):
                return False
            new = set(self._operands(name)) - seen
            pending += new
            seen |= new
        return True

    def _operands(self, value: str) -> list[str]:
        """Return the values that a value is computed from; none for a constant and for sizes."""
        node = self._graph.producer(value)
        if node is None or node.op_type in SIZE_READERS:
            return []
        return list(filter(None, node.input))

    def _evaluated(self, value: str) -> PartlyKnown | None:
        """Return a value whose operands have been evaluated."""
        constant = self._graph.integers(value)
        if constant is not None:
            return all_known(constant)
        node = self._graph.producer(value)
        if node is None:
            return None
        if node.op_type in SIZE_READERS:
            return self._read(node)
        found = {name: self._found[name] for name in self._operands(value)}
        inputs = {name: array for name, array in found.items() if array is not None}
        complete = len(inputs) == len(found)
        return evaluate(node, inputs, self._graph.opset) if complete else None

    def _read(self, node: onnx.NodeProto) -> PartlyKnown | None:
        """Return what a Shape or a Size gives."""
        sizes = self._sizes(node.input[0])
        if sizes is None:
            return None
        known = np.array([size is not None for size in sizes], np.bool_)
        values = np.array([1 if size is None else size for size in sizes], np.int64)
        if node.op_type == "Size":
            return all_known(np.array(math.prod(values.tolist()))) if known.all() else None
        found = attributes(node)
        part = slice(found.get("start", 0), found.get("end"))
        return PartlyKnown(values[part], known[part])

    def _sizes(self, value: str) -> Sizes | None:
        """Return the sizes of a value's axes; None where not even its rank is known."""
        shape = self._graph.shape(value)
        if shape is not None:
            return shape
        if self._inferred is None:
            self._infer()
        return (self._inferred or {}).get(value)

    def _infer(self) -> None:
        """Infer shapes, and again as long as more is known of a Tile than ONNX infers.

        ONNX knows nothing of the sizes behind a Tile that repeats a parameter for each sample.
        """
        tiles = [node for node in self._graph.nodes if node.op_type == "Tile"]
        hints: dict[str, Sizes] = {}
        while True:
            self._inferred = inferred_sizes(self._graph, hints)
            self._found.clear()
            tiled = {node.output[0]: self._tiled(node) for node in tiles}
            new = {name: sizes for name, sizes in tiled.items() if sizes and name not in hints}
            if not new:
                return
            hints |= new

    def _tiled(self, node: onnx.NodeProto) -> Sizes | None:
        """Return the sizes of what a Tile makes, as far as its repeats are known."""
        repeats, sizes = self._computed(node.input[1]), self._sizes(node.input[0])
        if repeats is None or sizes is None or repeats.values.shape != (len(sizes),):
            return None
        return tuple(
            size * int(count) if size is not None and known else None
            for size, count, known in zip(sizes, repeats.values, repeats.known, strict=True)
        )
