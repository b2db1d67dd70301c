"""Random small graphs of chains, branches, shared weights, groups and transposes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import onnx
from hypothesis import strategies as st
from onnx import helper

from support.graphs import random_weight

CHANNELS = 6
ACTIVATIONS = ("Relu", "LeakyRelu", "Tanh", "Sigmoid", "Softplus", "Abs", "Identity")
JOINS = ("Add", "Sub", "Max", "Mul", "Concat")


@dataclass
class Builder:
    """A graph that grows node by node; every value has the same shape."""

    convolutional: bool
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: dict[str, Any] = field(default_factory=dict)
    values: list[str] = field(default_factory=lambda: ["x"])
    layers: list[str] = field(default_factory=list)

    def node(self, op: str, inputs: list[str], **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"n{name}", **attributes))
        return name

    def weight(self, channels: int, groups: int) -> str:
        name = f"w{len(self.weights)}"
        kernel = (3, 3) if self.convolutional else ()
        shape = (CHANNELS, channels // groups, *kernel)
        # Bad ones, so that what is not initialised would show.
        self.weights[name] = random_weight(*shape, seed=len(self.weights)) * 7
        return name

    def layer(self, x: str, weight: str, groups: int, *, transposed: bool, bias: bool) -> None:
        if self.convolutional:
            inputs = [x, weight]
            if bias:
                self.weights[f"{weight}_b{len(self.nodes)}"] = random_weight(CHANNELS)
                inputs.append(f"{weight}_b{len(self.nodes)}")
            value = self.node("Conv", inputs, pads=[1, 1, 1, 1], group=groups)
        elif transposed:
            value = self.node("MatMul", [x, self.node("Transpose", [weight], perm=[1, 0])])
        else:
            value = self.node("Gemm", [x, weight], transB=1)
        self.values.append(value)
        self.layers.append(value)


@st.composite
def built_graphs(draw: st.DrawFn) -> Builder:
    """Draw a graph of up to eleven steps, with a layer first and last."""
    builder = Builder(convolutional=draw(st.booleans()))
    builder.layer("x", builder.weight(CHANNELS, 1), 1, transposed=False, bias=False)
    for _ in range(draw(st.integers(1, 9))):
        x = draw(st.sampled_from(builder.values[1:][-4:]))
        kind = draw(st.sampled_from(["layer", "layer", "activation", "activation", "join", "tied"]))
        if kind == "layer":
            groups = draw(st.sampled_from([1, 2, 6])) if builder.convolutional else 1
            options = {"transposed": draw(st.booleans()), "bias": draw(st.booleans())}
            builder.layer(x, builder.weight(CHANNELS, groups), groups, **options)
        elif kind == "tied":
            builder.layer(x, "w0", 1, transposed=draw(st.booleans()), bias=False)
        elif kind == "activation":
            builder.values.append(builder.node(draw(st.sampled_from(ACTIVATIONS)), [x]))
        else:
            other = draw(st.sampled_from(builder.values[1:]))
            op = draw(st.sampled_from(JOINS))
            if op != "Concat":
                builder.values.append(builder.node(op, [x, other]))
            elif builder.convolutional:
                joined = builder.node("Concat", [x, other], axis=1)
                builder.layer(
                    joined, builder.weight(2 * CHANNELS, 1), 1, transposed=False, bias=False
                )
    builder.layer(builder.values[-1], builder.weight(CHANNELS, 1), 1, transposed=False, bias=True)
    return builder
