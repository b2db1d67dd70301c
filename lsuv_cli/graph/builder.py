"""Nodes appended to a graph, and arithmetic on its values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from lsuv_cli.core.layout import FloatArray
from lsuv_cli.graph.new_nodes import SPLIT_NUM_OUTPUTS_OPSET

# ONNX Runtime wants initializers that it does not own to be of 128 bytes at least, and reads the
# values of small ones while it infers shapes.
EXTERNAL_THRESHOLD_BYTES = 1024

NAME_PREFIX = "lsuv::"

# The opsets from which on an operator has the form that is used here.
WHERE_OPSET = 9
REDUCE_AXES_INPUT_OPSET = 18


class GraphBuilder:
    """A graph under construction.

    Attributes:
        opset: the version of the default operator set.
        nodes: the nodes so far.
        inline: initializers that are part of the model.
        external: initializers that the model refers to by name; the session is given their values.
    """

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.inline: dict[str, TensorProto] = {}
        self.external: dict[str, FloatArray] = {}
        self._count = 0

    def new_name(self, hint: str) -> str:
        """Return a value name that no other value has."""
        self._count += 1
        return f"{NAME_PREFIX}{self._count}:{hint}"

    def node(
        self, op: str, inputs: Sequence[str], *, name: str | None = None, **attributes: Any
    ) -> str:
        """Append a node with one output; return the output's name."""
        output = name or self.new_name(op)
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def halves(self, x: str) -> tuple[str, str]:
        """Append a Split of a vector into two halves; return their names."""
        outputs = [self.new_name("half"), self.new_name("half")]
        attributes: dict[str, Any] = (
            {"num_outputs": 2} if self.opset >= SPLIT_NUM_OUTPUTS_OPSET else {}
        )
        self.nodes.append(helper.make_node("Split", [x], outputs, **attributes))
        return outputs[0], outputs[1]

    def constant(self, value: NDArray[Any] | float | Sequence[int]) -> str:
        """Add an initializer, float64 for a float, int64 for integers; return its name."""
        if isinstance(value, float):
            array: NDArray[Any] = np.asarray(value, np.float64)
            name = f"{NAME_PREFIX}constant:{value!r}"
        elif isinstance(value, np.ndarray):
            array, name = value, self.new_name("constant")
        else:
            array = np.asarray(value, np.int64)
            name = f"{NAME_PREFIX}constant:{list(value)}"
        if name not in self.inline:
            self.inline[name] = numpy_helper.from_array(array, name)
        return name

    def scalar(self, value: int) -> str:
        """Add an initializer without axes, int64; return its name."""
        name = f"{NAME_PREFIX}scalar:{value}"
        self.inline[name] = numpy_helper.from_array(np.array(value, np.int64), name)
        return name

    def parameter(self, name: str, value: FloatArray) -> str:
        """Add a weight under its own name: by reference if it is large, else by value."""
        if value.nbytes < EXTERNAL_THRESHOLD_BYTES:
            self.inline[name] = numpy_helper.from_array(value, name)
        else:
            self.external[name] = value
        return name

    def reduce_mean(self, x: str, axes: Sequence[int], *, keepdims: bool = False) -> str:
        """Append a mean over some axes; return its name."""
        if self.opset >= REDUCE_AXES_INPUT_OPSET:
            return self.node("ReduceMean", [x, self.constant(axes)], keepdims=int(keepdims))
        return self.node("ReduceMean", [x], axes=list(axes), keepdims=int(keepdims))

    def model(
        self,
        skeleton: onnx.ModelProto,
        inputs: Sequence[onnx.ValueInfoProto],
        outputs: Mapping[str, int],
    ) -> bytes:
        """Serialise the graph, with the skeleton's other parts and integer initializers.

        Args:
            skeleton: the model this graph was made from.
            inputs: the values to feed.
            outputs: the element type of each value to fetch, by name; UNDEFINED where ONNX
                Runtime is to infer it.
        """
        graph = helper.make_graph(
            _leaves_last(self.nodes),
            skeleton.graph.name or "lsuv",
            inputs,
            [_output(name, kind) for name, kind in outputs.items()],
            [
                *skeleton.graph.initializer,
                *self.inline.values(),
                *(_reference(name, value) for name, value in self.external.items()),
            ],
        )
        model = helper.make_model(
            graph, opset_imports=skeleton.opset_import, functions=skeleton.functions
        )
        # From version 4 on an initializer need not be an input too.
        model.ir_version = max(skeleton.ir_version, 8)
        return model.SerializeToString()


