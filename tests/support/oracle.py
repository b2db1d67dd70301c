"""A brute-force oracle: the paper's Algorithm 1, literally, in PyTorch and float64.

The network is interpreted node by node with torch's functions, so that neither ONNX Runtime nor
anything of lsuv_cli takes part. For every layer, and every try, the whole network runs forward.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Tensors = dict[str, torch.Tensor]
LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def _pads(attributes: Mapping[str, Any], rank: int) -> list[int]:
    pads = attributes.get("pads", [0] * 2 * rank)
    assert pads[:rank] == pads[rank:], "the oracle knows symmetric padding only"
    return list(pads[:rank])


def _conv(
    x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None = None, **a: Any
) -> torch.Tensor:
    rank = w.ndim - 2
    function = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
    return function(
        x,
        w,
        b,
        a.get("strides", [1] * rank),
        _pads(a, rank),
        a.get("dilations", [1] * rank),
        a.get("group", 1),
    )


def _conv_transpose(
    x: torch.Tensor, w: torch.Tensor, b: torch.Tensor | None = None, **a: Any
) -> torch.Tensor:
    rank = w.ndim - 2
    function = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank - 1]
    return function(
        x,
        w,
        b,
        a.get("strides", [1] * rank),
        _pads(a, rank),
        a.get("output_padding", [0] * rank),
        a.get("group", 1),
        a.get("dilations", [1] * rank),
    )


def _gemm(
    x: torch.Tensor, y: torch.Tensor, c: torch.Tensor | None = None, **a: Any
) -> torch.Tensor:
    x = x.T if a.get("transA", 0) else x
    y = y.T if a.get("transB", 0) else y
    product: torch.Tensor = a.get("alpha", 1.0) * (x @ y)
    return product if c is None else product + a.get("beta", 1.0) * c


def _max_pool(x: torch.Tensor, **a: Any) -> torch.Tensor:
    kernel = a["kernel_shape"]
    rank = len(kernel)
    function = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[rank - 1]
    return function(
        x,
        kernel,
        a.get("strides", [1] * rank),
        _pads(a, rank),
        ceil_mode=bool(a.get("ceil_mode", 0)),
    )


def _spatial(x: torch.Tensor) -> tuple[int, ...]:
    return tuple(range(2, x.ndim))


def _maximum(*tensors: torch.Tensor) -> torch.Tensor:
    largest = tensors[0]
    for tensor in tensors[1:]:
        largest = torch.maximum(largest, tensor)
    return largest


def _local_response_norm(
    x: torch.Tensor, size: int, alpha: float, beta: float, bias: float
) -> torch.Tensor:
    return F.local_response_norm(x, size, alpha, beta, k=bias)


OPERATORS: dict[str, Callable[..., torch.Tensor]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": lambda x, y: x @ y,
    "Add": lambda x, y: x + y,
    "Sub": lambda x, y: x - y,
    "Mul": lambda x, y: x * y,
    "Div": lambda x, y: x / y,
    "Relu": torch.relu,
    "LeakyRelu": lambda x, alpha=0.01: F.leaky_relu(x, alpha),
    "Tanh": torch.tanh,
    "Sigmoid": torch.sigmoid,
    "Softmax": lambda x, axis=-1: torch.softmax(x, axis),
    "Identity": lambda x: x,
    "Max": _maximum,
    "MaxPool": _max_pool,
    "GlobalMaxPool": lambda x: x.amax(_spatial(x), keepdim=True),
    "GlobalAveragePool": lambda x: x.mean(_spatial(x), keepdim=True),
    "Concat": lambda *xs, axis: torch.cat(xs, axis),
    "Flatten": lambda x, axis=1: x.flatten(axis),
    "Gather": lambda x, index, axis=0: x.index_select(axis, index),
    "Transpose": lambda x, perm: x.permute(perm),
    "Reshape": lambda x, shape: x.reshape(
        [size or x.shape[i] for i, size in enumerate(shape.tolist())]
    ),
    "LRN": _local_response_norm,
}


class TorchNetwork:
    """An ONNX graph that runs in PyTorch, in float64."""

    def __init__(self, path: Path) -> None:
        self.graph = onnx.load(path).graph
        self.parameters: Tensors = {}
        for tensor in self.graph.initializer:
            value = torch.from_numpy(np.array(numpy_helper.to_array(tensor)))
            self.parameters[tensor.name] = value.double() if value.is_floating_point() else value
        self.inputs = [v.name for v in self.graph.input if v.name not in self.parameters]

    def forward(
        self, feeds: Mapping[str, NDArray[Any]], known: Tensors | None = None, until: str = ""
    ) -> Tensors:
        """Every value of the graph, or those up to one; what is known is not computed again."""
        values = {**(known or {}), **self.parameters}
        for name, array in feeds.items():
            value = torch.from_numpy(np.asarray(array))
            values[name] = value.double() if value.is_floating_point() else value
        with torch.no_grad():
            for node in self.graph.node:
                if until in values:
                    break
                if node.output[0] in values:
                    continue
                attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
                inputs = [values[name] for name in node.input if name]
                values[node.output[0]] = OPERATORS[node.op_type](*inputs, **attributes)
        return values

    def layers(self) -> list[onnx.NodeProto]:
        """The nodes that are linear in a floating-point parameter, in execution order."""
        return [node for node in self.graph.node if node.op_type in LINEAR and self.weight(node)]

    def weight(self, node: onnx.NodeProto) -> str:
        """The name of a layer's weight."""
        return next((name for name in node.input[:2] if name in self.parameters), "")

    def output(self, node: onnx.NodeProto) -> str:
        """The layer's output: behind the Add of a bias vector that follows it, if one does."""
        followers = [n for n in self.graph.node if node.output[0] in n.input]
        if (
            len(followers) == 1
            and followers[0].op_type == "Add"
            and any(
                sum(size > 1 for size in self.parameters[name].shape) <= 1
                for name in followers[0].input
                if name in self.parameters
            )
        ):
            return str(followers[0].output[0])
        return str(node.output[0])


def algorithm_1(
    network: TorchNetwork,
    feeds: Mapping[str, NDArray[Any]],
    tol_var: float = 1e-12,
    t_max: int = 10,
) -> dict[str, float]:
    """Mishkin & Matas 2016, Algorithm 1, from the pre-initialised parameters on.

    Changes the network's parameters in place. What lies before the layer at hand is computed once,
    since no weight there changes any more; so no two layers may share a weight.

    Returns:
        The blob variance of each layer's output, by its weight's name.
    """
    weights = [network.weight(node) for node in network.layers()]
    assert len(set(weights)) == len(weights)
    before: Tensors = {}
    for node in network.layers():
        weight, output = network.weight(node), network.output(node)
        data = next(name for name in node.input[:2] if name != weight)
        before = network.forward(feeds, before, until=data)
        tries = 0
        while True:
            values = network.forward(feeds, before, until=output)
            variance = float(values[output].var(unbiased=False))
            if abs(variance - 1.0) < tol_var or tries >= t_max:
                break
            network.parameters[weight] = network.parameters[weight] / variance**0.5
            tries += 1
    values = network.forward(feeds)
    return {
        network.weight(node): float(values[network.output(node)].var(unbiased=False))
        for node in network.layers()
    }
