"""ONNX Runtime's fused operators: taken apart, the graph computes the same, and its layers are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

from lsuv_cli.core.choices import Bias, Status
from lsuv_cli.layers.find import find_layers
from lsuv_cli.layers.left_alone import layers_left_alone
from lsuv_cli.reading.onnx_file import read_model
from support.graphs import in_normal_form, node, random_weight, save_graph
from support.inference import forward, optimised, outputs_of
from support.initialization import run
from support.sample_files import save_batch
from support.torch_export import export
from support.torch_models import BATCH, built, example
from support.torch_variances import variances_by_call

Array = NDArray[Any]

W = random_weight
SAMPLES, TOKENS, WIDTH, HEADS = 8, 5, 8, 2
X = W(SAMPLES, TOKENS, WIDTH, seed=3) * np.float32(1.5) + np.float32(0.25)


def fused(op: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    """A node of ONNX Runtime's own; "-" leaves an input or output out."""
    read, made = ([name.strip("-") for name in side.split()] for side in (inputs, outputs))
    options: dict[str, Any] = {"name": op.lower(), "domain": "com.microsoft", **attributes}
    return helper.make_node(op, read, made, **options)


def save_fused(
    folder: Path,
    nodes: list[onnx.NodeProto],
    weights: dict[str, Array],
    inputs: Mapping[str, tuple[int, Sequence[int | str]]] | None = None,
) -> Path:
    """A graph of x, with more inputs perhaps, that ends in z."""
    path = save_graph(folder / "m.onnx", nodes, weights, ("n", "tokens", WIDTH), output="z")
    model = onnx.load(path)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    for name, (kind, shape) in (inputs or {}).items():
        model.graph.input.append(helper.make_tensor_value_info(name, kind, shape))
    onnx.save(model, path)
    return path


def save_feeds(folder: Path, feeds: dict[str, Array]) -> Path:
    path = folder / "feeds.npz"
    np.savez(path, **feeds)  # type: ignore[arg-type]
    return path


def check_same(path: Path, feeds: dict[str, Array], *, count: int = 1) -> onnx.ModelProto:
    """The normal form computes what the file does; returns it."""
    normal = in_normal_form(path)
    expected, found = outputs_of(onnx.load(path), feeds), outputs_of(normal, feeds)
    assert len(expected) == count
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-6 * np.abs(other).max())
    return normal


def operators(model: onnx.ModelProto) -> list[str]:
    return [n.op_type for n in model.graph.node if n.op_type != "Constant"]


LENGTHS = np.array([5, 2, 3, 1, 4, 5, 2, 3], np.int32)
KEYS = (np.arange(TOKENS) < LENGTHS[:, None]).astype(np.int32)
PAIRS = np.repeat(KEYS[:, None], TOKENS, axis=1)
PAIRS[:, 0, 1] = 1 - PAIRS[:, 0, 1]
MASKS: dict[str, tuple[list[int | str], Array]] = {
    "lengths": (["n"], LENGTHS),
    "keys": (["n", "tokens"], KEYS),
    "pairs": (["n", "tokens", "tokens"], PAIRS),
}
FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "unequal parts": {"qkv_hidden_sizes": [8, 8, 12]},
    "causal": {"unidirectional": 1},
    "scaled": {"scale": 0.3},
    "weak mask": {"mask_filter_value": -2.0, "unidirectional": 1},
}


def attention_graph(*, masked: bool = False, biased: bool = False, **attributes: Any) -> Any:
    """A layer, attention with its three layers in one weight, and another layer."""
    last = attributes.get("qkv_hidden_sizes", [8])[-1]
    columns = np.repeat([1, 5, 0.2], [8, 8, last]).astype(np.float32)
    weights = {
        "w": W(WIDTH, 6),
        "qkv": W(6, 16 + last) * columns,
        "b": W(16 + last),
        "v": W(last, 4),
        "position": W(1, HEADS, TOKENS, TOKENS) * 3,
    }
    inputs = f"t qkv b {'mask' if masked else '-'} - {'position' if biased else '-'}"
    nodes = [
        *(node("MatMul", "x w", "a"), node("Tanh", "a", "t")),
        fused("Attention", inputs, "y", num_heads=HEADS, **attributes),
        node("MatMul", "y v", "z"),
    ]
    return nodes, weights


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("mask", [None, *MASKS])
@pytest.mark.parametrize("form", FORMS)
def test_attention_computes_the_same(
    tmp_path: Path, form: str, mask: str | None, biased: bool
) -> None:
    nodes, weights = attention_graph(masked=bool(mask), biased=biased, **FORMS[form])
    feeds, inputs = {"x": X}, {}
    if mask:
        shape, feeds["mask"] = MASKS[mask]
        inputs["mask"] = (TensorProto.INT32, shape)
    normal = check_same(save_fused(tmp_path, nodes, weights, inputs), feeds)
    assert operators(normal) == [
        *("MatMul", "Tanh", *("MatMul", "Add") * 3, "MultiHeadAttention", "MatMul")
    ]


