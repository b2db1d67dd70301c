"""Constants in the bodies of If, Loop and Scan, moved to the main graph as parameters of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import onnx

from lsuv_cli.graph.model_source import ModelSource
from lsuv_cli.graph.new_nodes import NewNames
from lsuv_cli.graph.nodes import FLOAT_TYPES, bodies, names_in, rename_outside
from lsuv_cli.graph.parameters import ParameterSource
from lsuv_cli.graph.tensor_source import inlined, tensor_source
from lsuv_cli.passes.control_flow import controlling_nodes


def hoist_constants(source: ModelSource) -> ModelSource:
    """Move the constants in the bodies of controlling nodes to the main graph.

    Args:
        source: the model; not modified.

    Returns:
        The model with those constants outside.

    Raises:
        ModelError: a weight's external data is missing.
    """
    controlling = {node.output[0] for node in controlling_nodes(source)}
    if not controlling:
        return source
    skeleton = onnx.ModelProto()
    skeleton.CopyFrom(source.skeleton)
    mover = _Mover(source, skeleton, controlling)
    del skeleton.graph.node[:]
    for node in source.skeleton.graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        if node.output and node.output[0] in controlling:
            skeleton.graph.node.extend(mover.constants_of(copy))
        skeleton.graph.node.append(copy)
    return replace(source, skeleton=skeleton, parameters=mover.parameters)


class _Mover:
    """Moves constants out of nodes' bodies.

    Attributes:
        parameters: where the model's parameters can be read, those that were moved among them.
    """

    def __init__(
        self, source: ModelSource, skeleton: onnx.ModelProto, controlling: set[str]
    ) -> None:
        self.path = source.path
        self.graph = skeleton.graph
        self.parameters: dict[str, ParameterSource] = dict(source.parameters)
        self.names = NewNames(names_in(skeleton.graph) | self.parameters.keys())
        self.taken = {value.name for value in skeleton.graph.input} | self.parameters.keys()
        self.taken.update(tensor.name for tensor in skeleton.graph.initializer)
        for node in skeleton.graph.node:
            self.taken.update(node.output)
            emptied = bool(node.output) and node.output[0] in controlling
            self.taken.update(_made_inside(node, emptied=emptied))

    def constants_of(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        """Take the constants out of a node's bodies; initializers move at once.

        Args:
            node: modified.

        Yields:
            The Constant nodes.
        """
        for body in bodies(node):
            # For this body alone: another one may have a constant of the same name.
            renamed: dict[str, str] = {}
            for tensor in body.initializer:
                moved = onnx.TensorProto()
                moved.CopyFrom(tensor)
                moved.name = renamed[tensor.name] = self._name(tensor.name)
                if tensor.data_type in FLOAT_TYPES:
                    self.parameters[moved.name] = tensor_source(moved, self.path)
                else:
                    self.graph.initializer.append(inlined(moved, self.path))
            kept = []
            for inner in body.node:
                if inner.op_type == "Constant":
                    constant = onnx.NodeProto()
                    constant.CopyFrom(inner)
                    constant.output[0] = renamed[inner.output[0]] = self._name(inner.output[0])
                    yield constant
                else:
                    kept.append(inner)
            del body.initializer[:], body.node[:]
            body.node.extend(kept)
            rename_outside(body, {old: new for old, new in renamed.items() if old != new})
            for inner in body.node:
                yield from self.constants_of(inner)

    def _name(self, name: str) -> str:
        """Return a constant's name outside: its own, unless that is taken."""
        if name in self.taken:
            name = self.names.new(name)
        self.taken.add(name)
        return name


def _made_inside(node: onnx.NodeProto, *, emptied: bool) -> Iterator[str]:
    """Yield the names made in a node's bodies, those of constants only if these stay there."""
    for body in bodies(node):
        yield from (value.name for value in (*body.input, *body.output))
        if not emptied:
            yield from (tensor.name for tensor in body.initializer)
        for inner in body.node:
            if not (emptied and inner.op_type == "Constant"):
                yield from inner.output
            yield from _made_inside(inner, emptied=emptied)
