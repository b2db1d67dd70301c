"""Weights that a layer does not read directly: behind other nodes, tied, in constants, functions.

Where a plain graph computes the same, both must give the same weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from lsuv_cli.core.choices import Bias, Per, PreInit, Status
from lsuv_cli.core.events import Silent
from lsuv_cli.core.options import InitOptions, SampleOptions
from lsuv_cli.jobs.init import initialize_weights
from lsuv_cli.layers.find import find_layers
from lsuv_cli.reading.onnx_file import read_model
from support.equal_graphs import HEAD, PLAIN, SAME_AS_PLAIN, V
from support.graphs import i64, node, random_weight, save_graph
from support.inference import forward, optimised
from support.initialization import run
from support.sample_files import save_samples
from support.small_models import tied_embedding

Array = NDArray[Any]

W = random_weight


def keep(model: Path, samples: Path, **options: Any) -> tuple[dict[str, float], dict[str, Array]]:
    """Scale a model's own weights; return the scales by layer name, and the written weights."""
    report, written = run(model, samples, pre_init=PreInit.KEEP, **options)
    for result in report.layers:
        assert result.status in (Status.CONVERGED, Status.SHARED), result.detail
        assert result.iterations == 1
    return {r.planned.layer.name: float(r.scale) for r in report.layers}, written


@pytest.mark.parametrize("bias", [Bias.ZERO, Bias.CENTER])
@pytest.mark.parametrize("name", SAME_AS_PLAIN)
def test_weights_behind_other_nodes(tmp_path: Path, name: str, bias: Bias) -> None:
    samples = save_samples(tmp_path, (8,), 64)
    expected, plain = keep(save_graph(tmp_path / "p.onnx", *PLAIN, ("n", 8)), samples, bias=bias)
    nodes, weights = SAME_AS_PLAIN[name]
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", 8))
    scales, written = keep(path, samples, bias=bias)
    assert list(scales.values()) == pytest.approx(list(expected.values()), rel=1e-6)
    floats = {key: value for key, value in weights.items() if value.dtype == np.float32}
    constants = {"w", "b"} if name == "in constants" else set()
    assert written.keys() == floats.keys() | constants
    for key, value in floats.items():
        assert written[key].shape == value.shape
    used = next(value for key, value in written.items() if key in ("w", "w3", "w4", "big"))
    first = used[:6] if name == "sliced" else used[:, 0] if name == "one of several" else used
    np.testing.assert_allclose(first.reshape(6, 8), plain["w"], rtol=1e-6)
    if "b" in written:
        np.testing.assert_allclose(written["b"].reshape(6), plain["b"], rtol=1e-4, atol=1e-6)
    if name == "sliced":
        np.testing.assert_array_equal(used[6:], W(2, 8))


@pytest.mark.parametrize("unused", [{}, {"p__1": W(3)}], ids=["plain", "a name like an inner one"])
def test_a_local_function(tmp_path: Path, unused: dict[str, Array]) -> None:
    samples = save_samples(tmp_path, (8,))
    expected, plain = keep(save_graph(tmp_path / "p.onnx", *PLAIN, ("n", 8)), samples)
    body = [node("Transpose", "weight", "wt"), node("MatMul", "data wt", "p")]
    linear = helper.make_function(
        "mine",
        "Linear",
        ["data", "weight", "bias"],
        ["out"],
        [*body, node("Add", "p bias", "out")],
        [helper.make_opsetid("", 17)],
    )
    call = helper.make_node("Linear", ["x", "w", "b"], ["a"], domain="mine", name="call")
    path = save_graph(tmp_path / "m.onnx", [call, *HEAD], PLAIN[1] | unused, ("n", 8))
    model = onnx.load(path)
    model.functions.append(linear)
    model.opset_import.append(helper.make_opsetid("mine", 1))
    onnx.save(model, path)
    scales, written = keep(path, samples)
    assert list(scales.values()) == pytest.approx(list(expected.values()), rel=1e-6)
    np.testing.assert_allclose(written["w"], plain["w"], rtol=1e-6)
    assert written.keys() == plain.keys() | unused.keys()


