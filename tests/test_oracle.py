"""The engine against the oracle: same pre-initialised weights, same batch, same result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from lsuv_cli.core.choices import Bias, Per, PreInit, Status
from lsuv_cli.core.preinit import draw, generator
from lsuv_cli.core.records import LayerResult, Report
from support.graphs import node, random_weight, save_graph
from support.initialization import run
from support.oracle import TorchNetwork, algorithm_1
from support.sample_files import save_samples

# The newest that onnx 1.23 and ONNX Runtime 1.31 both know.
NEWEST_SHARED_OPSET = 26


def pre_initialised(model: Path, results: tuple[LayerResult, ...], seed: int = 0) -> TorchNetwork:
    """The network with the weights that lsuv drew, not yet scaled, and zero biases."""
    network = TorchNetwork(model)
    for result in results:
        layer = result.planned.layer
        weight = draw(PreInit.ORTHONORMAL, layer.layout, generator(seed, layer.weight_value))
        network.parameters[layer.weight_value] = torch.from_numpy(weight).double()
        if layer.bias_value:
            network.parameters[layer.bias_value] = torch.zeros_like(
                network.parameters[layer.bias_value]
            )
    return network


def check_against_oracle(model: Path, samples: Path, tolerance: float = 1e-5) -> Report:
    """Run both and compare every weight."""
    report, weights = run(model, samples)
    network = pre_initialised(model, report.layers)
    feeds = {network.inputs[0]: np.load(samples)}
    variances = algorithm_1(network, feeds)
    assert report.layers, "no layer was found"
    for result in report.layers:
        layer = result.planned.layer
        assert result.status is Status.CONVERGED, (layer.name, result.detail)
        assert variances[layer.weight_value] == pytest.approx(1, abs=1e-9)
        expected = network.parameters[layer.weight_value].numpy()
        scale = np.abs(expected).max()
        np.testing.assert_allclose(weights[layer.weight_value], expected, atol=tolerance * scale)
        assert result.after is not None
        assert result.after.deviation(1.0, per_channel=False) <= 1e-5
    assert [r.planned.layer.weight_value for r in report.layers] == [
        network.weight(node) for node in network.layers()
    ]
    return report


@pytest.mark.untraced
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("fitnet1", (3, 32, 32)),
        ("fitnet4", (3, 32, 32)),
        pytest.param("fitnet4_vlrelu", (3, 32, 32), marks=pytest.mark.thorough),
        pytest.param("fitnet4_tanh", (3, 32, 32), marks=pytest.mark.thorough),
        pytest.param("fitnet4_maxout", (3, 32, 32), marks=pytest.mark.thorough),
        ("fitnet_mnist", (1, 28, 28)),
        pytest.param("fitresnet4", (3, 32, 32), marks=pytest.mark.thorough),
        ("highway", (1, 28, 28)),
    ],
)
def test_sample_models_equal_the_oracle(
    sample_models: Callable[[str], Path], tmp_path: Path, name: str, shape: tuple[int, ...]
) -> None:
    check_against_oracle(sample_models(name), save_samples(tmp_path, shape))


SQUARE = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
W = random_weight

GRAPHS: dict[str, tuple[list[onnx.NodeProto], dict[str, NDArray[Any]], tuple[int, ...]]] = {
    "conv1d": (
        [
            node("Conv", "x w1 b1", "a", kernel_shape=[5], strides=[2], dilations=[2]),
            node("Relu", "a", "r"),
            node("Conv", "r w2", "z", kernel_shape=[3]),
        ],
        {"w1": W(8, 3, 5), "b1": W(8), "w2": W(6, 8, 3)},
        (3, 40),
    ),
    "conv3d": (
        [
            node("Conv", "x w1 b1", "a", kernel_shape=[3, 3, 3], pads=[1] * 6),
            node("LeakyRelu", "a", "r", alpha=0.2),
            node("Conv", "r w2", "z", kernel_shape=[2, 2, 2], strides=[2, 2, 2]),
        ],
        {"w1": W(6, 2, 3, 3, 3), "b1": W(6), "w2": W(4, 6, 2, 2, 2)},
        (2, 6, 6, 6),
    ),
    "grouped and depthwise": (
        [
            node("Conv", "x w1", "a", group=2, **SQUARE),
            node("Relu", "a", "r"),
            node("Conv", "r w2 b2", "d", group=8, **SQUARE),
            node("Tanh", "d", "t"),
            node("Conv", "t w3", "z", kernel_shape=[1, 1], group=4),
        ],
        {"w1": W(8, 2, 3, 3), "w2": W(8, 1, 3, 3), "b2": W(8), "w3": W(12, 2, 1, 1)},
        (4, 9, 9),
    ),
    "transposed": (
        [
            node("ConvTranspose", "x w1 b1", "a", kernel_shape=[4, 4], strides=[2, 2]),
            node("Relu", "a", "r"),
            node("ConvTranspose", "r w2", "z", kernel_shape=[3, 3], group=3, dilations=[2, 2]),
        ],
        {"w1": W(4, 6, 4, 4), "b1": W(6), "w2": W(6, 2, 3, 3)},
        (4, 5, 5),
    ),
    "gemm with every attribute": (
        [
            node("Gemm", "x w1 b1", "a", alpha=0.7, beta=1.3),
            node("Relu", "a", "r"),
            node("Gemm", "r w2 b2", "c", transB=1, beta=0.5),
            node("Gemm", "w3 c b3", "d", transB=1, alpha=2.0),
            node("Gemm", "w4 d", "e", transA=1),
            node("Gemm", "e w5", "z", transA=1),
        ],
        {
            "w1": W(10, 16),
            "b1": W(16),
            "w2": W(9, 16),
            "b2": W(1, 9),
            "w3": W(7, 9),
            "b3": W(7, 1),
            "w4": W(7, 5),
            "w5": W(5, 4),
        },
        (10,),
    ),
    "matmul on either side, bias added behind": (
        [
            node("MatMul", "x w1", "a"),
            node("Add", "a b1", "p"),
            node("Relu", "p", "r"),
            node("MatMul", "w2 r", "c"),
            node("Add", "b2 c", "q"),
            node("Tanh", "q", "t"),
            node("MatMul", "t w3", "z"),
        ],
        {"w1": W(6, 8), "b1": W(8), "w2": W(5, 7), "b2": W(5, 1), "w3": W(8, 3)},
        (7, 6),
    ),
    "branches with unequal scales": (
        [
            node("Conv", "x w1", "a", **SQUARE),
            node("Relu", "a", "ra"),
            node("Conv", "ra w2", "b", **SQUARE),
            node("Conv", "ra w3", "c", kernel_shape=[1, 1]),
            node("Concat", "b c ra", "k", axis=1),
            node("Conv", "k w4", "d", **SQUARE),
            node("Add", "d b", "s"),
            node("Sub", "s x4", "u"),
            node("Max", "u d", "m"),
            node("Mul", "m d", "q"),
            node("Conv", "q w5", "e", kernel_shape=[3, 3]),
            node("Div", "e e_scale", "f"),
            node("GlobalAveragePool", "f", "g"),
            node("Flatten", "g", "h"),
            node("Gemm", "h w6", "z"),
        ],
        {
            "w1": W(4, 3, 3, 3),
            "w2": W(6, 4, 3, 3) * 3,
            "w3": W(5, 4, 1, 1),
            "w4": W(6, 15, 3, 3),
            "x4": W(1, 6, 8, 8),
            "w5": W(7, 6, 3, 3),
            "e_scale": np.full((1, 7, 1, 1), 3, np.float32),
            "w6": W(7, 5),
        },
        (3, 8, 8),
    ),
    "a bias that varies in space is no bias": (
        [
            node("Conv", "x w1", "a", **SQUARE),
            node("Add", "a embedding", "s"),
            node("Conv", "s w2", "z", **SQUARE),
        ],
        {"w1": W(4, 3, 3, 3), "embedding": W(1, 4, 8, 8), "w2": W(2, 4, 3, 3)},
        (3, 8, 8),
    ),
    "forty layers": (
        [
            item
            for i in range(40)
            for item in (
                node("Gemm", f"{'x' if i == 0 else f'r{i - 1}'} w{i}", f"a{i}"),
                node("Relu", f"a{i}", f"r{i}"),
            )
        ],
        {f"w{i}": W(24, 24, seed=i) for i in range(40)},
        (24,),
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_operators_equal_the_oracle(tmp_path: Path, name: str) -> None:
    nodes, weights, shape = GRAPHS[name]
    model = save_graph(tmp_path / "model.onnx", nodes, weights, ["n", *shape])
    report = check_against_oracle(model, save_samples(tmp_path, shape))
    assert len(report.layers) == sum(key.startswith("w") for key in weights)


@pytest.mark.parametrize("opset", [9, 10, 17])
def test_each_of_several_matrices_equals_the_oracle(tmp_path: Path, opset: int) -> None:
    """The oracle runs on a graph in which they are as many products, written by hand."""
    nodes = [node("MatMul", "x w", "a"), node("Relu", "a", "r"), node("MatMul", "v r", "z")]
    weights = {"w": W(3, 6, 5), "v": W(3, 4, 7)}
    model = save_graph(tmp_path / "m.onnx", nodes, weights, ["n", 3, 7, 6], opset=opset)
    samples = save_samples(tmp_path, (3, 7, 6))
    report, written = run(model, samples)
    assert {result.status for result in report.layers} == {Status.CONVERGED}
    if opset < 10:  # what takes them apart needs a newer one
        assert [result.planned.layer.weight_name for result in report.layers] == ["w", "v"]
        return
    divided: list[onnx.NodeProto] = []
    parts: dict[str, NDArray[Any]] = {}
    for e in range(3):
        divided += [
            *(node("Gather", f"x i{e}", f"x{e}", axis=1), node("MatMul", f"x{e} w{e}", f"a{e}")),
            *(node("Relu", f"a{e}", f"r{e}"), node("MatMul", f"v{e} r{e}", f"z{e}")),
        ]
        parts |= {f"i{e}": np.array([e]), f"w{e}": weights["w"][e], f"v{e}": weights["v"][e]}
    divided.append(node("Concat", "z0 z1 z2", "z", axis=1))
    network = TorchNetwork(save_graph(tmp_path / "d.onnx", divided, parts, ["n", 3, 7, 6]))
    drawn = {}
    for result in report.layers:
        layer = result.planned.layer
        weight = draw(PreInit.ORTHONORMAL, layer.layout, generator(0, layer.weight_name))
        drawn[layer.weight_name.replace("[", "").partition(":")[0]] = torch.from_numpy(weight)
    network.parameters |= {name: weight.double() for name, weight in drawn.items()}
    variances = algorithm_1(network, {"x": np.load(samples)})
    assert variances.keys() == drawn.keys()
    for name in variances:
        found, expected = written[name[0]][int(name[1])], network.parameters[name].numpy()
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("opset", range(7, NEWEST_SHARED_OPSET + 1))
def test_every_opset(tmp_path: Path, opset: int) -> None:
    nodes = [
        node("Conv", "x w1 b1", "a", **SQUARE),
        node("Relu", "a", "r"),
        node("Conv", "r w2", "b", **SQUARE),
        node("Concat", "a b", "k", axis=1),
        node("GlobalAveragePool", "k", "g"),
        node("Flatten", "g", "f"),
        node("Gemm", "f w3 c3", "h", transB=1),
        node("Tanh", "h", "t"),
        node("MatMul", "t w4", "m"),
        node("Add", "m b4", "p"),
        node("Transpose", "p", "q", perm=[1, 0]),
        node("MatMul", "w5 q", "z"),
    ]
    weights = {
        "w1": W(5, 3, 3, 3),
        "b1": W(5),
        "w2": W(4, 5, 3, 3),
        "w3": W(8, 9),
        "c3": W(8),
        "w4": W(8, 6),
        "b4": W(6),
        "w5": W(3, 6),
    }
    model = save_graph(tmp_path / "model.onnx", nodes, weights, ["n", 3, 8, 8], opset=opset)
    check_against_oracle(model, save_samples(tmp_path, (3, 8, 8)))


@pytest.mark.parametrize("bias", [Bias.ZERO, Bias.KEEP, Bias.CENTER])
@pytest.mark.parametrize("per", [Per.LAYER, Per.CHANNEL])
@pytest.mark.parametrize("target", [1.0, 0.5])
def test_options_hold_in_an_independent_forward(
    tmp_path: Path, bias: Bias, per: Per, target: float
) -> None:
    """With every kind of bias, scale and target, torch sees what was asked for."""
    nodes, weights, shape = GRAPHS["matmul on either side, bias added behind"]
    conv_nodes, conv_weights, conv_shape = GRAPHS["transposed"]
    small = {k: v * np.float32(0.1) if k.startswith("b") else v for k, v in weights.items()}
    conv_small = {k: v * np.float32(0.1) if k[0] == "b" else v for k, v in conv_weights.items()}
    for index, (graph, values, size) in enumerate(
        [(nodes, small, shape), (conv_nodes, conv_small, conv_shape)]
    ):
        folder = tmp_path / str(index)
        folder.mkdir()
        model = save_graph(folder / "model.onnx", graph, values, ["n", *size])
        samples = save_samples(folder, size)
        report, written = run(model, samples, bias=bias, per=per, target_std=target)
        network = TorchNetwork(model)
        network.parameters |= {k: torch.from_numpy(v).double() for k, v in written.items()}
        outputs = network.forward({"x": np.load(samples)})
        for result, layer_node in zip(report.layers, network.layers(), strict=True):
            assert result.status is Status.CONVERGED, result.detail
            layer = result.planned.layer
            output = outputs[network.output(layer_node)].numpy()
            axis = 1 if layer.layout.is_convolution or layer.weight_value == "w2" else 2
            by_channel = np.moveaxis(output, axis, 0).reshape(output.shape[axis], -1)
            if per is Per.CHANNEL:
                np.testing.assert_allclose(by_channel.var(axis=1), target**2, rtol=1e-5)
            else:
                np.testing.assert_allclose(output.var(), target**2, rtol=1e-5)
            if layer.bias_value and bias is Bias.CENTER:
                np.testing.assert_allclose(by_channel.mean(axis=1), 0, atol=1e-5)
            if layer.bias_value and bias is Bias.ZERO:
                assert not written[layer.bias_value].any()
            if layer.bias_value and bias is Bias.KEEP:
                np.testing.assert_array_equal(written[layer.bias_value], values[layer.bias_value])


def test_one_number_as_bias_centres_the_blob(tmp_path: Path) -> None:
    """One number for all channels can't centre each; it centres all of them together."""
    nodes = [
        node("Gemm", "x w1 b1", "p"),
        node("Relu", "p", "r"),
        node("MatMul", "r w2", "z"),
    ]
    weights = {"w1": W(6, 8), "b1": W(1), "w2": W(8, 4)}
    model = save_graph(tmp_path / "model.onnx", nodes, weights, ["n", 6])
    samples = save_samples(tmp_path, (6,))
    _, written = run(model, samples, bias=Bias.CENTER)
    network = TorchNetwork(model)
    network.parameters |= {k: torch.from_numpy(v).double() for k, v in written.items()}
    outputs = network.forward({"x": np.load(samples)})
    assert outputs["p"].mean().item() == pytest.approx(0, abs=1e-6)
    for name in ("p", "z"):
        assert outputs[name].var(correction=0).item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("activation", ["Relu", "Tanh"])