def test_a_mask_that_the_graph_computes(tmp_path: Path) -> None:
    """Of int64 tokens, as exporters do; its shape is that of an input."""
    nodes, weights = attention_graph(masked=True)
    nodes.insert(0, node("Cast", "given", "mask", to=TensorProto.INT32))
    path = save_fused(tmp_path, nodes, weights, {"given": (TensorProto.INT64, ["n", "tokens"])})
    normal = check_same(path, {"x": X, "given": KEYS.astype(np.int64)})
    assert "MultiHeadAttention" in operators(normal)


def test_attention_without_a_bias(tmp_path: Path) -> None:
    """ONNX Runtime's kernel for the CPU crashes on it, so it is compared with a bias of zero."""
    nodes, weights = attention_graph()
    weights["b"] = np.zeros_like(weights["b"])
    (expected,) = outputs_of(onnx.load(save_fused(tmp_path, nodes, weights)), {"x": X})
    nodes[2].input[2] = ""
    normal = in_normal_form(save_fused(tmp_path, nodes, weights))
    assert "Add" not in operators(normal)
    (found,) = outputs_of(normal, {"x": X})
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("bias", list(Bias))
@pytest.mark.parametrize("form", ["plain", "unequal parts"])
def test_attention_is_three_layers(tmp_path: Path, form: str, bias: Bias) -> None:
    nodes, weights = attention_graph(**FORMS[form])
    if bias is Bias.KEEP:  # within reach of unit variance
        weights["b"] *= np.float32(0.3)
    path = save_fused(tmp_path, nodes, weights)
    report, written = run(path, save_feeds(tmp_path, {"x": X}), bias=bias)
    assert {r.status for r in report.layers} == {Status.CONVERGED}
    roles = ("query", "key", "value")
    assert [r.planned.layer.name for r in report.layers] == [
        *("MatMul_a", *(f"attention.{role}" for role in roles), "MatMul_z")
    ]
    assert {"qkv", "b"} <= written.keys()
    incoming = forward(path, written, {"x": X}, "t")
    limits = [8, 16]
    parts = np.split(written["qkv"], limits, axis=1)
    biases = np.split(written["b"], limits)
    for part, added, result in zip(parts, biases, report.layers[1:4], strict=True):
        drawn = part / float(result.scale)
        np.testing.assert_allclose(drawn @ drawn.T, np.eye(6), atol=1e-5)
        product = incoming @ part + added
        if bias is Bias.CENTER:
            np.testing.assert_allclose(product.mean(axis=(0, 1)), 0, atol=1e-5)
        assert product.var() == pytest.approx(1, abs=1e-5)
    kept = weights["b"] if bias is Bias.KEEP else np.zeros_like(weights["b"])
    if bias is not Bias.CENTER:
        np.testing.assert_array_equal(written["b"], kept)
    assert forward(path, written, {"x": X}, "z").var() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("mask", "more"),
    [
        ([1, 1], {}),
        (["n", 1], {}),
        (["two of each"], {}),
        ([], {}),
        (None, {}),
        (["n", 1, "most", "most"], {}),
        (["n", "tokens"], {"do_rotary": 1}),
        (["n", "tokens"], {"past_present_share_buffer": 1}),
    ],
)
def test_attention_of_another_form_is_left_alone(
    tmp_path: Path, mask: list[int | str] | None, more: dict[str, Any]
) -> None:
    nodes, weights = attention_graph(masked=True, **more)
    path = save_fused(tmp_path, nodes, weights, {"mask": (TensorProto.INT32, mask or [])})
    if mask is None:  # an input without a shape
        shapeless = onnx.load(path)
        shapeless.graph.input[-1].type.tensor_type.ClearField("shape")
        onnx.save(shapeless, path)
    model, _ = read_model(path)
    assert "Attention" in operators(model.skeleton)
    assert layers_left_alone(model) == ["attention (Attention): this operator is not initialised"]


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [("t qkv b - past", "y"), ("t qkv b", "y present"), ("t scaled b", "y"), ("t qkv c", "y")],
)
def test_attention_with_a_past_or_a_computed_weight_is_left_alone(
    tmp_path: Path, inputs: str, outputs: str
) -> None:
    nodes, weights = attention_graph()
    nodes[2] = fused("Attention", inputs, outputs, num_heads=HEADS)
    nodes[:0] = [node("Mul", "qkv qkv", "scaled"), node("Mul", "b b", "c")]
    past: list[int | str] = [2, "n", HEADS, "before", 4]
    path = save_fused(tmp_path, nodes, weights, {"past": (TensorProto.FLOAT, past)})
    model, _ = read_model(path)
    assert "Attention" in operators(model.skeleton)
    assert [layer_node.layer.name for layer_node in find_layers(model)] == ["MatMul_a", "MatMul_z"]