def test_packed_projections_are_drawn_and_scaled_each(tmp_path: Path) -> None:
    """Three matrices in one parameter, as attention's in_proj_weight."""
    nodes = [
        node("Split", "packed parts", "q k v", axis=0),
        *(node("Transpose", name, f"{name}t") for name in "qkv"),
        *(node("MatMul", f"x {name}t", f"{name}x") for name in "qkv"),
        node("Mul", "qx kx", "qk"),
        node("Add", "qk vx", "z"),
    ]
    nodes[0] = helper.make_node("Split", ["packed", "parts"], ["q", "k", "v"], axis=0)
    packed = W(24, 8) * np.repeat([1, 5, 0.1], 8)[:, None].astype(np.float32)
    weights = {"packed": packed, "parts": i64(8, 8, 8)}
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", 8))
    samples = save_samples(tmp_path, (8,))
    report, written = run(path, samples)
    assert [r.planned.layer.weight_name for r in report.layers] == [
        *("packed[0:8]", "packed[8:16]", "packed[16:24]")
    ]
    for part, result in zip(np.split(written["packed"], 3), report.layers, strict=True):
        assert result.status is Status.CONVERGED
        drawn = part / result.scale
        np.testing.assert_allclose(drawn @ drawn.T, np.eye(8), atol=1e-5)
        assert (np.load(samples) @ part.T).var() == pytest.approx(1, abs=1e-5)


def test_keys_and_values_that_the_file_slices_together_are_two_layers(tmp_path: Path) -> None:
    """Cross-attention: queries are multiplied on their own, keys and values together."""
    nodes = [
        helper.make_node("Split", ["in_proj_weight", "parts"], ["q", "kv"], axis=0),
        *(node("Transpose", name, f"{name}t") for name in ("q", "kv")),
        *(node("MatMul", "x qt", "a"), node("MatMul", "x kvt", "b")),
        *(node("Concat", "a b", "c", axis=-1), node("MatMul", "c v", "z")),
    ]
    weights = {"in_proj_weight": W(18, 6), "parts": i64(6, 12), "v": W(18, 4)}
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", 6))
    report, written = run(path, save_samples(tmp_path, (6,)))
    parts = ["in_proj_weight[0:6]", "in_proj_weight[6:12]", "in_proj_weight[12:18]"]
    assert [r.planned.layer.weight_name for r in report.layers] == [*parts, "v"]
    for part, result in zip(np.split(written["in_proj_weight"], 3), report.layers, strict=False):
        drawn = part / result.scale
        np.testing.assert_allclose(drawn @ drawn.T, np.eye(6), atol=1e-5)


@pytest.mark.parametrize("between", [True, False])
@pytest.mark.parametrize("verify", [True, False])
def test_an_embedding_that_is_the_output_projection_too(
    tmp_path: Path, between: bool, verify: bool
) -> None:
    """The logits have unit variance although the scale counts in the embedding, too."""
    path = tied_embedding(tmp_path / "m.onnx", between=between)
    ids = np.random.default_rng(0).integers(0, 30, (8, 5))
    np.save(tmp_path / "ids.npy", ids)
    report, written = run(path, tmp_path / "ids.npy", verify=verify, tol=1e-4)
    assert {r.status for r in report.layers} == {Status.CONVERGED}
    logits = forward(path, written, {"ids": ids}, "logits")
    assert logits.var() == pytest.approx(1, abs=1e-4)
    assert report.layers[-1].planned.layer.foreign_use == "Gather_e"
    if between:
        assert forward(path, written, {"ids": ids}, "m").var() == pytest.approx(1, abs=1e-4)


def test_a_tied_weight_with_one_use_left_as_it_is(tmp_path: Path) -> None:
    """Two layers share a weight and one is excluded: it is measured with the written weight."""
    nodes = [
        *(node("MatMul", "x w", "a"), node("Tanh", "a", "t"), node("MatMul", "t w", "b")),
        *(node("Tanh", "b", "s"), node("MatMul", "s v", "z")),
    ]
    path = save_graph(tmp_path / "m.onnx", nodes, {"w": W(6, 6), "v": V}, ("n", 6))
    samples = save_samples(tmp_path, (6,))
    report, written = run(path, samples, exclude=("MatMul_b",), verify=False)
    assert [r.status for r in report.layers] == [
        *(Status.CONVERGED, Status.EXCLUDED, Status.CONVERGED)
    ]
    feeds = {"x": np.load(samples)}
    for value in ("a", "z"):
        assert forward(path, written, feeds, value).var() == pytest.approx(1, abs=2e-3)


