"""Weights that a graph computes from parameters, checked by ONNX Runtime on the file itself."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lsuv_cli.core.choices import Bias, Per, Status
from lsuv_cli.core.records import LayerResult
from lsuv_cli.graph.homogeneous import degree_in
from support.command import Run
from support.graphs import i64, node, random_weight, save_graph
from support.inference import forward
from support.initialization import run
from support.sample_files import save_samples

Array = NDArray[Any]

INPUTS, OUTPUTS = 8, 6


def initialise(
    folder: Path, nodes: list[onnx.NodeProto], weights: dict[str, Array], **options: Any
) -> tuple[LayerResult, dict[str, Array], Array]:
    """Initialise a graph that multiplies `x` by `w`; return the layer, the weights and outputs."""
    nodes = [*nodes, node("MatMul", "x w", "y")]
    path = save_graph(folder / "m.onnx", nodes, weights, ("n", INPUTS))
    samples = save_samples(folder, (INPUTS,))
    report, written = run(path, samples, **options)
    (result,) = report.layers
    output = forward(path, written, {"x": np.load(samples)}, "y")
    return result, written, output.astype(np.float64)


def names_scaled(result: LayerResult) -> list[str]:
    return [part.name for part in result.planned.layer.scaled_parts]


NORMALISED = [
    node("ReduceL2", "v", "norm", axes=[0], keepdims=1),
    node("Div", "v norm", "unit"),
    node("Mul", "unit g", "w"),
]


@pytest.mark.parametrize("inputs", [INPUTS, 4])
def test_weight_normalisation(tmp_path: Path, inputs: int) -> None:
    """The weight is the drawn matrix itself, also where its columns can't all have norm 1."""
    nodes = [*NORMALISED, node("MatMul", "x w", "y")]
    weights = {"v": random_weight(inputs, OUTPUTS), "g": random_weight(1, OUTPUTS)}
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", inputs))
    samples = save_samples(tmp_path, (inputs,))
    report, written = run(path, samples)
    (result,) = report.layers
    layer = result.planned.layer
    assert (layer.weight_name, names_scaled(result), layer.is_drawn) == ("v", ["g"], True)
    feeds = {"x": np.load(samples)}
    assert forward(path, written, feeds, "y").var() == pytest.approx(1, abs=1e-5)
    weight = forward(path, written, feeds, "w").astype(np.float64) / float(result.scale)
    gram = weight @ weight.T if inputs < OUTPUTS else weight.T @ weight
    np.testing.assert_allclose(gram, np.eye(min(inputs, OUTPUTS)), atol=1e-5)


def test_an_equalised_learning_rate(tmp_path: Path) -> None:
    weights: dict[str, Array] = {
        "v": random_weight(INPUTS, OUTPUTS),
        "c": np.array(0.25, np.float32),
    }
    result, written, output = initialise(tmp_path, [node("Mul", "v c", "w")], weights)
    assert names_scaled(result) == ["v"]
    assert output.var() == pytest.approx(1, abs=1e-5)
    np.testing.assert_array_equal(written["c"], weights["c"])


def test_a_sum_with_a_product_of_low_rank(tmp_path: Path) -> None:
    nodes = [node("MatMul", "b a", "ba"), node("Add", "v ba", "w")]
    weights = {
        "v": random_weight(INPUTS, OUTPUTS),
        "b": random_weight(INPUTS, 2) * np.float32(0.3),
        "a": random_weight(2, OUTPUTS),
    }
    result, written, output = initialise(tmp_path, nodes, weights)
    assert names_scaled(result) == ["b", "v"]
    assert output.var() == pytest.approx(1, abs=1e-5)
    np.testing.assert_array_equal(written["a"], weights["a"])


def test_a_product_of_low_rank_alone_is_scaled_but_not_drawn(tmp_path: Path) -> None:
    weights = {"b": random_weight(INPUTS, 2), "a": random_weight(2, OUTPUTS)}
    result, written, output = initialise(tmp_path, [node("MatMul", "b a", "w")], weights)
    assert (result.status, result.planned.layer.is_drawn) == (Status.CONVERGED, False)
    assert output.var() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(written["b"], weights["b"] * float(result.scale), rtol=1e-6)
    np.testing.assert_array_equal(written["a"], weights["a"])