GELUS = {
    "BiasGelu": (["MatMul", "Add", "Gelu", "MatMul"], "m b"),
    "FastGelu": (["MatMul", "Add", "FastGelu", "MatMul"], "m b"),
}
NORMS = {
    "SkipLayerNormalization": "gamma beta b",
    "SkipSimplifiedLayerNormalization": "gamma b",
}


def norm_graph(op: str, *, product_first: bool, fetched: bool) -> Any:
    """A product, its bias in the normalisation, and the sum of both used further on."""
    branches = "m r" if product_first else "r m"
    nodes = [
        *(node("Mul", "x half", "r"), node("MatMul", "x w", "m")),
        fused(op, f"{branches} {NORMS[op]}", "y - - s" if fetched else "y"),
        node("MatMul", "y v", "p"),
        node("Add", "p s" if fetched else "p r", "q"),
        node("MatMul", "q u", "z"),
    ]
    weights = {
        "half": np.full(1, 0.5, np.float32),
        "w": W(WIDTH, WIDTH),
        "gamma": W(WIDTH),
        "beta": W(WIDTH) * 2,
        "b": W(WIDTH) * 3,
        "v": W(WIDTH, WIDTH),
        "u": W(WIDTH, 4),
    }
    return nodes, weights


def check_bias(path: Path, folder: Path, names: list[str], values: list[str], bias: Bias) -> None:
    """The bias is that of the layer before, and every product has unit variance."""
    report, written = run(path, save_feeds(folder, {"x": X}), bias=bias)
    assert [r.planned.layer.name for r in report.layers] == names
    assert {r.status for r in report.layers} == {Status.CONVERGED}
    product = forward(path, written, {"x": X}, values[0]) + written["b"]
    if bias is Bias.CENTER:
        np.testing.assert_allclose(product.mean(axis=(0, 1)), 0, atol=1e-5)
    else:
        np.testing.assert_array_equal(written["b"], 0)
    for value in values:
        found = product if value == values[0] else forward(path, written, {"x": X}, value)
        assert found.var() == pytest.approx(1, abs=1e-5), value


@pytest.mark.parametrize("bias", [Bias.ZERO, Bias.CENTER])
@pytest.mark.parametrize("op", GELUS)
def test_a_bias_inside_an_activation(tmp_path: Path, op: str, bias: Bias) -> None:
    expected, inputs = GELUS[op]
    nodes = [node("MatMul", "x w", "m"), fused(op, inputs, "y"), node("MatMul", "y v", "z")]
    path = save_fused(tmp_path, nodes, {"w": W(WIDTH, 6), "b": W(6) * 3, "v": W(6, 4)})
    assert operators(check_same(path, {"x": X})) == expected
    check_bias(path, tmp_path, ["MatMul_m", "MatMul_z"], ["m", "z"], bias)