def test_tied_in_another_layout_and_scaled_by_channel(tmp_path: Path) -> None:
    """An autoencoder with tied weights: the decoder's channels are the encoder's inputs."""
    nodes = [
        *(node("MatMul", "x w", "a"), node("Tanh", "a", "t"), node("Transpose", "w", "wt")),
        *(node("MatMul", "t wt", "b"), node("Tanh", "b", "s"), node("MatMul", "s v", "z")),
    ]
    path = save_graph(tmp_path / "m.onnx", nodes, {"w": W(8, 6), "v": W(8, 4)}, ("n", 8))
    samples = save_samples(tmp_path, (8,))
    report, written = run(path, samples, per=Per.CHANNEL, tol=1e-4)
    assert [r.status for r in report.layers] == [
        *(Status.CONVERGED, Status.SHARED, Status.CONVERGED)
    ]
    assert report.layers[0].planned.needs_more_sweeps
    for value, channels in (("a", 6), ("z", 4)):
        variances = forward(path, written, {"x": np.load(samples)}, value).var(axis=0)
        np.testing.assert_allclose(variances, np.ones(channels), atol=1e-4)


def test_equal_constants_are_not_tied(tmp_path: Path) -> None:
    """PyTorch's exporter stores equal biases once; new values must not run into each other."""
    nodes = [
        *(node("Identity", "b1", "b2"), node("Gemm", "x w1 b1", "a"), node("Relu", "a", "r")),
        node("Gemm", "r w2 b2", "z"),
    ]
    weights = {"w1": W(6, 6), "b1": np.zeros(6, np.float32), "w2": W(6, 6) * 2}
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", 6))
    model = onnx.load(path)
    model.producer_name = "pytorch"
    onnx.save(model, path)
    samples = save_samples(tmp_path, (6,))
    _, written = run(path, samples, bias=Bias.CENTER)
    assert written.keys() == {"w1", "b1", "w2", "b2"}
    hidden = np.load(samples) @ written["w1"] + written["b1"]
    np.testing.assert_allclose(hidden.mean(axis=0), 0, atol=1e-6)
    output = np.maximum(hidden, 0) @ written["w2"] + written["b2"]
    np.testing.assert_allclose(output.mean(axis=0), 0, atol=1e-6)
    assert output.var() == pytest.approx(1, abs=1e-5)


def test_a_computed_weight_is_a_layer(tmp_path: Path) -> None:
    """Of a weight that two parameters scale, the one that holds the matrix is scaled."""
    nodes = [
        *(node("Mul", "w g", "scaled"), node("MatMul", "x scaled", "a"), node("Tanh", "a", "t")),
        node("MatMul", "t v", "z"),
    ]
    weights = {"w": W(8, 6), "g": np.full(6, 2, np.float32), "v": V}
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", 8))
    model, _ = read_model(path)
    first, _ = find_layers(model)
    assert (first.layer.name, first.layer.computed_weight) == ("MatMul_a", "scaled")
    assert [part.value for part in first.layer.scaled_parts] == ["w"]
    samples = save_samples(tmp_path, (8,))
    _, written = run(path, samples)
    np.testing.assert_array_equal(written["g"], weights["g"])
    assert (np.load(samples) @ (written["w"] * 2)).var() == pytest.approx(1, abs=1e-5)


def test_nothing_is_said_of_it_that_is_not_so(tmp_path: Path) -> None:
    """A tied weight that needs more than one sweep, and is not given them, is no success."""
    path = tied_embedding(tmp_path / "m.onnx", between=False)
    np.save(tmp_path / "ids.npy", np.random.default_rng(0).integers(0, 30, (8, 5)))
    options = InitOptions(
        model=path,
        out=tmp_path / "out",
        samples=SampleOptions((str(tmp_path / "ids.npy"),)),
        device="cpu",
        max_iter=1,
        verify=False,
    )
    report = initialize_weights(options, Silent())
    assert [result.status for result in report.layers] == [Status.MAX_ITERATIONS]


def branch(nodes: list[onnx.NodeProto], output: str) -> onnx.GraphProto:
    value = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    return helper.make_graph(nodes, "branch", [], [value])


