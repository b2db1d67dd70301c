"""If, Loop and Scan unrolled: replaced by the nodes that run on the samples.

A layer inside a body has no place in the main graph where it could be measured. But on one batch of
samples each If takes one branch, and each Loop and Scan runs some number of times; once these are
unrolled, the layers of the bodies are in the main graph, those of a loop several times with one
weight.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from lsuv_cli.graph.constants import constant_node
from lsuv_cli.graph.model_source import ModelSource
from lsuv_cli.graph.new_nodes import NewNames, NewNodes
from lsuv_cli.graph.nodes import (
    attributes,
    bodies,
    captured_values,
    names_in,
    node_name,
    rename_captured,
    values_read,
)
from lsuv_cli.passes.control_flow import ANY, Decisions, body_inputs, scan_inputs

# The name of what the branches that are not taken get in place of samples.
NO_DATA_VALUE = "no data"


def unroll(source: ModelSource, decisions: Decisions) -> ModelSource:
    """Replace controlling nodes by the nodes that run according to some branch decisions.

    Branches that are not taken are kept as nodes that no data reaches, so that their layers are
    still found.

    Args:
        source: the model, with the constants of its bodies hoisted; not modified.
        decisions: the decision of each node to unroll.
    """
    skeleton = onnx.ModelProto()
    skeleton.CopyFrom(source.skeleton)
    names = NewNames(names_in(skeleton.graph) | source.parameters.keys())
    unroller = _Unroller(skeleton.graph, source.parameters, names, source.opset)
    del skeleton.graph.node[:]
    for node in source.skeleton.graph.node:
        if node.output and node.output[0] in decisions:
            unroller.unroll(node, decisions[node.output[0]])
        else:
            unroller.append(node)
    return replace(source, skeleton=skeleton)


def _append_suffix(node: onnx.NodeProto, suffix: str) -> None:
    """Append the suffix of a loop's iteration to a node's name, and to those in its bodies."""
    if node.name:
        node.name += suffix
    for body in bodies(node):
        for inner in body.node:
            _append_suffix(inner, suffix)


class _Unroller:
    """Appends nodes to the main graph."""

    def __init__(
        self,
        graph: onnx.GraphProto,
        weights: Collection[str],
        names: NewNames,
        opset: int,
    ) -> None:
        self.graph = graph
        self.names = names
        self.opset = opset
        self.from_data = {value.name for value in graph.input}.difference(weights)
        self.from_data -= {tensor.name for tensor in graph.initializer}
        self.weights = set(weights)
        self.weights.update(n.output[0] for n in graph.node if n.op_type == "Constant")
        self.outputs = {value.name for value in graph.output}
        # What loops hand on as it was: weights, under other names.
        self.aliases: dict[str, str] = {}
        self.no_data = ""
        self.node_names = NewNames(node.name for node in graph.node)

    def append(self, node: onnx.NodeProto) -> None:
        """Append a node as it is, but for the weights that it reads under another name."""
        if not self.aliases.keys().isdisjoint(values_read(node)):
            original, node = node, onnx.NodeProto()
            node.CopyFrom(original)
            node.input[:] = [self.aliases.get(name, name) for name in node.input]
            rename_captured(node, self.aliases)
        self.graph.node.append(node)
        if self.from_data.intersection(values_read(node)):
            self.from_data.update(node.output)

    def unroll(self, node: onnx.NodeProto, decision: int) -> None:
        """Append the nodes that a controlling node runs."""
        if node.op_type == "If":
            self._if(node, decision)
        elif node.op_type == "Loop":
            self._loop(node, abs(decision))
        else:
            self._scan(node, abs(decision))

    def _if(self, node: onnx.NodeProto, decision: int) -> None:
        # In this order whichever is taken, as the layers' order is the same for all samples.
        made: list[str] = []
        taken = {"then_branch": decision != 0, "else_branch": decision in (0, ANY)}
        for branch, is_taken in taken.items():
            body, scope = attributes(node)[branch], f"{node_name(node)}/{branch}"
            if is_taken:
                made = self._write(body, scope, {}, "")
            else:
                self._untaken(body, scope, {})
        self._give(made, node.output)

    def _node(self, op: str, inputs: Iterable[str], output: str, **more: object) -> str:
        made = onnx.NodeProto(op_type=op, input=list(inputs), output=[output])
        made.attribute.extend(helper.make_attribute(key, value) for key, value in more.items())
        self.append(made)
        return output

    def _give(self, values: Iterable[str], outputs: Iterable[str]) -> None:
        for value, output in zip(values, outputs, strict=False):
            if output and value in self.weights:
                self.aliases[output] = value
            if output and (value not in self.weights or output in self.outputs):
                self._node("Identity", [value], output)

    def _constant(self, value: NDArray[Any], hint: str) -> str:
        node = constant_node(self.names.new(hint), value)
        self.append(node)
        return str(node.output[0])

    def _integer(self, number: int) -> str:
        return self._constant(np.array(number, np.int64), "integer")

    def _write(
        self, body: onnx.GraphProto, scope: str, given: Mapping[str, str], suffix: str
    ) -> list[str]:
        """Append a body's nodes once; return the names of its outputs.

        Args:
            body: the body, which holds no constants.
            scope: the beginning of its values' new names.
            given: the value for each of its inputs.
            suffix: appended to the nodes' names, different in each iteration.
        """
        renamed = dict(given)
        for node in body.node:
            self._copy(node, scope, renamed, suffix)
        return [renamed.get(value.name, value.name) for value in body.output]

    def _copy(self, node: onnx.NodeProto, scope: str, renamed: dict[str, str], suffix: str) -> None:
        """Append a node under new names, which are added to those of other values."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [renamed.get(name, name) for name in node.input]
        if node.op_type == "Identity" and copy.input[0] in self.weights:
            # A weight that is handed on is that weight, and no copy of it.
            renamed[node.output[0]] = copy.input[0]
            return
        rename_captured(copy, {n: renamed[n] for n in captured_values(node) if n in renamed})
        for name in filter(None, node.output):
            renamed[name] = self.names.new(f"{scope}/{name}{suffix}")
        copy.output[:] = [renamed[name] if name else "" for name in node.output]
        _append_suffix(copy, suffix)
        if copy.name:
            copy.name = self.node_names.new(copy.name)
        self.append(copy)

    def _untaken(self, body: onnx.GraphProto, scope: str, given: Mapping[str, str]) -> None:
        """Append a body that does not run, fed with a value that does not depend on the data.

        The bodies inside it do not run either.

        Args:
            body: the body.
            scope: the beginning of its values' new names.
            given: the value for each of its inputs that are weights.
        """
        if not self.no_data:
            self.no_data = self._constant(np.array(0, np.float32), NO_DATA_VALUE)
        read = {name for node in body.node for name in values_read(node)}
        outside = (read & self.from_data) | {value.name for value in body.input}
        renamed = {**dict.fromkeys(outside, self.no_data), **given}
        for node in body.node:
            if not bodies(node):
                self._copy(node, scope, renamed, "")
                continue
            for inner in bodies(node):
                self._untaken(inner, scope, self._held(node, inner, renamed))
            renamed.update(dict.fromkeys(node.output, self.no_data))

    def _held(
        self, node: onnx.NodeProto, body: onnx.GraphProto, renamed: Mapping[str, str]
    ) -> dict[str, str]:
        """Return values for what a body that does not run reads and that no sample reaches."""
        held = dict(renamed)
        if node.op_type == "Loop":
            held[body.input[0].name] = self._integer(0)
        axes = {}
        if node.op_type == "Scan":
            axes = {body.input[position].name: axis for position, axis in scan_inputs(node)}
        for inner, outer in body_inputs(node, body).items():
            value = renamed.get(outer, outer)
            if value in self.weights and inner in axes:
                element = self.names.new("element")
                first = [value, self._integer(0)]
                held[inner] = self._node("Gather", first, element, axis=axes[inner])
            elif value in self.weights:
                held[inner] = value
        return held

    def _loop(self, node: onnx.NodeProto, count: int) -> None:
        (body,) = bodies(node)
        scope = f"{node_name(node)}/body"
        states = list(node.input[2:])
        if not count:
            self._untaken(body, scope, self._held(node, body, {}))
        condition = node.input[1] if len(node.input) > 1 and node.input[1] else ""
        if not condition and count:
            condition = self._constant(np.array(True), "true")
        rows: list[list[str]] = []
        inputs = [value.name for value in body.input]
        for index in range(count):
            given = dict(zip(inputs, [self._integer(index), condition, *states], strict=True))
            condition, *made = self._write(body, scope, given, f".{index}")
            states, scanned = made[: len(states)], made[len(states) :]
            rows.append(scanned)
        self._give(states, node.output)
        for position, output in enumerate(node.output[len(states) :]):
            if output:
                self._stack([row[position] for row in rows], 0, output)

    def _scan(self, node: onnx.NodeProto, count: int) -> None:
        (body,) = bodies(node)
        scope, found = f"{node_name(node)}/body", attributes(node)
        sequences = scan_inputs(node)
        states = list(node.input[: len(node.input) - len(sequences)])
        backwards = found.get("scan_input_directions", [0] * len(sequences))
        inputs = [value.name for value in body.input]
        if not count:
            self._untaken(body, scope, self._held(node, body, {}))
        rows: list[list[str]] = []
        for index in range(count):
            elements = []
            for (position, axis), reverse in zip(sequences, backwards, strict=True):
                place = self._integer(count - 1 - index if reverse else index)
                element = self.names.new("element")
                elements.append(
                    self._node("Gather", [node.input[position], place], element, axis=axis)
                )
            given = dict(zip(inputs, [*states, *elements], strict=True))
            made = self._write(body, scope, given, f".{index}")
            states = made[: len(states)]
            rows.append(made[len(states) :])
        self._give(states, node.output)
        outputs = node.output[len(states) :]
        axes = found.get("scan_output_axes", [0] * len(outputs))
        directions = found.get("scan_output_directions", [0] * len(outputs))
        for position, output in enumerate(outputs):
            if output:
                values = [row[position] for row in rows]
                self._stack(values[:: -1 if directions[position] else 1], axes[position], output)

    def _stack(self, values: Iterable[str], axis: int, output: str) -> None:
        """Append the concatenation of some values along a new axis."""
        self._node("Concat", list(self._lifted(values, axis)), output, axis=axis)

    def _lifted(self, values: Iterable[str], axis: int) -> Iterator[str]:
        for value in values:
            new = NewNodes(self.names, self.opset, "")
            lifted = new.unsqueeze(value, axis, output=self.names.new("lifted"))
            for node in new.nodes:
                self.append(node)
            yield lifted