def test_a_mask_stays(tmp_path: Path) -> None:
    mask = (random_weight(INPUTS, OUTPUTS, seed=3) > 0).astype(np.float32)
    weights = {"mask": mask, "v": random_weight(INPUTS, OUTPUTS)}
    result, written, output = initialise(tmp_path, [node("Mul", "mask v", "w")], weights)
    assert names_scaled(result) == ["v"]
    assert output.var() == pytest.approx(1, abs=1e-5)
    np.testing.assert_array_equal(written["mask"], mask)


def test_a_rearranged_parameter_inside(tmp_path: Path) -> None:
    """The matrix is drawn as the product reads it, whatever stands between."""
    nodes = [
        node("Reshape", "v shape", "flat"),
        node("Mul", "flat c", "scaled"),
        node("Transpose", "scaled", "w", perm=[1, 0]),
    ]
    weights = {
        "v": random_weight(OUTPUTS, 2, INPUTS // 2),
        "shape": i64(OUTPUTS, INPUTS),
        "c": np.array(3, np.float32),
    }
    result, written, output = initialise(tmp_path, nodes, weights)
    assert output.var() == pytest.approx(1, abs=1e-5)
    rows = written["v"].reshape(OUTPUTS, INPUTS) / float(result.scale)
    np.testing.assert_allclose(rows @ rows.T, np.eye(OUTPUTS), atol=1e-5)


UNSCALABLE = {
    "normalised": [node("ReduceL2", "v", "n"), node("Div", "v n", "w")],
    "bounded": [node("Tanh", "v", "w")],
    "shifted": [
        onnx.helper.make_node("Constant", [], ["c"], value_float=2.0),
        node("Add", "v c", "w"),
    ],
}


@pytest.mark.parametrize("kind", UNSCALABLE)
def test_what_no_parameter_scales(tmp_path: Path, kind: str) -> None:
    weights = {"v": random_weight(INPUTS, OUTPUTS)}
    other = [*UNSCALABLE[kind], node("MatMul", "x u", "z"), node("Tanh", "z", "t")]
    nodes = [*other, node("MatMul", "t w", "y")]
    weights["u"] = random_weight(INPUTS, INPUTS)
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", INPUTS))
    report, written = run(path, save_samples(tmp_path, (INPUTS,)))
    first, second = report.layers
    assert (first.status, second.status) == (Status.CONVERGED, Status.UNSCALABLE)
    assert "no parameter scales its weight" in second.detail
    np.testing.assert_array_equal(written["v"], weights["v"])


def test_the_command_exits_with_4_unless_it_is_excluded(tmp_path: Path, lsuv: Run) -> None:
    nodes = [
        *(node("MatMul", "x u", "z"), *UNSCALABLE["normalised"], node("MatMul", "z w", "y")),
    ]
    weights = {"u": random_weight(INPUTS, INPUTS), "v": random_weight(INPUTS, OUTPUTS)}
    save_graph(tmp_path / "m.onnx", nodes, weights, ("n", INPUTS))
    save_samples(tmp_path, (INPUTS,))
    command = ("init", "m.onnx", "--data", "samples.npy", "--out", "o", "--force", "--json")
    shown = lsuv(*command)
    assert shown.returncode == 4
    assert "MatMul_y: unscalable: no parameter scales its weight" in shown.stderr
    layer = json.loads(shown.stdout)["layers"][1]
    assert (layer["status"], layer["computed"]) == ("unscalable", {"drawn": None, "scaled": []})
    assert lsuv(*command, "--exclude", "MatMul_y").returncode == 0


@pytest.mark.parametrize("batch_size", [None, 3])
@pytest.mark.parametrize("segment_bytes", [1, 10**9])
def test_a_weight_of_two_layers_in_several_batches(
    tmp_path: Path, batch_size: int | None, segment_bytes: int
) -> None:
    """Each call computes the weight anew; all use the same parameters."""
    square = {"v": random_weight(INPUTS, INPUTS), "g": random_weight(1, INPUTS)}
    again = [
        node("ReduceL2", "v", "norm2", axes=[0], keepdims=1),
        *(node("Div", "v norm2", "unit2"), node("Mul", "unit2 g", "w2")),
    ]
    nodes = [
        *(*NORMALISED, node("MatMul", "x w", "a"), node("Tanh", "a", "t"), *again),
        *(node("MatMul", "t w2", "b"), node("Tanh", "b", "s"), node("MatMul", "s u", "y")),
    ]
    weights = {**square, "u": random_weight(INPUTS, OUTPUTS)}
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", INPUTS))
    samples = save_samples(tmp_path, (INPUTS,))
    report, written = run(
        path, samples, batch_size=batch_size, max_segment_bytes=segment_bytes, memory_bytes=1
    )
    assert [one.status for one in report.layers] == [
        *(Status.CONVERGED, Status.SHARED, Status.CONVERGED)
    ]
    assert {one.iterations for one in report.layers} == {1}
    for value in ("a", "y"):
        variance = forward(path, written, {"x": np.load(samples)}, value).var()
        assert variance == pytest.approx(1, abs=1e-5), value


@pytest.mark.parametrize("bias", list(Bias))
@pytest.mark.parametrize("per", list(Per))
def test_options_hold_for_a_computed_weight(tmp_path: Path, bias: Bias, per: Per) -> None:
    nodes = [*NORMALISED, node("Gemm", "x w b", "y")]
    weights = {
        "v": random_weight(INPUTS, OUTPUTS),
        "g": random_weight(1, OUTPUTS),
        "b": random_weight(OUTPUTS) * np.float32(0.5),
    }
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", INPUTS))
    samples = save_samples(tmp_path, (INPUTS,))
    report, written = run(path, samples, bias=bias, per=per, targets=[("v", 2.0)])
    assert report.layers[0].status is Status.CONVERGED
    output = forward(path, written, {"x": np.load(samples)}, "y").astype(np.float64)
    variance = output.var(axis=0) if per is Per.CHANNEL else output.var()
    np.testing.assert_allclose(variance, 4, rtol=1e-5)
    if bias is Bias.CENTER:
        np.testing.assert_allclose(output.mean(axis=0), 0, atol=1e-5)


def test_one_gain_for_all_channels_can_not_scale_each(tmp_path: Path) -> None:
    nodes = [*NORMALISED[:2], node("Mul", "unit g", "w"), node("MatMul", "x u", "z")]
    weights = {
        "v": random_weight(INPUTS, OUTPUTS),
        "g": random_weight(1, 1),
        "u": random_weight(INPUTS, INPUTS),
    }
    path = save_graph(
        tmp_path / "m.onnx", [*nodes, node("MatMul", "z w", "y")], weights, ("n", INPUTS)
    )
    samples = save_samples(tmp_path, (INPUTS,))
    report, _ = run(path, samples, per=Per.CHANNEL)
    assert report.layers[-1].status is Status.UNSCALABLE
    report, _ = run(path, samples)
    assert report.layers[-1].status is Status.CONVERGED


@dataclass
class Expression:
    """A weight under construction: its nodes, the parameters it is made of, and its last value."""

    nodes: list[onnx.NodeProto]
    parameters: dict[str, Array]
    value: str

    def then(self, op: str, inputs: str, **attributes: Any) -> None:
        output = f"e{len(self.nodes)}"
        self.nodes.append(node(op, inputs.format(self.value), output, **attributes))
        self.value = output

    def parameter(self, *shape: int) -> str:
        name = f"p{len(self.parameters)}"
        self.parameters[name] = random_weight(*shape, seed=len(self.parameters)) + np.float32(0.1)
        return name


def add_step(made: Expression, kind: str) -> None:
    """Append one operation to a weight of shape (INPUTS, OUTPUTS)."""
    match kind:
        case "number":
            made.nodes.append(
                onnx.helper.make_node("Constant", [], [f"c{len(made.nodes)}"], value_float=0.3)
            )
            made.then("Mul", f"{{}} c{len(made.nodes) - 1}")
        case "gain":
            made.then("Mul", f"{{}} {made.parameter(1, OUTPUTS)}")
        case "mask":
            name = made.parameter(INPUTS, OUTPUTS)
            made.parameters[name] = (made.parameters[name] > 0).astype(np.float32)
            made.then("Mul", f"{name} {{}}")
        case "unit":
            before = made.value
            made.then("ReduceL2", "{}", axes=[0], keepdims=1)
            made.then("Div", f"{before} {{}}")
        case "centred":
            before = made.value
            made.then("ReduceMean", "{}", axes=[0], keepdims=1)
            made.then("Sub", f"{before} {{}}")
        case "low rank":
            before, b, a = made.value, made.parameter(INPUTS, 2), made.parameter(2, OUTPUTS)
            made.then("MatMul", f"{b} {a}")
            made.then("Add", f"{before} {{}}")
        case "sum":
            made.then("Add", f"{{}} {made.parameter(INPUTS, OUTPUTS)}")
        case "turned":
            made.then("Transpose", "{}", perm=[1, 0])
            made.then("Relu", "{}")
            made.then("Transpose", "{}", perm=[1, 0])
        case "bent":
            made.then("Tanh", "{}")


KINDS = ["number", "gain", "mask", "unit", "centred", "low rank", "sum", "turned", "bent"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=5))
def test_random_computed_weights(kinds: list[str]) -> None:
    """The scaled set gives variance 1, or no set of up to three parameters scales the weight."""
    made = Expression([], {}, "p0")
    made.parameter(INPUTS, OUTPUTS)
    for kind in kinds:
        add_step(made, kind)
    nodes = [*made.nodes, node("MatMul", f"x {made.value}", "z"), node("Tanh", "z", "t")]
    weights = {**made.parameters, "u": random_weight(OUTPUTS, OUTPUTS, seed=9)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = save_graph(
            folder / "m.onnx", [*nodes, node("MatMul", "t u", "y")], weights, ("n", INPUTS)
        )
        samples = save_samples(folder, (INPUTS,))
        report, written = run(path, samples)
        feeds = {"x": np.load(samples)}
        result = report.layers[0]
        assert result.planned.layer.name == "MatMul_z"
        if result.status is Status.UNSCALABLE:
            before = forward(path, weights, feeds, "z")
            for changed in small_sets(made.parameters):
                doubled = {n: v * (2 if n in changed else 1) for n, v in weights.items()}
                after = forward(path, doubled, feeds, "z")
                assert not np.allclose(after, 2 * before, rtol=1e-4), changed
            return
        assert result.status is Status.CONVERGED, result.detail
        variance = forward(path, written, feeds, "z").astype(np.float64).var()
        assert abs(variance - 1) <= 1e-4


def small_sets(parameters: dict[str, Array]) -> list[tuple[str, ...]]:
    """Return the sets of up to three parameters that are no masks."""
    usable = [n for n, v in parameters.items() if not np.isin(v, (0, 1)).all()]
    return [one for size in (1, 2, 3) for one in combinations(usable, size)]


def test_degrees() -> None:
    """The rules of single operators."""
    cases = {
        "Sqrt": 0.5,
        "Reciprocal": -1.0,
        "Neg": 1.0,
        "ReduceSumSquare": 2.0,
        "Exp": None,
        "Relu": 1.0,
    }
    for op, degree in cases.items():
        assert degree_in("y", [node(op, "x", "y")], {"x"}, {}) == degree, op
    assert degree_in("y", [node("Pow", "x two", "y")], {"x"}, {"two": 2.0}) == 2
    assert degree_in("y", [node("Pow", "x two", "y")], {"x"}, {}) is None
    assert degree_in("y", [node("Add", "x nil", "y")], {"x"}, {"nil": 0.0}) == 1
    assert degree_in("y", [node("Add", "x one", "y")], {"x"}, {"one": 1.0}) is None
    assert degree_in("y", [node("Where", "c x nil", "y")], {"x"}, {"nil": 0.0}) == 1


@pytest.mark.parametrize("bias", list(Bias))
@pytest.mark.parametrize("op", ["Gemm", "Add"])
def test_a_computed_bias(tmp_path: Path, bias: Bias, op: str) -> None:
    """It becomes zero with the parameters that it is computed from, unless it is to stay."""
    made = [
        onnx.helper.make_node("Constant", [], ["c"], value_float=0.5),
        *(node("Concat", "q k", "qk", axis=0), node("Mul", "qk c", "b")),
    ]
    last = [node("Gemm", "x w b", "y")]
    if op == "Add":
        last = [node("MatMul", "x w", "z"), node("Add", "z b", "y")]
    half = OUTPUTS // 2
    weights = {
        "w": random_weight(INPUTS, OUTPUTS),
        "q": random_weight(half),
        "k": random_weight(half, seed=1),
    }
    path = save_graph(tmp_path / "m.onnx", [*made, *last], weights, ("n", INPUTS))
    samples = save_samples(tmp_path, (INPUTS,))
    report, written = run(path, samples, bias=bias, tol=1e-4)
    assert report.layers[0].status is Status.CONVERGED
    for name in ("q", "k"):
        kept = weights[name] if bias is Bias.KEEP else np.zeros(half)
        np.testing.assert_array_equal(written[name], kept)
    output = forward(path, written, {"x": np.load(samples)}, "y")
    if bias is Bias.KEEP:
        output = output - np.concatenate([weights["q"], weights["k"]]) / 2
    assert output.var() == pytest.approx(1, abs=1e-4)