@pytest.mark.parametrize("captured", ["a", "r"])
@pytest.mark.parametrize("verify", [True, False])
def test_values_that_a_body_captures_are_true(tmp_path: Path, captured: str, verify: bool) -> None:
    """An If whose bodies read a layer's output, or a value whose scale is pending."""
    then = branch([helper.make_node("Mul", [captured, "two"], ["then"])], "then")
    other = branch([helper.make_node("Neg", [captured], ["else"])], "else")
    nodes = [
        *(node("MatMul", "x w1", "a"), node("Relu", "a", "r")),
        helper.make_node("If", ["yes"], ["i"], name="if", then_branch=then, else_branch=other),
        *(node("Add", "i one", "s"), node("MatMul", "s w2", "b"), node("Relu", "r", "unused")),
    ]
    weights = {
        "w1": W(8, 6) * 30,
        "w2": W(6, 5),
        "two": np.full(1, 2, np.float32),
        "one": W(1, 6),
        "yes": np.array(True),
    }
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", 8), output="b")
    samples = save_samples(tmp_path, (8,))
    report, written = run(path, samples, pre_init=PreInit.KEEP, verify=verify)
    assert {r.status for r in report.layers} == {Status.CONVERGED}
    feeds = {"x": np.load(samples)}
    for value in ("a", "b"):
        assert forward(path, written, feeds, value).var() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("verify", [True, False])
def test_a_gemm_that_adds_data(tmp_path: Path, verify: bool) -> None:
    """Its addend is no bias: the product is the layer, as if an Add followed."""
    nodes = [
        *(node("MatMul", "x w1", "a"), node("Tanh", "a", "t")),
        *(node("Gemm", "t w2 x", "g", beta=0.5), node("MatMul", "g w3", "z")),
    ]
    weights = {"w1": W(8, 6), "w2": W(6, 8), "w3": W(8, 4)}
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", 8))
    samples = save_samples(tmp_path, (8,))
    report, written = run(path, samples, verify=verify)
    assert {r.status for r in report.layers} == {Status.CONVERGED}
    feeds = {"x": np.load(samples)}
    product = forward(path, written, feeds, "t") @ written["w2"]
    assert product.var() == pytest.approx(1, abs=1e-5)
    assert forward(path, written, feeds, "z").var() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("bias", list(Bias))
@pytest.mark.parametrize("exclude", [(), ("Gemm_a",)])
def test_a_bias_of_two_layers(tmp_path: Path, bias: Bias, exclude: tuple[str, ...]) -> None:
    """A shared bias is kept where one of its layers is excluded, and can centre neither."""
    nodes = [
        *(node("Gemm", "x w1 b", "a"), node("Relu", "a", "r"), node("Gemm", "r w2 b", "c")),
        *(node("Tanh", "c", "t"), node("MatMul", "t w3", "z")),
    ]
    weights = {"w1": W(8, 6), "b": W(6) * np.float32(0.3), "w2": W(6, 6), "w3": W(6, 4)}
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", 8))
    samples = save_samples(tmp_path, (8,))
    report, written = run(path, samples, bias=bias, exclude=exclude, verify=False)
    kept = bool(exclude) or bias is Bias.KEEP
    np.testing.assert_array_equal(written["b"], weights["b"] if kept else 0)
    for value, result in zip(("a", "c", "z"), report.layers, strict=True):
        if result.status is not Status.EXCLUDED:
            variance = forward(path, written, {"x": np.load(samples)}, value).var()
            assert variance == pytest.approx(1, abs=1e-5), value


@pytest.mark.parametrize("bias", list(Bias))
def test_a_repeated_module_with_a_bias(tmp_path: Path, bias: Bias) -> None:
    """The layers behind are exact with every kind of bias."""
    nodes = [
        *(node("Gemm", "x w b", "a"), node("Tanh", "a", "t"), node("Gemm", "t w b", "c")),
        *(node("Relu", "c", "r"), node("MatMul", "r v", "z")),
    ]
    weights = {"w": W(6, 6), "b": W(6) * np.float32(0.3), "v": V}
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", 6))
    samples = save_samples(tmp_path, (6,))
    report, written = run(path, samples, bias=bias)
    assert [r.status for r in report.layers] == [
        *(Status.CONVERGED, Status.SHARED, Status.CONVERGED)
    ]
    for value in ("a", "z"):
        variance = forward(path, written, {"x": np.load(samples)}, value).var()
        assert variance == pytest.approx(1, abs=1e-5), value


