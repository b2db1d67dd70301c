"""A new row in the table of operators is all that a new operator takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from lsuv_cli.core.choices import Status
from lsuv_cli.core.layout import Order, WeightLayout
from lsuv_cli.core.measurements import InstrumentedGraph
from lsuv_cli.core.records import Specs
from lsuv_cli.graph.operators.operator import Homogeneity, Operator
from lsuv_cli.graph.operators.products import WeightInfos, WeightProduct
from lsuv_cli.graph.operators.slopes import flat_nowhere
from lsuv_cli.graph.operators.table import OPERATORS
from lsuv_cli.instrument.sweep_graph import SweepGraph
from lsuv_cli.layers.activations import activations_behind
from lsuv_cli.layers.find import find_layers
from lsuv_cli.layers.left_alone import layers_left_alone
from lsuv_cli.reading.onnx_file import read_model
from support.graphs import node, random_weight, save_graph
from support.inference import forward
from support.initialization import run, scales
from support.sample_files import save_samples

SAMPLES = 23


@pytest.fixture
def segments(monkeypatch: pytest.MonkeyPatch) -> list[SweepGraph]:
    """The sweep of each segment that has been closed."""
    closed: list[SweepGraph] = []
    close = SweepGraph.close

    def close_and_note(sweep: SweepGraph, feeds: Specs) -> InstrumentedGraph:
        closed.append(sweep)
        return close(sweep, feeds)

    monkeypatch.setattr(SweepGraph, "close", close_and_note)
    return closed


def test_a_row_lets_scales_through_a_homogeneous_activation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, segments: list[SweepGraph]
) -> None:
    """A segment ends where a scale has to be multiplied in, so that all layers are in one."""
    nodes = [
        *(node("MatMul", "x w1", "a"), node("Neg", "a", "b"), node("MatMul", "b w2", "c")),
        *(node("Neg", "c", "d"), node("MatMul", "d w3", "y")),
    ]
    weights = {name: random_weight(6, 6, seed=seed) for seed, name in enumerate(("w1", "w2", "w3"))}
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", 6))
    samples = save_samples(tmp_path, (6,), SAMPLES)
    model, _ = read_model(path)
    assert activations_behind(model, find_layers(model)) == {}
    without, _ = run(path, samples, count=SAMPLES, batch_size=5)
    assert len(segments) == 3
    segments.clear()
    monkeypatch.setitem(
        OPERATORS, ("", "Neg"), Operator(Homogeneity.FIRST_INPUT, activation=flat_nowhere)
    )
    behind = activations_behind(model, find_layers(model))
    assert {index: activation.op_type for index, activation in behind.items()} == dict.fromkeys(
        (0, 1), "Neg"
    )
    report, written = run(path, samples, count=SAMPLES, batch_size=5)
    assert len(segments) == 1
    np.testing.assert_allclose(scales(report), scales(without), rtol=1e-6)
    value = np.load(samples)
    for name, sign in (("w1", 1), ("w2", -1), ("w3", -1)):
        value = sign * value @ written[name]
        assert value.var(dtype=np.float64) == pytest.approx(1, abs=1e-5)


def deformable(node: onnx.NodeProto, weights: WeightInfos) -> WeightProduct | None:
    """DeformConv's product; its inputs are data, weight, offsets, bias and mask."""
    data, weight, offsets, bias, mask = [*node.input, "", ""][:5]
    if weight not in weights:
        return None
    layout = WeightLayout(weights[weight].shape, Order.CONV)
    return WeightProduct(data, weight, layout, -3, bias, other_inputs=(offsets, "", mask))


@pytest.mark.parametrize("batch_size", [SAMPLES, 5])
def test_a_row_makes_a_layer_of_a_linear_operator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    """Its data may be unscaled, its offsets may not; both follow from the layer in front."""
    nodes = [
        *(node("Conv", "x w1", "a"), node("Relu", "a", "r"), node("Conv", "r w2", "offsets")),
        *(node("DeformConv", "r w3 offsets b3", "d"), node("Relu", "d", "e")),
        *(node("GlobalAveragePool", "e", "p"), node("Flatten", "p", "f")),
        node("MatMul", "f w4", "y"),
    ]
    weights = {
        "w1": random_weight(4, 3, 3, 3),
        "w2": random_weight(18, 4, 3, 3),
        "w3": random_weight(5, 4, 3, 3),
        "b3": random_weight(5),
        "w4": random_weight(5, 7),
    }
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", 3, 9, 9), opset=19)
    samples = save_samples(tmp_path, (3, 9, 9), SAMPLES)
    model, _ = read_model(path)
    assert layers_left_alone(model) == [
        "DeformConv_d (DeformConv): this operator is not initialised"
    ]
    monkeypatch.setitem(OPERATORS, ("", "DeformConv"), Operator(product=deformable))
    assert layers_left_alone(model) == []
    layers = [layer_node.layer for layer_node in find_layers(model)]
    assert [layer.op for layer in layers] == ["Conv", "Conv", "DeformConv", "MatMul"]
    assert layers[2].bias_value == "b3"
    report, written = run(path, samples, count=SAMPLES, batch_size=batch_size)
    assert {layer.status for layer in report.layers} == {Status.CONVERGED}
    kernel = written["w3"].reshape(5, -1) / float(report.layers[2].scale)
    np.testing.assert_allclose(kernel @ kernel.T, np.eye(5), atol=1e-5)
    assert not written["b3"].any()
    for value in ("a", "offsets", "d", "y"):
        output = forward(path, written, {"x": np.load(samples)}, value)
        assert output.var(dtype=np.float64) == pytest.approx(1, abs=1e-5), value