def test_a_weight_used_twice(tmp_path: Path, activation: str) -> None:
    """The first use decides; layers behind the second are exact all the same."""
    nodes = [
        node("MatMul", "x w", "a"),
        node(activation, "a", "r"),
        node("MatMul", "r w", "b"),
        node(activation, "b", "s"),
        node("MatMul", "s v", "c"),
        node("Tanh", "c", "z"),
    ]
    model = save_graph(tmp_path / "model.onnx", nodes, {"w": W(6, 6), "v": W(6, 4)}, ["n", 6])
    samples = save_samples(tmp_path, (6,))
    report, written = run(model, samples)
    assert [result.status for result in report.layers] == [
        *(Status.CONVERGED, Status.SHARED, Status.CONVERGED)
    ]
    network = TorchNetwork(model)
    network.parameters |= {k: torch.from_numpy(v).double() for k, v in written.items()}
    outputs = network.forward({"x": np.load(samples)})
    for name in ("a", "c"):
        assert outputs[name].var(correction=0).item() == pytest.approx(1, abs=1e-5)
    shared = report.layers[1].after
    assert shared is not None
    assert outputs["b"].var(correction=0).item() == pytest.approx(shared.blob_variance, rel=1e-4)
    assert abs(shared.blob_variance - 1) > 1e-3