def test_what_an_activation_adds_is_no_bias(tmp_path: Path) -> None:
    """The 3 of a hard-swish stays 3."""
    nodes = [
        *(node("Conv", "x w1", "a"), node("Add", "a three", "s"), node("Clip", "s nil six", "c")),
        *(node("Mul", "a c", "m"), node("Conv", "m w2", "z")),
    ]
    weights = {
        "w1": W(4, 3, 3, 3),
        "w2": W(4, 4, 3, 3),
        "three": np.full(1, 3, np.float32),
        "nil": np.asarray(0, np.float32),
        "six": np.asarray(6, np.float32),
    }
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", 3, 9, 9))
    samples = save_samples(tmp_path, (3, 9, 9))
    _, written = run(path, samples)
    assert written["three"].item() == 3
    for value in ("a", "z"):
        variance = forward(path, written, {"x": np.load(samples)}, value).var()
        assert variance == pytest.approx(1, abs=1e-5)


def test_layers_behind_an_unreachable_one(tmp_path: Path) -> None:
    nodes = [
        *(node("MatMul", "x w1", "a"), node("Relu", "a", "r"), node("Gemm", "r w2 b", "c")),
        *(node("Relu", "c", "s"), node("MatMul", "s w3", "d"), node("Relu", "d", "t")),
        node("MatMul", "t w4", "z"),
    ]
    weights = {"w1": W(8, 6) * 9, "w2": W(6, 6), "b": W(6) * 50, "w3": W(6, 6), "w4": V}
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", 8))
    samples = save_samples(tmp_path, (8,))
    report, written = run(path, samples, bias=Bias.KEEP, verify=False)
    assert [r.status for r in report.layers] == [
        *(Status.CONVERGED, Status.UNREACHABLE, Status.CONVERGED, Status.CONVERGED)
    ]
    for value in ("a", "d", "z"):
        variance = forward(path, written, {"x": np.load(samples)}, value).var()
        assert variance == pytest.approx(1, abs=1e-4), value


@pytest.mark.parametrize("activation", ["Relu", "Tanh", "Sigmoid", "LeakyRelu", "Clip"])
def test_fused_operators_are_taken_apart(tmp_path: Path, activation: str) -> None:
    """A file that ONNX Runtime has optimised gives the results of the original file."""
    limits = " low high" if activation == "Clip" else ""
    nodes = [
        *(node("Conv", "x w1 b1", "a"), node(activation, "a" + limits, "r")),
        *(node("Conv", "r w2", "c"), node("Relu", "c", "s"), node("Flatten", "s", "f")),
        *(node("Gemm", "f w3 b3", "g"), node(activation, "g" + limits, "t")),
        *(node("Transpose", "w4", "w4t"), node("MatMul", "t w4t", "m"), node("Mul", "m half", "z")),
    ]
    weights = {
        "w1": W(4, 3, 3, 3),
        "b1": W(4),
        "w2": W(5, 4, 3, 3),
        "w3": W(125, 6),
        "b3": W(6),
        "w4": W(7, 6),
        "half": np.full(1, 0.5, np.float32),
        "low": np.asarray(-1, np.float32),
        "high": np.asarray(1, np.float32),
    }
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", 3, 9, 9))
    fused = optimised(path, tmp_path)
    operators = {n.op_type for n in onnx.load(fused).graph.node}
    assert "FusedConv" in operators
    samples = save_samples(tmp_path, (3, 9, 9))
    expected, plain = keep(path, samples)
    scales, written = keep(fused, samples)
    assert list(scales.values()) == pytest.approx(list(expected.values()), rel=1e-5)
    for key in ("w1", "w2", "w3"):
        np.testing.assert_allclose(written[key], plain[key], rtol=1e-5)


