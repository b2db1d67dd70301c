"""Einsum with one constant operand: every equation that is a matrix product is a layer."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from lsuv_cli.core.choices import Bias, Per, Status
from lsuv_cli.layers.find import find_layers
from lsuv_cli.layers.left_alone import layers_left_alone
from lsuv_cli.reading.onnx_file import read_model
from support.graphs import in_normal_form, node, random_weight, save_graph
from support.inference import forward, outputs_of
from support.initialization import run
from support.sample_files import save_samples

W = random_weight
SIZES = {"b": 8, "t": 5, "s": 5, "h": 4, "w": 3, "c": 6, "i": 6, "d": 8, "k": 2, "o": 7, "e": 7}
SIZES |= {"n": 3, "g": 3, "j": 6, "T": 5}

# The equation; its layer's inputs and outputs; the operators it becomes.
PRODUCTS = [
    ("bti,io->bto", (6, 7), "MatMul"),
    ("bti,oi->bto", (6, 7), "MatMul"),
    ("bij,kj->bik", (6, 2), "MatMul"),
    ("bi,io->bo", (6, 7), "MatMul"),
    ("btd,dhk->bthk", (8, 8), "MatMul Reshape"),
    ("bthk,hkd->btd", (8, 8), "Reshape MatMul"),
    ("bhtk,hkd->btd", (8, 8), "Transpose Reshape MatMul"),
    ("btd,dhk->bhtk", (8, 8), "MatMul Reshape Transpose"),
    ("btkh,dhk->btd", (8, 8), "Transpose Reshape MatMul"),
    ("bchw,oc->bohw", (6, 7), "Transpose MatMul Transpose"),
    ("bsd,de->be", (8, 7), "ReduceSum MatMul"),
    ("bsdt,ed->bet", (8, 7), "ReduceSum Transpose MatMul Transpose"),
    ("io,bti->bto", (6, 7), "MatMul"),
    ("oc,bchw->bohw", (6, 7), "Transpose MatMul Transpose"),
    ("bti,io", (6, 7), "MatMul Transpose"),  # -> bot
    ("dce,bcd", (48, 7), "Transpose Reshape MatMul"),  # -> be
    ("b t i , i o -> b t o", (6, 7), "MatMul"),
    ("...i,io->...o", (6, 7), "MatMul"),
    ("b...i,io->b...o", (6, 7), "MatMul"),
    ("...i,io", (6, 7), "MatMul"),
    ("b...si,oi->b...o", (6, 7), "ReduceSum MatMul"),
    ("bs...i,oi->b...o", (6, 7), "ReduceSum MatMul"),
]
# The equation with several matrices; the axis of the output that has one index for each; a matrix's
# inputs and outputs.
STACKED = [
    ("bnd,nde->bne", 1, (8, 7)),
    ("nbd,nde->nbe", 0, (8, 7)),
    ("btgi,gio->btgo", 2, (6, 7)),
    ("btgi,goi->bgto", 1, (6, 7)),
    ("btgi,giok->btgko", 2, (6, 14)),
    ("gio,btgi->btgo", 2, (6, 7)),
    # The data have no axis for them.
    ("bi,gio->bgo", 1, (6, 7)),
    ("bi,goi->bgo", 1, (6, 7)),
    ("bti,goi->gbto", 0, (6, 7)),
    ("bti,giok->bgtko", 1, (6, 14)),
    ("bthk,ghko->btgo", 2, (8, 7)),
    ("...i,goi->...go", -2, (6, 7)),
    ("bs...i,gio->b...go", -2, (6, 7)),
]


def operands_of(equation: str) -> list[str]:
    """The data's labels and the weight's, which has neither b nor three points."""
    terms = equation.replace(" ", "").split("->", maxsplit=1)[0].split(",")
    return sorted(terms, key=lambda term: not {"b", "."} & set(term))


def einsum_of(equation: str) -> tuple[onnx.NodeProto, tuple[int, ...], tuple[int, ...]]:
    """An Einsum of x and w, and their shapes; three points are an axis or two."""
    data, weight = (
        tuple(SIZES[label] for label in term.replace("...", "t" if "b" in term else "bt"))
        for term in operands_of(equation)
    )
    data_first = equation.replace(" ", "").startswith(operands_of(equation)[0])
    inputs = ["x", "w"] if data_first else ["w", "x"]
    made = helper.make_node("Einsum", inputs, ["e"], name="sum", equation=equation)
    return made, data, weight


def save_einsum(
    path: Path, equation: str, *, opset: int = 17, **more: Any
) -> tuple[Path, tuple[int, ...]]:
    """The Einsum, tanh, and another layer; the path, and the shape of the data."""
    made, data, weight = einsum_of(equation)
    nodes = [
        *(made, node("Tanh", "e", "t"), node("Flatten", "t", "f", axis=0)),
        *(node("Transpose", "f", "ft", perm=[1, 0]), node("MatMul", "ft v", "z")),
    ]
    weights = {"w": W(*weight), "v": W(1, 4)}
    return save_graph(path, nodes, weights, data, opset=opset, **more), data


@pytest.mark.parametrize(("equation", "matrix", "operators"), PRODUCTS)
def test_products(tmp_path: Path, equation: str, matrix: tuple[int, int], operators: str) -> None:
    """Each computes what it did, is drawn orthonormal, and comes out with unit variance."""
    path, data = save_einsum(tmp_path / "m.onnx", equation, output="e")
    x = W(*data, seed=3) * np.float32(1.5) + np.float32(0.25)
    found = in_normal_form(path)
    made = " ".join(n.op_type for n in found.graph.node if n.op_type != "Constant")
    assert made == f"{operators} Tanh Flatten Transpose MatMul"
    (expected,) = outputs_of(onnx.load(path), {"x": x})
    (value,) = outputs_of(found, {"x": x})
    np.testing.assert_allclose(value, expected, atol=1e-6 * np.abs(expected).max())
    np.save(tmp_path / "x.npy", x)
    report, written = run(path, tmp_path / "x.npy", count=len(x))
    assert [r.planned.layer.name for r in report.layers] == ["sum", "MatMul_z"]
    assert {r.status for r in report.layers} == {Status.CONVERGED}
    layout = report.layers[0].planned.layer.layout
    assert (layout.matrices[0], layout.in_channels, layout.out_channels) == (1, *matrix)
    for output in ("e", "z"):
        variance = forward(path, written, {"x": x}, output).var()
        assert variance == pytest.approx(1, abs=1e-5), output
    check_orthonormal(written["w"] / report.layers[0].scale, equation)


@pytest.mark.parametrize(("equation", "axis", "matrix"), STACKED)
def test_each_of_several_matrices_is_a_layer(
    tmp_path: Path, equation: str, axis: int, matrix: tuple[int, int]
) -> None:
    """The whole computes what it did, and each part of its output has unit variance."""
    path, data = save_einsum(tmp_path / "m.onnx", equation, output="e")
    x = W(*data, seed=3) * np.float32(1.5) + np.float32(0.25)
    (expected,) = outputs_of(onnx.load(path), {"x": x})
    (value,) = outputs_of(in_normal_form(path), {"x": x})
    np.testing.assert_allclose(value, expected, atol=1e-6 * np.abs(expected).max())
    np.save(tmp_path / "x.npy", x)
    for options in ({}, {"batch_size": 3}):
        report, written = run(path, tmp_path / "x.npy", count=len(x), **options)
        names = [r.planned.layer.name for r in report.layers]
        assert names == ["sum.0", "sum.1", "sum.2", "MatMul_z"]
        assert {r.status for r in report.layers} == {Status.CONVERGED}
        for result in report.layers[:3]:
            layout = result.planned.layer.layout
            assert (layout.matrices[0], layout.in_channels, layout.out_channels) == (1, *matrix)
        output = forward(path, written, {"x": x}, "e")
        for part in np.moveaxis(output, axis, 0):
            assert part.var() == pytest.approx(1, abs=1e-5)
        assert forward(path, written, {"x": x}, "z").var() == pytest.approx(1, abs=1e-5)
        scales = [float(result.scale) for result in report.layers[:3]]
        shape = [
            -1 if label == stacked_label(equation) else 1 for label in operands_of(equation)[1]
        ]
        check_orthonormal(written["w"] / np.reshape(scales, shape), equation)


def stacked_label(equation: str) -> str:
    return "n" if "n" in equation else "g"


def check_orthonormal(weight: Any, equation: str) -> None:
    """By the equation alone: the weight with itself over the longer side is the identity."""
    data, labels = operands_of(equation)
    groups = [label for label in labels if label in (*"ng",)]
    inputs = [label for label in labels if label in data and label not in groups]
    outputs = [label for label in labels if label not in data and label not in groups]
    size = {label: weight.shape[labels.index(label)] for label in labels}
    count = [int(np.prod([size[label] for label in part])) for part in (groups, inputs, outputs)]
    order = [labels.index(label) for label in groups + inputs + outputs]
    for matrix in weight.transpose(order).reshape(count):
        tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
        np.testing.assert_allclose(tall.T @ tall, np.eye(tall.shape[1]), atol=1e-5)


@pytest.mark.parametrize("opset", [12, 13])
def test_a_sum_before_and_after_its_axes_became_an_input(tmp_path: Path, opset: int) -> None:
    path, data = save_einsum(tmp_path / "m.onnx", "bsdt,ed->bet", opset=opset)
    x = W(*data, seed=3)
    _, written = run(path, save_samples(tmp_path, data[1:]))
    (expected,) = outputs_of(onnx.load(path), {"x": x})
    (value,) = outputs_of(in_normal_form(path), {"x": x})
    np.testing.assert_allclose(value, expected, atol=1e-6 * np.abs(expected).max())
    samples = {"x": np.load(tmp_path / "samples.npy")}
    assert forward(path, written, samples, "e").var() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "equation",
    [
        "bti,io->bt",  # o is summed in the weight alone
        "btd,d->btd",  # a gain
        "bti,ti->bt",  # no outputs
        "bt,o->bto",  # nothing is contracted
        "bi,io->o",  # nothing is kept: b is summed
        "bti,iot->bo",  # i and t do not lie side by side: a copy
        "...ti,io->...ot",  # the number of axes before t is unknown
        "...d,dhk->...hk",
        "b...n,no->ob...",
        "btT,To",  # is T before b, or behind it?
    ],
)
def test_what_is_no_product(tmp_path: Path, equation: str) -> None:
    made, data, weight = einsum_of(equation)
    nodes = [
        *(node("Tanh", "x", "t"), made, node("ReduceSum", "e", "r", keepdims=0)),
        node("Identity", "r", "z"),
    ]
    made.input[:] = [name.replace("x", "t") for name in made.input]
    path = save_graph(tmp_path / "m.onnx", nodes, {"w": W(*weight)}, data)
    model, _ = read_model(path)
    assert [n.op_type for n in model.nodes] == ["Tanh", "Einsum", "ReduceSum", "Identity"]
    assert not find_layers(model)
    assert layers_left_alone(model) == ["sum (Einsum): its equation is no product by a matrix"]


def test_a_matrix_that_a_transpose_has_scattered(tmp_path: Path) -> None:
    """Its inputs are side by side in the value that is read, but not in the parameter."""
    nodes = [
        node("Transpose", "w", "wt", perm=[0, 2, 1]),
        helper.make_node("Einsum", ["x", "wt"], ["e"], name="sum", equation="bthk,hkd->btd"),
    ]
    path = save_graph(tmp_path / "m.onnx", nodes, {"w": W(4, 8, 2)}, ("n", 5, 4, 2))
    model, _ = read_model(path)
    assert not find_layers(model)
    assert layers_left_alone(model) == ["sum (Einsum): its equation is no product by a matrix"]


def test_biases_and_one_scale_a_channel(tmp_path: Path) -> None:
    """What follows a product that is ordered anew is measured in the product's order."""
    nodes = [
        helper.make_node("Einsum", ["x", "w"], ["e"], name="sum", equation="bchw,oc->bohw"),
        *(node("Tanh", "e", "t"), node("Conv", "t v", "z")),
    ]
    path = save_graph(
        tmp_path / "m.onnx", nodes, {"w": W(7, 6), "v": W(5, 7, 1, 1)}, ("n", 6, 4, 3)
    )
    samples = save_samples(tmp_path, (6, 4, 3))
    report, written = run(path, samples, per=Per.CHANNEL, bias=Bias.CENTER)
    assert {r.status for r in report.layers} == {Status.CONVERGED}
    for output, channels in (("e", 7), ("z", 5)):
        value = forward(path, written, {"x": np.load(samples)}, output)
        np.testing.assert_allclose(value.var(axis=(0, 2, 3)), np.ones(channels), atol=1e-5)


