"""The constants of bodies moved to the main graph, where each is there once and is a parameter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import onnx

from lsuv_cli.model.control_flow import controlling_nodes
from lsuv_cli.model.nodes import FLOAT_TYPES, NewNames, bodies, names_in, rename_captured
from lsuv_cli.model.onnx_file import ModelSource, inlined, tensor_source
from lsuv_cli.model.parameters import WeightSource


def constants_outside(source: ModelSource) -> ModelSource:
    """The model with the constants of its controlling nodes' bodies in the main graph.

    Args:
        source: the model; not modified.

    Raises:
        ModelError: a weight's external data is missing.
    """
    controlling = {node.output[0] for node in controlling_nodes(source)}
    if not controlling:
        return source
    skeleton = onnx.ModelProto()
    skeleton.CopyFrom(source.skeleton)
    mover = _Mover(source, skeleton)
    del skeleton.graph.node[:]
    for node in source.skeleton.graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        if node.output and node.output[0] in controlling:
            skeleton.graph.node.extend(mover.constants_of(copy))
        skeleton.graph.node.append(copy)
    return replace(source, skeleton=skeleton, weights=mover.weights)


class _Mover:
    """Moves constants out of nodes' bodies.

    Attributes:
        weights: where the model's parameters can be read, those that were moved among them.
    """

    def __init__(self, source: ModelSource, skeleton: onnx.ModelProto) -> None:
        self.path = source.path
        self.graph = skeleton.graph
        self.weights: dict[str, WeightSource] = dict(source.weights)
        self.names = NewNames(names_in(skeleton.graph) | self.weights.keys())
        main = skeleton.graph
        self.taken = {name for node in main.node for name in node.output} | self.weights.keys()
        self.taken.update(value.name for value in main.input)
        self.taken.update(tensor.name for tensor in main.initializer)

    def constants_of(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """Take the constants out of a node's bodies; initializers move at once.

        Args:
            node: modified.

        Yields:
            The Constant nodes.
        """
        renamed: dict[str, str] = {}
        for body in bodies(node):
            outputs = {value.name for value in body.output}
            for tensor in body.initializer:
                name = renamed[tensor.name] = self._name(tensor.name, outputs)
                moved = onnx.TensorProto()
                moved.CopyFrom(tensor)
                moved.name = name
                if tensor.data_type in FLOAT_TYPES:
                    self.weights[name] = tensor_source(moved, self.path)
                else:
                    self.graph.initializer.append(inlined(moved, self.path))
            kept = []
            for inner in body.node:
                if inner.op_type == "Constant":
                    constant = onnx.NodeProto()
                    constant.CopyFrom(inner)
                    name = renamed[inner.output[0]] = self._name(inner.output[0], outputs)
                    constant.output[0] = name
                    yield constant
                else:
                    yield from self.constants_of(inner)
                    kept.append(inner)
            del body.initializer[:], body.node[:]
            body.node.extend(kept)
        rename_captured(node, {old: new for old, new in renamed.items() if old != new})

    def _name(self, name: str, outputs: set[str]) -> str:
        """A constant's name outside: its own, but where it is taken, or the body gives it on."""
        if name in self.taken or name in outputs:
            name = self.names.new(name)
        self.taken.add(name)
        return name