def _output(name: str, kind: int) -> onnx.ValueInfoProto:
    if kind == TensorProto.UNDEFINED:
        return onnx.ValueInfoProto(name=name)
    return helper.make_tensor_value_info(name, kind, None)


def _leaves_last(nodes: Sequence[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Return the nodes with those whose outputs nothing reads at the end, the last of them first.

    ONNX Runtime orders execution by a depth-first search from these leaves, the last node first.
    In this order it finishes each layer's tap before it goes on, and lets the activation go; in
    any other it may keep every activation until all taps are computed in the end.
    """
    read = {name for node in nodes for name in node.input}
    leaves = [node for node in nodes if not read.intersection(node.output)]
    inner = [node for node in nodes if read.intersection(node.output)]
    return inner + leaves[::-1]


def _reference(name: str, value: FloatArray) -> TensorProto:
    """Return an initializer without bytes; the session is given the value under its name."""
    tensor = TensorProto(name=name, dims=value.shape, data_location=TensorProto.EXTERNAL)
    tensor.data_type = helper.np_dtype_to_tensor_dtype(value.dtype)
    for key, text in (("location", "lsuv"), ("offset", "0"), ("length", str(value.nbytes))):
        tensor.external_data.add(key=key, value=text)
    return tensor


class GraphValue:
    """A float64 value of a graph, on which arithmetic appends nodes."""

    def __init__(self, builder: GraphBuilder, name: str) -> None:
        self.builder = builder
        self.name = name

    def _binary(self, op: str, other: Any, *, swap: bool = False) -> GraphValue:
        name = other.name if isinstance(other, GraphValue) else self.builder.constant(float(other))
        inputs = [name, self.name] if swap else [self.name, name]
        return GraphValue(self.builder, self.builder.node(op, inputs))

    def __add__(self, other: Any, /) -> GraphValue:
        return self._binary("Add", other)

    def __radd__(self, other: Any, /) -> GraphValue:
        return self._binary("Add", other, swap=True)

    def __sub__(self, other: Any, /) -> GraphValue:
        return self._binary("Sub", other)

    def __rsub__(self, other: Any, /) -> GraphValue:
        return self._binary("Sub", other, swap=True)

    def __mul__(self, other: Any, /) -> GraphValue:
        return self._binary("Mul", other)

    def __rmul__(self, other: Any, /) -> GraphValue:
        return self._binary("Mul", other, swap=True)

    def __truediv__(self, other: Any, /) -> GraphValue:
        return self._binary("Div", other)

    def __rtruediv__(self, other: Any, /) -> GraphValue:
        return self._binary("Div", other, swap=True)

    def rounded(self, dtype: np.dtype[Any], shape: Sequence[int] = ()) -> str:
        """Round to a dtype and reshape; return the value's name."""
        kind = helper.np_dtype_to_tensor_dtype(dtype)
        value = self.builder.node("Cast", [self.name], to=kind)
        if not shape:
            return value
        return self.builder.node("Reshape", [value, self.builder.constant(shape)])


class GraphMathematics:
    """The functions that the closed forms need, on graph values."""

    def sqrt(self, x: GraphValue) -> GraphValue:
        """Return the square root of each element."""
        return GraphValue(x.builder, x.builder.node("Sqrt", [x.name]))

    def mean(self, x: GraphValue) -> GraphValue:
        """Return the mean over all elements of a vector, a scalar."""
        return GraphValue(x.builder, x.builder.reduce_mean(x.name, [0]))

    def where_greater(
        self, x: GraphValue, bound: Any, chosen: GraphValue, otherwise: Any
    ) -> GraphValue:
        """Return `chosen` where x > bound, else `otherwise`."""
        builder = x.builder

        def name(value: Any) -> str:
            if isinstance(value, GraphValue):
                return value.name
            return builder.constant(float(value))

        above = builder.node("Greater", [x.name, name(bound)])
        if builder.opset >= WHERE_OPSET:
            return GraphValue(builder, builder.node("Where", [above, chosen.name, name(otherwise)]))
        mask = GraphValue(builder, builder.node("Cast", [above], to=TensorProto.DOUBLE))
        return chosen * mask + (1.0 - mask) * GraphValue(builder, name(otherwise))


GRAPH = GraphMathematics()