def test_new_names_are_new(tmp_path: Path) -> None:
    """The graph has values of the names that the new ones would get, also inside a body."""
    taken = ["e/weight", "e/transposed", "e/reshaped", "e/integers", "e/product", "e/sum"]
    nodes = [node("Mul", "x x", taken[0])]
    nodes += [node("Tanh", before, name) for before, name in pairwise(taken)]
    made = helper.make_node("Einsum", ["x", "w"], ["e"], name="sum", equation="bshk,hkod->bdo")
    inner = helper.make_node("Neg", [taken[-1]], ["e/product/2"])
    value = helper.make_tensor_value_info("e/product/2", 1, None)
    branch = helper.make_graph([inner], "branch", [], [value])
    nodes += [
        *(made, helper.make_node("If", ["c"], ["i"], then_branch=branch, else_branch=branch)),
        *(node("ReduceSum", "i", "r", keepdims=0), node("Add", "r e", "z")),
    ]
    weights = {"w": W(4, 2, 7, 8), "c": np.array(True)}
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", 5, 4, 2))
    x = W(8, 5, 4, 2)
    (expected,) = outputs_of(onnx.load(path), {"x": x})
    (found,) = outputs_of(in_normal_form(path), {"x": x})
    assert [layer_node.layer.name for layer_node in find_layers(read_model(path)[0])] == ["sum"]
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())