@pytest.mark.parametrize("bias", list(Bias))
def test_the_biases_inside_an_attention(tmp_path: Path, bias: Bias) -> None:
    nodes = [
        *(node("MatMul", f"x w{part}", part) for part in "qkv"),
        fused("MultiHeadAttention", "q k v b", "y", num_heads=HEADS),
        node("MatMul", "y u", "z"),
    ]
    weights = {f"w{part}": W(WIDTH, WIDTH, seed=i) for i, part in enumerate("qkv")}
    weights |= {"b": W(3 * WIDTH, seed=5) * np.float32(0.5), "u": W(WIDTH, 4)}
    path = save_fused(tmp_path, nodes, weights)
    model = check_same(path, {"x": X})
    assert operators(model).count("Add") == 3
    np.save(tmp_path / "x.npy", X)
    report, written = run(path, tmp_path / "x.npy", bias=bias)
    assert {result.status for result in report.layers} == {Status.CONVERGED}
    for index, part in enumerate("qkv"):
        own = written["b"][index * WIDTH : (index + 1) * WIDTH]
        output = (X @ written[f"w{part}"] + own).astype(np.float64)
        assert output.var() == pytest.approx(1, abs=1e-5)
        assert own.any() == (bias is not Bias.ZERO)
        if bias is Bias.CENTER:
            np.testing.assert_allclose(output.mean((0, 1)), 0, atol=1e-5)


def test_an_activation_without_a_bias_stays(tmp_path: Path) -> None:
    nodes = [node("MatMul", "x w", "m"), fused("FastGelu", "m", "z")]
    path = save_fused(tmp_path, nodes, {"w": W(WIDTH, 6)})
    assert operators(check_same(path, {"x": X})) == ["MatMul", "FastGelu"]


@pytest.mark.parametrize("bias", [Bias.ZERO, Bias.CENTER])
@pytest.mark.parametrize("fetched", [False, True])
@pytest.mark.parametrize("product_first", [False, True])
@pytest.mark.parametrize("op", NORMS)
def test_a_bias_inside_a_normalisation(
    tmp_path: Path, op: str, product_first: bool, fetched: bool, bias: Bias
) -> None:
    nodes, weights = norm_graph(op, product_first=product_first, fetched=fetched)
    path = save_fused(tmp_path, nodes, weights)
    assert operators(check_same(path, {"x": X})) == [
        *("Mul", "MatMul", "Add", op, "MatMul", "Add", "MatMul")
    ]
    check_bias(path, tmp_path, ["MatMul_m", "MatMul_p", "MatMul_z"], ["m", "p", "z"], bias)


@pytest.mark.parametrize("op", NORMS)
def test_a_normalisation_without_a_bias_stays(tmp_path: Path, op: str) -> None:
    nodes, weights = norm_graph(op, product_first=True, fetched=True)
    nodes[2].input.pop()
    path = save_fused(tmp_path, nodes, weights)
    assert operators(check_same(path, {"x": X})) == [
        *("Mul", "MatMul", op, "MatMul", "Add", "MatMul")
    ]


def test_the_sum_as_an_output_of_the_model(tmp_path: Path) -> None:
    """The fourth output of SkipLayerNormalization, fetched as it is."""
    nodes, weights = norm_graph("SkipLayerNormalization", product_first=False, fetched=True)
    path = save_fused(tmp_path, nodes, weights)
    model = onnx.load(path)
    model.graph.output.append(helper.make_tensor_value_info("s", TensorProto.FLOAT, None))
    onnx.save(model, path)
    check_same(path, {"x": X}, count=2)


@pytest.mark.parametrize("biased", [False, True])
def test_gemm_fast_gelu(tmp_path: Path, biased: bool) -> None:
    """ONNX Runtime has it for AMD's devices only, so numpy says what it computes."""
    inputs = "x w b" if biased else "x w"
    nodes = [fused("GemmFastGelu", inputs, "y"), node("MatMul", "y v", "z")]
    weights = {"w": W(WIDTH, 6), "b": W(6) * 3, "v": W(6, 4)}
    path = save_fused(tmp_path, nodes, weights)

    def last(found: dict[str, Array]) -> Array:
        sums = X @ found["w"] + (found["b"] if biased else 0)
        cubed = np.sqrt(2 / np.pi) * (sums + 0.044715 * sums**3)
        return np.asarray(0.5 * sums * (1 + np.tanh(cubed)) @ found["v"])

    (value,) = outputs_of(in_normal_form(path), {"x": X})
    np.testing.assert_allclose(value, last(weights), atol=2e-5)
    report, written = run(path, save_feeds(tmp_path, {"x": X}))
    assert [r.planned.layer.name for r in report.layers] == ["gemmfastgelu", "MatMul_z"]
    np.testing.assert_array_equal(written["b"], 0 if biased else weights["b"])
    assert (X @ written["w"]).var() == pytest.approx(1, abs=1e-5)
    assert last(written).var() == pytest.approx(1, abs=1e-4)