def test_fused_matmul(tmp_path: Path) -> None:
    fused = helper.make_node(
        "FusedMatMul", ["x", "w"], ["a"], name="f", domain="com.microsoft", transB=1, alpha=0.25
    )
    path = save_graph(tmp_path / "m.onnx", [fused, *HEAD], {"w": W(6, 8), "v": V}, ("n", 8))
    model = onnx.load(path)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, path)
    samples = save_samples(tmp_path, (8,))
    scales, written = keep(path, samples)
    assert list(scales) == ["f", "MatMul_z"]
    assert (np.load(samples) @ written["w"].T).var() == pytest.approx(1, abs=1e-5)
    assert forward(path, written, {"x": np.load(samples)}, "z").var() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("equation", "weight", "data", "output"),
    [
        ("nti,io->nto", (8, 6), (5, 8), (5, 6)),
        ("nti,oi->nto", (6, 8), (5, 8), (5, 6)),
        ("...i,io->...o", (8, 6), (5, 8), (5, 6)),
        ("ntd,dhk->nthk", (8, 2, 3), (5, 8), (5, 2, 3)),
        ("nthk,hkd->ntd", (2, 3, 8), (5, 2, 3), (5, 8)),
        ("nthk,dhk->ntd", (8, 2, 3), (5, 2, 3), (5, 8)),
    ],
)
@pytest.mark.parametrize("weight_first", [False, True])
def test_einsum(
    tmp_path: Path,
    equation: str,
    weight: tuple[int, ...],
    data: tuple[int, ...],
    output: tuple[int, ...],
    weight_first: bool,
) -> None:
    """Each is a layer: orthonormal as a matrix, with an output of unit variance."""
    inputs = ["x", "w"]
    if weight_first:
        left, right = equation.split("->", maxsplit=1)[0].split(",")
        equation = f"{right},{left}->{equation.split('->')[1]}"
        inputs.reverse()
    nodes = [
        helper.make_node("Einsum", inputs, ["e"], name="sum", equation=equation),
        *(node("Tanh", "e", "t"), node("Flatten", "t", "f"), node("Gemm", "f v", "z")),
    ]
    weights = {"w": W(*weight), "v": W(int(np.prod(output)), 3)}
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", *data))
    samples = save_samples(tmp_path, data)
    report, written = run(path, samples)
    assert [r.planned.layer.name for r in report.layers] == ["sum", "Gemm_z"]
    assert written["w"].shape == weight
    feeds = {"x": np.load(samples)}
    for value in ("e", "z"):
        assert forward(path, written, feeds, value).var() == pytest.approx(1, abs=1e-5)
    matrix = written["w"].reshape(6, 8) if weight[0] * weight[1] == 6 or weight[0] == 6 else None
    matrix = written["w"].reshape(8, 6) if matrix is None else matrix.T
    gram = matrix.T @ matrix / float(report.layers[0].scale) ** 2
    np.testing.assert_allclose(gram, np.eye(6), atol=1e-5)


@pytest.mark.parametrize("equation", ["nti,ti->nt", "nti,io->n", "nti,iot->no"])
def test_other_einsums_are_left_alone(tmp_path: Path, equation: str) -> None:
    shape = {"ti": (5, 8), "io": (8, 6), "iot": (8, 6, 5)}
    weight = W(*shape[equation.split("->", maxsplit=1)[0].split(",")[1]])
    nodes = [
        node("MatMul", "x v", "m"),
        helper.make_node("Einsum", ["m", "w"], ["e"], name="sum", equation=equation),
    ]
    path = save_graph(tmp_path / "m.onnx", nodes, {"w": weight, "v": W(8, 8)}, ("n", 5, 8))
    model, _ = read_model(path)
    assert [layer_node.layer.name for layer_node in find_layers(model)] == ["MatMul_m"]


@pytest.mark.parametrize("per", Per)
def test_the_bias_of_a_use_along_the_other_axis(tmp_path: Path, per: Per) -> None:
    nodes = [
        *(node("MatMul", "x w", "h0"), node("Add", "h0 b", "h"), node("Relu", "h", "r")),
        *(node("Transpose", "w", "t"), node("MatMul", "r t", "z0"), node("Add", "z0 c", "z")),
    ]
    weights = {"w": W(8, 6), "b": W(6), "c": W(8)}
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", 8))
    _, written = run(path, save_samples(tmp_path, (8,)), per=per)
    assert not written["b"].any()
    assert not written["c"].any()
