"""The Keras variables among the parameters of an ONNX file that tf2onnx wrote.

tf2onnx keeps no variable's name. What remains of it is in the names of nodes and constants: the
scopes of the layer and of those around it (see `keras_origin`), and TensorFlow's operation, which
tells the variable.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lsuv_cli.core.layout import Order, TensorInfo
from lsuv_cli.graph.constants import integer_constants
from lsuv_cli.graph.keras_origin import FOLDED_CONSTANT, scope_of, scope_of_node
from lsuv_cli.graph.views import Reshaped, Transposed, ViewStep
from lsuv_cli.layers.layer_node import LayerNode
from lsuv_cli.reading.model import OnnxModel

Path = tuple[str, ...]

_FOLDED_NORM = re.compile(r".*(batchnorm/|merged_input).*")
# Keras 2, whose variables had other names, named its operations otherwise.
_KERAS_2 = re.compile(r"(MatMul|Tensordot|Conv[123]D|conv[123]d_transpose)/.*")
_RESHAPED = re.compile(r"Reshape(_\d+)?:0")


@dataclass(frozen=True, slots=True)
class Variable:
    """A parameter as a variable of the Keras model.

    Attributes:
        path: the names of its layer and of those around it, outermost first.
        name: its own name in the layer, `kernel` say.
        steps: from the parameter to the variable's shape.
        owner: the ONNX layer that uses it; "" for a parameter that no layer uses.
    """

    path: Path
    name: str
    steps: tuple[ViewStep, ...]
    owner: str = ""


def find_variables(
    reader: VariableReader, layer_nodes: Sequence[LayerNode], parameters: Mapping[str, TensorInfo]
) -> tuple[dict[str, Variable], list[str]]:
    """Find the variable that each parameter is, and the layers with one that is not known."""
    variables: dict[str, Variable] = {}
    lost: list[str] = []
    for layer_node in layer_nodes:
        if reader.is_folded(layer_node):
            continue
        for source, found in zip(
            reader.sources(layer_node),
            (reader.kernel(layer_node), reader.bias(layer_node)),
            strict=False,
        ):
            if source in variables and found is not None:
                if variables[source].path != found.path:  # stored once for two of equal values
                    lost.append(layer_node.layer.name)
            elif found is None or _KERAS_2.fullmatch(scope_of(source).operation):
                lost.append(layer_node.layer.name)
            else:
                variables[source] = found
    for source, info in parameters.items():
        if source not in variables and (found := reader.other(source, info)):
            variables[source] = found
    return variables, lost


class VariableReader:
    """Identifies variables by the names of their operations and of the nodes that use them."""

    def __init__(self, model: OnnxModel, layer_nodes: Sequence[LayerNode]) -> None:
        self.model = model
        self.integers = integer_constants(model.nodes, model.skeleton.graph.initializer)
        self.operations: dict[Path, set[str]] = {}
        for node in model.nodes:
            scope = scope_of_node(node)
            self.operations.setdefault(scope.layers, set()).add(scope.operation)
        self.separable = {
            self.path(layer_node)
            for layer_node in layer_nodes
            if scope_of_node(layer_node.node).operation == "separable_conv2d/depthwise"
        }
        self.heads = {
            self.path(layer_node): heads
            for layer_node in layer_nodes
            if (heads := self._split_columns(layer_node))
        }

    def sources(self, layer_node: LayerNode) -> list[str]:
        """Return the parameters that hold a layer's weight and, if it has one, its bias."""
        names = (layer_node.layer.weight_value, layer_node.layer.bias_value)
        return [self.model.view(name).parameter for name in names if name]

    def is_folded(self, layer_node: LayerNode) -> bool:
        """Return whether a BatchNormalization was folded into a layer."""
        names = (*self.sources(layer_node), layer_node.node.name)
        return any(_FOLDED_NORM.fullmatch(name) for name in names)

    def path(self, layer_node: LayerNode) -> Path:
        """Return the names of a node's layer and of those around it; () if no name tells them."""
        scopes = [scope_of_node(layer_node.node)]
        scopes += [scope_of(source) for source in self.sources(layer_node)]
        return next((scope.layers for scope in scopes if scope.layers), ())

    def kernel(self, layer_node: LayerNode) -> Variable | None:
        """Return the variable that a layer's weight is; None if that is not known."""
        path, view = self.path(layer_node), self.model.view(layer_node.layer.weight_value)
        name = "kernel"
        if layer_node.layer.layout.is_convolution:
            # tf2onnx folds other kernels as well; a depthwise one has an input channel a group.
            depthwise = (
                FOLDED_CONSTANT.fullmatch(view.parameter) is not None
                and layer_node.layer.layout.shape[1] == 1
            )
            if path in self.separable:
                name = "depthwise_kernel" if depthwise else "pointwise_kernel"
            steps = self._convolution(layer_node, path, depthwise=depthwise)
        else:
            steps = self._product(layer_node, path)
        if not path or view.part or steps is None:
            return None
        return Variable(path, name, (*view.steps, *steps), layer_node.layer.name)

    def bias(self, layer_node: LayerNode) -> Variable | None:
        """Return the variable that a layer's bias is; None if that is not known."""
        path, layer = self.path(layer_node), layer_node.layer
        adder = scope_of_node(
            layer_node.node if layer_node.bias_node is None else layer_node.bias_node
        )
        if layer.bias_value is None or not path or adder.layers not in ((), path):
            return None
        view = self.model.view(layer.bias_value)
        if view.part:
            return None
        # Attention's has an axis for the heads, as it is stored; others may have axes of one.
        stored = "ReadVariableOp" in view.parameter
        flat = Reshaped((math.prod(layer.bias_shape),))
        return Variable(path, "bias", () if stored else (*view.steps, flat), layer.name)

    def other(self, source: str, info: TensorInfo) -> Variable | None:
        """Return the variable that a parameter outside all layers is; None if it is not known."""
        node = next(iter(self.model.uses.readers(source)), None)
        if node is None or math.prod(info.shape) <= 1:
            return None
        path, operation = scope_of_node(node).layers, scope_of(source).operation
        if not path or scope_of(source).layers not in ((), path):
            return None
        if node.op_type == "Gather" and node.input[0] == source and "ReadVariableOp" in operation:
            return Variable(path, "embeddings", ())
        is_norm = any(name.startswith("moments/") for name in self.operations[path])
        by_group = path[-1].startswith("group_normalization")
        if (
            is_norm
            and _RESHAPED.fullmatch(operation)
            and (by_group or sum(size > 1 for size in info.shape) == 1)
        ):
            name = "gamma" if node.op_type == "Mul" else "beta"
            return Variable(path, name, (Reshaped((math.prod(info.shape),)),))
        return None

    def _convolution(
        self, layer_node: LayerNode, path: Path, *, depthwise: bool
    ) -> tuple[ViewStep, ...] | None:
        """Return the steps from (out, in, *kernel) to (*kernel, in, out or multiplier)."""
        shape, groups = layer_node.layer.layout.shape, layer_node.layer.layout.groups
        kernel = shape[2:]
        flat = self._is_flat(layer_node, path)
        if flat is None:
            return None
        if flat:
            kernel = kernel[1:]
        spatial = tuple(range(2, 2 + len(kernel)))
        if depthwise:
            split = Reshaped((groups, shape[0] // groups, *kernel))
            return split, Transposed((*spatial, 0, 1))
        turned = Transposed((*spatial, 1, 0))
        return (Reshaped((*shape[:2], *kernel)), turned) if flat else (turned,)

    def _is_flat(self, layer_node: LayerNode, path: Path) -> bool | None:
        """Return whether a 2-d convolution stands for a 1-d one; None if no name tells."""
        kernel = layer_node.layer.layout.kernel
        source = self.model.view(layer_node.layer.weight_value).parameter
        if len(kernel) != 2 or kernel[0] != 1 or not path:
            return False
        if "ExpandDims" in source:
            return True
        if not FOLDED_CONSTANT.fullmatch(source):
            return False
        if any("ExpandDims" in name for name in self.operations.get(path, ())):
            return True
        match = re.match(r"(depthwise|separable)_conv([12])d", path[-1])
        return match[2] == "1" if match else None

    def _product(self, layer_node: LayerNode, path: Path) -> tuple[ViewStep, ...] | None:
        """Return the steps from the matrix to the kernel, whose axes include attention's heads."""
        layout, view = layer_node.layer.layout, self.model.view(layer_node.layer.weight_value)
        if len(layout.shape) != 2:
            return None
        if layout.order is Order.OUT_IN:
            return (Transposed((1, 0)),)
        if not _RESHAPED.fullmatch(scope_of(view.parameter).operation):
            return ()
        rows, columns = layout.shape
        if path in self.heads:
            return (Reshaped((rows, *self.heads[path])),)
        heads = next((self.heads[p] for p in self.heads if p == (*path[:-1], "value")), ())
        return (Reshaped((*heads, columns)),) if math.prod(heads) == rows else None

    def _split_columns(self, layer_node: LayerNode) -> tuple[int, ...]:
        """Return the sizes of the two axes that a product's columns are split into, or ()."""
        for node in self.model.uses.readers(layer_node.layer.output):
            sizes = self.integers.get(node.input[1]) if node.op_type == "Reshape" else None
            if sizes is not None and scope_of_node(node).layers == self.path(layer_node):
                last = tuple(sizes.tolist())[-2:]
                if math.prod(last) == layer_node.layer.layout.out_channels:
                    return last
        return ()
