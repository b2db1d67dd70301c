"""Build the sample models as ONNX files, beside this script or in `--out`.

    python sample_models/build.py                 # all of them
    python sample_models/build.py fitnet4 highway # some
    python sample_models/build.py --list          # their names

The architectures are those of the LSUV paper (Mishkin & Matas, "All you need is a good init",
ICLR 2016). Their weights are what PyTorch gives a new layer, uniform in +-1/sqrt(fan_in), so that
each file looks like a model that nobody has initialised with care yet.
"""

from __future__ import annotations

import argparse
import math
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8
VERY_LEAKY_SLOPE = 0.333


class Network:
    """A graph under construction; every method appends nodes and returns the output's name."""

    def __init__(self, name: str, input_shape: Sequence[int]) -> None:
        self.name = name
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.channels = {"input": input_shape[0]}
        self.input = helper.make_tensor_value_info(
            "input", TensorProto.FLOAT, ["batch", *input_shape]
        )
        # Keyed by the model's name, so that no model's weights depend on the others built before.
        self.rng = np.random.default_rng(zlib.crc32(name.encode()))

    def parameter(self, name: str, shape: Sequence[int], fan_in: int) -> str:
        """Draw a float32 parameter, uniform in +-1/sqrt(fan_in)."""
        bound = 1 / math.sqrt(fan_in)
        values: NDArray[np.float32] = self.rng.uniform(-bound, bound, tuple(shape)).astype(
            np.float32
        )
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def node(self, op: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Append one node, whose only output carries the node's name."""
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        self.channels[name] = self.channels.get(inputs[0], 0)
        return name

    def conv(
        self,
        x: str,
        name: str,
        out_channels: int,
        kernel: int,
        *,
        stride: int = 1,
        pad: int | None = None,
        group: int = 1,
    ) -> str:
        """A square 2-d convolution with bias; `pad` defaults to `kernel // 2`."""
        fan_in = self.channels[x] // group * kernel * kernel
        pad = kernel // 2 if pad is None else pad
        shape = [out_channels, self.channels[x] // group, kernel, kernel]
        y = self.node(
            "Conv",
            [
                x,
                self.parameter(f"{name}.weight", shape, fan_in),
                self.parameter(f"{name}.bias", [out_channels], fan_in),
            ],
            name,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[pad] * 4,
            group=group,
        )
        self.channels[y] = out_channels
        return y

    def linear(self, x: str, name: str, in_features: int, out_features: int) -> str:
        """A fully connected layer with bias, in PyTorch's layout (out, in)."""
        y = self.node(
            "Gemm",
            [
                x,
                self.parameter(f"{name}.weight", [out_features, in_features], in_features),
                self.parameter(f"{name}.bias", [out_features], in_features),
            ],
            name,
            transB=1,
        )
        self.channels[y] = out_features
        return y

    def flatten(self, x: str) -> str:
        """(n, c, h, w) to (n, c h w)."""
        return self.node("Flatten", [x], "flatten", axis=1)

    def max_pool(self, x: str, name: str, kernel: int, stride: int, *, pad: int = 0) -> str:
        """Max-pooling whose last window may hang over the edge, as in Caffe."""
        return self.node(
            "MaxPool",
            [x],
            name,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[pad] * 4,
            ceil_mode=1,
        )

    def lrn(self, x: str, name: str) -> str:
        """Local response normalisation with AlexNet's constants."""
        return self.node("LRN", [x], name, size=5, alpha=1e-4, beta=0.75, bias=1.0)

    def model(self, output: str) -> onnx.ModelProto:
        """Close the graph at `output`, of shape (batch, classes)."""
        graph = helper.make_graph(
            self.nodes,
            self.name,
            [self.input],
            [
                helper.make_tensor_value_info(
                    output, TensorProto.FLOAT, ["batch", self.channels[output]]
                )
            ],
            self.weights,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="lsuv sample models",
        )
        onnx.checker.check_model(model)
        return onnx.shape_inference.infer_shapes(model)


Activation = Callable[[Network, str], str]


def relu(net: Network, x: str) -> str:
    """The larger of x and 0."""
    return net.node("Relu", [x], f"{x}.relu")


def very_leaky_relu(net: Network, x: str) -> str:
    """The larger of x and 0.333 x, the paper's VLReLU."""
    return net.node("LeakyRelu", [x], f"{x}.vlrelu", alpha=VERY_LEAKY_SLOPE)


def tanh(net: Network, x: str) -> str:
    """The hyperbolic tangent."""
    return net.node("Tanh", [x], f"{x}.tanh")


def conv_block(
    net: Network, x: str, name: str, channels: int, kernel: int, activation: Activation | None
) -> str:
    """A convolution and its activation; without one, a maxout of two convolutions."""
    if activation is not None:
        return activation(net, net.conv(x, name, channels, kernel))
    pieces = [net.conv(x, f"{name}.piece{i}", channels, kernel) for i in range(2)]
    return net.node("Max", pieces, f"{name}.maxout")


def linear_block(
    net: Network,
    x: str,
    name: str,
    in_features: int,
    out_features: int,
    activation: Activation | None,
) -> str:
    """A fully connected layer and its activation; without one, a maxout of five."""
    if activation is not None:
        return activation(net, net.linear(x, name, in_features, out_features))
    pieces = [net.linear(x, f"{name}.piece{i}", in_features, out_features) for i in range(5)]
    return net.node("Max", pieces, f"{name}.maxout")


def conv_stages(
    net: Network, stages: Sequence[Sequence[int]], activation: Activation | None
) -> str:
    """3x3 convolutions in stages, with 2x2 max-pooling between the stages."""
    x, index = "input", 0
    for stage, widths in enumerate(stages, 1):
        for width in widths:
            index += 1
            x = conv_block(net, x, f"conv{index}", width, 3, activation)
        if stage < len(stages):
            x = net.max_pool(x, f"pool{stage}", 2, 2)
    return x


def fitnet1() -> onnx.ModelProto:
    """FitNet-1 on 32x32 colour images: 9 convolutions, 1 fully connected layer."""
    net = Network("fitnet1", (3, 32, 32))
    x = conv_stages(net, [[16] * 3, [32] * 3, [48, 48, 64]], relu)
    x = net.flatten(net.node("GlobalMaxPool", [x], "global_pool"))
    return net.model(net.linear(x, "fc", 64, 10))


def fitnet4(activation: Activation | None, suffix: str = "") -> onnx.ModelProto:
    """FitNet-4 on 32x32 colour images: 17 convolutions, 2 fully connected layers."""
    net = Network(f"fitnet4{suffix}", (3, 32, 32))
    x = conv_stages(net, [[32, 32, 32, 48, 48], [80] * 6, [128] * 6], activation)
    x = net.flatten(net.node("GlobalMaxPool", [x], "global_pool"))
    x = linear_block(net, x, "fc1", 128, 500, activation)
    return net.model(net.linear(x, "fc2", 500, 10))


def fitnet_mnist() -> onnx.ModelProto:
    """FitNet-MNIST on 28x28 grey digits: 6 maxout convolutions, 1 fully connected layer."""
    net = Network("fitnet_mnist", (1, 28, 28))
    x = "input"
    for stage, (width, kernel) in enumerate([(16, 4), (16, 4), (12, 2)], 1):
        for index in (1, 2):
            x = conv_block(net, x, f"conv{stage}_{index}", width, 3, None)
        x = net.max_pool(x, f"pool{stage}", kernel, 2)
    # Sizes: 28, (28-4)/2+1 = 13, ceil((13-4)/2)+1 = 6, 3.
    return net.model(net.linear(net.flatten(x), "fc", 12 * 3 * 3, 10))


def fitresnet4() -> onnx.ModelProto:
    """FitResNet-4: FitNet-4 with identity sums over pairs of equally wide convolutions."""
    net = Network("fitresnet4", (3, 32, 32))
    x, index = "input", 0
    for stage, widths in enumerate([[32, 32, 32, 48, 48], [80] * 6, [128] * 6], 1):
        position = 0
        while position < len(widths):
            width = widths[position]
            index += 1
            if net.channels[x] == width and widths[position : position + 2] == [width, width]:
                inner = relu(net, net.conv(x, f"conv{index}", width, 3))
                index += 1
                inner = net.conv(inner, f"conv{index}", width, 3)
                x = relu(net, net.node("Add", [inner, x], f"sum{index}"))
                position += 2
            else:
                x = relu(net, net.conv(x, f"conv{index}", width, 3))
                position += 1
        if stage < 3:
            x = net.max_pool(x, f"pool{stage}", 2, 2)
    x = net.flatten(net.node("GlobalMaxPool", [x], "global_pool"))
    x = linear_block(net, x, "fc1", 128, 500, relu)
    return net.model(net.linear(x, "fc2", 500, 10))


def highway() -> onnx.ModelProto:
    """A Highway network on 28x28 grey digits: 5x5 convolution, 8 highway layers, 1 linear.

    A highway layer is y = relu(H x) T(x) + x (1 - T(x)) with T(x) = sigmoid(W x + b)
    (Srivastava, Greff & Schmidhuber 2015); 2x2 max-pooling after the first, fifth and last.
    """
    net = Network("highway", (1, 28, 28))
    net.weights.append(numpy_helper.from_array(np.asarray(1, np.float32), "one"))
    x = relu(net, net.conv("input", "conv", 32, 5))
    x = net.max_pool(x, "pool0", 2, 2)
    for index in range(1, 9):
        block = f"highway{index}"
        transform = relu(net, net.conv(x, f"{block}.transform", 32, 3))
        gate = net.node("Sigmoid", [net.conv(x, f"{block}.gate", 32, 3)], f"{block}.open")
        closed = net.node("Sub", ["one", gate], f"{block}.closed")
        taken = net.node("Mul", [transform, gate], f"{block}.taken")
        carried = net.node("Mul", [x, closed], f"{block}.carried")
        x = net.node("Add", [taken, carried], f"{block}.sum")
        if index in (4, 8):
            x = net.max_pool(x, f"pool{index}", 2, 2)
    return net.model(net.linear(net.flatten(x), "fc", 32 * 4 * 4, 10))


def caffenet() -> onnx.ModelProto:
    """CaffeNet on 227x227 colour images: 5 convolutions (3 in two groups), 3 fully connected."""
    net = Network("caffenet", (3, 227, 227))
    x = relu(net, net.conv("input", "conv1", 96, 11, stride=4, pad=0))
    x = net.lrn(net.max_pool(x, "pool1", 3, 2), "norm1")
    x = relu(net, net.conv(x, "conv2", 256, 5, group=2))
    x = net.lrn(net.max_pool(x, "pool2", 3, 2), "norm2")
    x = relu(net, net.conv(x, "conv3", 384, 3))
    x = relu(net, net.conv(x, "conv4", 384, 3, group=2))
    x = relu(net, net.conv(x, "conv5", 256, 3, group=2))
    x = net.flatten(net.max_pool(x, "pool5", 3, 2))
    x = relu(net, net.linear(x, "fc6", 256 * 6 * 6, 4096))
    x = relu(net, net.linear(x, "fc7", 4096, 4096))
    return net.model(net.linear(x, "fc8", 4096, 1000))


def inception(net: Network, x: str, name: str, widths: Sequence[int]) -> str:
    """One Inception module; widths: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection."""
    one, three_reduce, three, five_reduce, five, projection = widths

    def conv(source: str, branch: str, width: int, kernel: int) -> str:
        return relu(net, net.conv(source, f"{name}.{branch}", width, kernel))

    branches = [
        conv(x, "1x1", one, 1),
        conv(conv(x, "3x3_reduce", three_reduce, 1), "3x3", three, 3),
        conv(conv(x, "5x5_reduce", five_reduce, 1), "5x5", five, 5),
        conv(net.max_pool(x, f"{name}.pool", 3, 1, pad=1), "pool_proj", projection, 1),
    ]
    y = net.node("Concat", branches, f"{name}.concat", axis=1)
    net.channels[y] = one + three + five + projection
    return y


def googlenet() -> onnx.ModelProto:
    """BVLC GoogLeNet on 224x224 colour images, main classifier: 57 convolutions, 1 linear."""
    net = Network("googlenet", (3, 224, 224))
    x = relu(net, net.conv("input", "conv1", 64, 7, stride=2))
    x = net.lrn(net.max_pool(x, "pool1", 3, 2), "norm1")
    x = relu(net, net.conv(x, "conv2_reduce", 64, 1))
    x = relu(net, net.conv(x, "conv2", 192, 3))
    x = net.max_pool(net.lrn(x, "norm2"), "pool2", 3, 2)
    x = inception(net, x, "inception_3a", (64, 96, 128, 16, 32, 32))
    x = inception(net, x, "inception_3b", (128, 128, 192, 32, 96, 64))
    x = net.max_pool(x, "pool3", 3, 2)
    x = inception(net, x, "inception_4a", (192, 96, 208, 16, 48, 64))
    x = inception(net, x, "inception_4b", (160, 112, 224, 24, 64, 64))
    x = inception(net, x, "inception_4c", (128, 128, 256, 24, 64, 64))
    x = inception(net, x, "inception_4d", (112, 144, 288, 32, 64, 64))
    x = inception(net, x, "inception_4e", (256, 160, 320, 32, 128, 128))
    x = net.max_pool(x, "pool4", 3, 2)
    x = inception(net, x, "inception_5a", (256, 160, 320, 32, 128, 128))
    x = inception(net, x, "inception_5b", (384, 192, 384, 48, 128, 128))
    x = net.flatten(net.node("GlobalAveragePool", [x], "global_pool"))
    return net.model(net.linear(x, "fc", 1024, 1000))


MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    "fitnet1": fitnet1,
    "fitnet4": lambda: fitnet4(relu),
    "fitnet4_vlrelu": lambda: fitnet4(very_leaky_relu, "_vlrelu"),
    "fitnet4_tanh": lambda: fitnet4(tanh, "_tanh"),
    "fitnet4_maxout": lambda: fitnet4(None, "_maxout"),
    "fitnet_mnist": fitnet_mnist,
    "fitresnet4": fitresnet4,
    "highway": highway,
    "caffenet": caffenet,
    "googlenet": googlenet,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Build the models named on the command line."""
    parser = argparse.ArgumentParser(description="Build the sample models.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="models to build (default: all)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="target folder")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    options = parser.parse_args(arguments)
    if options.list:
        print("\n".join(MODELS))
        return 0
    unknown = sorted(set(options.names) - set(MODELS))
    if unknown:
        parser.error(f"no such model: {', '.join(unknown)} (known: {', '.join(MODELS)})")
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.names or MODELS:
        path = options.out / f"{name}.onnx"
        onnx.save(MODELS[name](), path)
        print(f"{path}  {path.stat().st_size / 1e6:.1f} MB", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
