"""What If, Loop and Scan decide whatever the samples are, as far as the file itself tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from lsuv_cli.graph.model_source import ModelSource
from lsuv_cli.graph.nodes import attributes, bodies
from lsuv_cli.passes.control_flow import scan_inputs

DECIDING_TYPES = (TensorProto.BOOL, TensorProto.INT64, TensorProto.INT32)
Constants = Mapping[str, NDArray[Any]]


class SureDecisions:
    """Tells the decisions that are constants of a model file."""

    def __init__(self, source: ModelSource) -> None:
        graph = source.skeleton.graph
        self._parameters = source.parameters
        self._constants = {
            tensor.name: numpy_helper.to_array(tensor)
            for tensor in graph.initializer
            if tensor.data_type in DECIDING_TYPES
        }
        self._constants |= _of_nodes(graph)
        self._inputs = {
            value.name: value.type.tensor_type.shape.dim
            for value in graph.input
            if value.type.tensor_type.HasField("shape")
        }

    def of(self, node: onnx.NodeProto) -> int | None:
        """Return what a controlling node decides; None where the samples decide."""
        if node.op_type == "If":
            return _number(self._constants, node.input[0])
        if node.op_type == "Loop":
            return self._iterations(node)
        return next(
            filter(None, (self._size(node.input[p], a) for p, a in scan_inputs(node))), None
        )

    def _iterations(self, node: onnx.NodeProto) -> int | None:
        """Return how often a Loop runs if it has a constant count and nothing ends it earlier."""
        condition = node.input[1] if len(node.input) > 1 else ""
        (body,) = bodies(node)
        inside = {**self._constants, **_of_nodes(body)}
        ended = body.output[0].name
        made = {one.output[0]: one.input[0] for one in body.node if one.op_type == "Identity"}
        while ended in made:
            ended = made[ended]
        begins = not condition or _number(self._constants, condition)
        goes_on = ended == body.input[1].name or _number(inside, ended)
        return _number(self._constants, node.input[0]) if begins and goes_on else None

    def _size(self, value: str, axis: int) -> int | None:
        if value in self._parameters:
            return self._parameters[value].info.shape[axis]
        dimensions = self._inputs.get(value, ())
        rank = len(dimensions)
        return dimensions[axis].dim_value or None if -rank <= axis < rank else None


def _of_nodes(graph: onnx.GraphProto) -> dict[str, NDArray[Any]]:
    """Return the integers and truth values among the Constant nodes of a graph."""
    tensors = {
        node.output[0]: attributes(node).get("value")
        for node in graph.node
        if node.op_type == "Constant"
    }
    return {
        name: numpy_helper.to_array(tensor)
        for name, tensor in tensors.items()
        if tensor is not None and tensor.data_type in DECIDING_TYPES
    }


def _number(constants: Constants, name: str) -> int | None:
    value = constants.get(name)
    return int(value.item()) if value is not None and value.size == 1 else None