def test_new_names_are_new(tmp_path: Path) -> None:
    """The graph has values of the names that the new ones would get."""
    nodes, weights = attention_graph()
    roles = [f"y/{role}" for role in ("query", "key", "value")]
    taken = ["y/sizes", *(f"{role}{end}" for role in roles for end in ("", "/weight", "/bias"))]
    nodes[-1:] = [node("MatMul", "y v", "p"), fused("BiasGelu", "p g", "o")]
    nodes += [node("Identity", "o", name) for name in [*taken, "o/sum"]]
    nodes.append(node("Sum", " ".join([*taken, "o/sum"]), "z"))
    normal = check_same(save_fused(tmp_path, nodes, {**weights, "g": W(4)}), {"x": X})
    assert {"MultiHeadAttention", "Gelu"} <= set(operators(normal))


@pytest.mark.parametrize("exporter", ["script", "dynamo"])
@pytest.mark.parametrize("name", ["ViT", "GPT"])
def test_an_optimised_transformer(tmp_path: Path, name: str, exporter: str) -> None:
    """ONNX Runtime's own file has the plain one's layers, biases and variances."""
    module, inputs = built(name), example(name)
    export(module, inputs, tmp_path / "m.onnx", exporter)
    path = optimised(tmp_path / "m.onnx", tmp_path)
    own = {n.op_type for n in onnx.load(path).graph.node if n.domain == "com.microsoft"}
    assert "BiasGelu" in own
    assert ("SkipLayerNormalization" in own) == (exporter == "dynamo")
    check_same(path, {"input0": inputs[0].numpy()})
    batch, options = save_batch(tmp_path, inputs), {"count": BATCH, "tol": 1e-4}
    plain, _ = run(tmp_path / "m.onnx", batch, **options)
    report, written = run(path, batch, names="onnx", **options)
    assert {r.status for r in report.layers} == {Status.CONVERGED}
    for one, other in zip(report.layers, plain.layers, strict=True):
        assert (one.planned.layer.bias_value is None) == (other.planned.layer.bias_value is None)
    # A tied embedding's transpose, which the file has as a parameter of its own.
    views = read_model(path)[0].views
    written |= {key: view.of(written[view.parameter]) for key, view in views.items()}
    # The sum of the product and its bias, or where a fused node adds the bias the product.
    values = {n.output[0] for n in onnx.load(path).graph.node}
    outputs = {r.planned.layer.output for r in report.layers}
    inside = outputs - values
    products = {n.input[0] for n in onnx.load(path).graph.node if n.op_type == "BiasGelu"}
    assert len(inside) == len(products) + (exporter == "dynamo")
    for value in (outputs & values) | products:
        found = forward(path, written, {"input0": inputs[0].numpy()}, value)
        assert found.var() == pytest.approx(1, abs=1e-4), value
    for key, tensor in written.items():
        assert not key.endswith((".query.bias", ".mlp.0.bias", ".mlp.2.bias")) or not tensor.any()


@pytest.mark.parametrize("exporter", ["script", "dynamo"])
def test_an_optimised_transformer_back_in_pytorch(tmp_path: Path, exporter: str) -> None:
    """All but what ONNX Runtime stores once, because its values were equal, loads back."""
    module, inputs = built("ViT"), example("ViT")
    export(module, inputs, tmp_path / "m.onnx", exporter)
    path = optimised(tmp_path / "m.onnx", tmp_path)
    batch = save_batch(tmp_path, inputs)
    report, written = run(path, batch, count=BATCH, names="torch")
    state = {key: torch.from_numpy(value) for key, value in written.items()}
    missing, unexpected = module.load_state_dict(state, strict=False)
    assert not unexpected
    assert all("norm" in name for name in missing)
    found = variances_by_call(module, inputs)
    assert len(found) == len(report.layers)
    for layer, values in found.items():
        assert values == [pytest.approx(1, abs=2e-5)], layer
