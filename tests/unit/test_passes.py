"""The passes and their order."""

from __future__ import annotations

import importlib
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from lsuv_cli import passes
from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.nodes import MICROSOFT_DOMAIN
from lsuv_cli.passes import gemm_addends, packed_projections, unit_factors
from lsuv_cli.passes.normal_form import PASSES, SHARING
from lsuv_cli.passes.pipeline import Pass, check_order, run_passes
from lsuv_cli.reading.onnx_file import read_source
from support.graphs import constant, i64, node, random_weight, save_graph

FOLDER = Path(passes.__file__).parent


def test_every_pass_is_in_the_list_under_the_name_of_its_module() -> None:
    modules = {path.stem for path in FOLDER.glob("*.py") if "\nPASS = " in path.read_text()}
    assert {one.name for one in PASSES} == modules
    for one in PASSES:
        assert importlib.import_module(f"lsuv_cli.passes.{one.name}").PASS is one


@pytest.mark.parametrize("order", [PASSES, SHARING], ids=["PASSES", "SHARING"])
def test_each_pass_comes_after_those_it_requires(order: Sequence[Pass]) -> None:
    check_order(order)


def test_a_pass_before_one_that_it_requires_is_refused(tmp_path: Path) -> None:
    def refuse(_graph: EditableGraph) -> None:
        raise AssertionError("it must not run")

    first, second = Pass("first", refuse), Pass("second", refuse, requires=("first",))
    check_order([first, second])
    with pytest.raises(ValueError, match="the pass second requires first"):
        run_passes([second, first], graph_of(model_with_many_patterns(tmp_path)))
    with pytest.raises(ValueError, match="two passes are called first"):
        check_order([first, first])


def model_with_many_patterns(folder: Path) -> Path:
    """Save a graph of PyTorch's on which most passes have something to do."""
    table = random_weight(7, 6)
    cells = random_weight(2, 1, 24, 6, seed=4).astype(np.float16)
    weights = {
        "table": table,
        "turned_table": np.ascontiguousarray(table.T),
        "mixing": random_weight(6, 6, seed=1),
        "attention.in_proj_weight": random_weight(18, 6, seed=2),
        "attention.in_proj_bias": random_weight(18, seed=3),
        "W": cells[0],
        "R": cells[1],
        "W_1": cells[0],
        "R_1": cells[1],
        "scale": random_weight(6, seed=6),
        "bias": random_weight(6, seed=9),
        "qkv": random_weight(6, 18, seed=10),
        "half": random_weight(6, 6, seed=7).astype(np.float16),
        "shape": i64(-1, 6),
        "axes": i64(1),
    }
    nodes = [
        node("Gather", "table x", "embedded"),
        constant("fixed", random_weight(6, 6, seed=8).astype(np.float16)),
        node("Transpose", "fixed", "fixed_t", perm=[1, 0]),
        node("Cast", "half", "whole", to=1),
        node("Transpose", "mixing", "mixing_t", perm=[1, 0]),
        node("Einsum", "embedded mixing_t", "mixed", equation="bti,io->bto"),
        node("Transpose", "attention.in_proj_weight", "packed", perm=[1, 0]),
        node("Einsum", "mixed packed", "projected", equation="bti,io->bto"),
        node("Add", "projected attention.in_proj_bias", "biased"),
        constant("cuts", i64(6, 6, 6)),
        split("biased cuts", "q", "k", "v"),
        node("Mul", "q k", "qk"),
        node("Add", "qk v", "attended"),
        recurrent("attended W R", "recurred", "rnn"),
        recurrent("attended W_1 R_1", "recurred_again", "rnn_1"),
        node("Squeeze", "recurred axes", "squeezed"),
        node("Reshape", "squeezed shape", "rows"),
        node("Identity", "mixing", "copied"),
        node("Gemm", "rows fixed_t rows", "summed", beta=0.5),
        node("MatMul", "summed copied", "again"),
        node("BatchNormalization", "again scale scale scale scale", "n", training_mode=1),
        node("MatMul", "n whole", "last"),
        node("MatMul", "last turned_table", "scored"),
        node("Attention", "scored qkv", "heads", domain=MICROSOFT_DOMAIN, num_heads=2),
        node("FusedMatMul", "heads half", "fused", domain=MICROSOFT_DOMAIN, alpha=0.5, transB=1),
        node("SkipLayerNormalization", "last fused scale _ bias", "y", domain=MICROSOFT_DOMAIN),
    ]
    nodes[-1].input[3] = ""
    path = save_graph(folder / "m.onnx", nodes, weights, ("b", "t"), input_type=7)
    model = onnx.load(path)
    model.producer_name = "pytorch"
    onnx.save(model, path)
    return path


def split(inputs: str, *outputs: str) -> onnx.NodeProto:
    """Return a Split of the last axis."""
    return helper.make_node("Split", inputs.split(), outputs, axis=-1)


def recurrent(inputs: str, output: str, module: str) -> onnx.NodeProto:
    """Return an LSTM of a module."""
    return helper.make_node("LSTM", inputs.split(), [output], name=f"/{module}/LSTM", hidden_size=6)


def graph_of(path: Path) -> EditableGraph:
    source = read_source(path)
    skeleton = onnx.ModelProto()
    skeleton.CopyFrom(source.skeleton)
    return EditableGraph(skeleton, source.parameters, source.path, source.opset)


def shuffled(order: Sequence[Pass], seed: int) -> list[Pass]:
    """Return the passes in another order in which each comes after those it requires."""
    chance = random.Random(seed)
    left, done = list(order), list[Pass]()
    while left:
        ready = [one for one in left if {other.name for other in done}.issuperset(one.requires)]
        done.append(chance.choice(ready))
        left.remove(done[-1])
    return done


def summary(graph: EditableGraph) -> tuple[object, ...]:
    return (
        sorted(one.SerializeToString(deterministic=True) for one in graph.nodes),
        graph.views,
        set(graph.parameters),
        graph.constants,
        graph.types,
        sorted(matrix.name for matrix in graph.recurrent_matrices),
    )


def test_any_order_that_the_requirements_allow_gives_the_same_graph(tmp_path: Path) -> None:
    path = model_with_many_patterns(tmp_path)
    expected = graph_of(path)
    before = len(expected.nodes)
    run_passes(PASSES, expected)
    operators = [one.op_type for one in expected.nodes]
    assert len(operators) > before
    assert "Einsum" not in operators
    assert expected.views["turned_table"].parameter == "table"
    assert expected.views["W_1"].parameter == "W"
    assert expected.copies == {"copied": "mixing"}
    assert len(expected.recurrent_matrices) == 8
    assert {"projected/weight/query", "projected/weight/value"} <= expected.views.keys()
    assert "heads/query" in {output for one in expected.nodes for output in one.output}
    for seed in range(30):
        graph = graph_of(path)
        order = shuffled(PASSES, seed)
        run_passes(order, graph)
        assert summary(graph) == summary(expected), [one.name for one in order]


def test_a_packed_gemm_that_adds_data_is_left_as_it_is(tmp_path: Path) -> None:
    weights = {"attention.in_proj_weight": random_weight(6, 18)}
    product = node("Gemm", "x attention.in_proj_weight x", "y")
    graph = graph_of(save_graph(tmp_path / "m.onnx", [product], weights, ("n", 6)))
    packed_projections.PASS.run(graph)
    assert [one.op_type for one in graph.nodes] == ["Gemm"]
    assert not graph.views


def test_a_gemm_that_adds_data_times_beta_is_three_nodes(tmp_path: Path) -> None:
    weights = {"w": random_weight(6, 6).astype(np.float16)}
    product = node("Gemm", "x w x", "y", beta=0.1)
    path = save_graph(tmp_path / "m.onnx", [product], weights, ("n", 6), input_type=10)
    graph = graph_of(path)
    gemm_addends.PASS.run(graph)
    assert [one.op_type for one in graph.nodes] == ["Gemm", "Constant", "Mul", "Add"]
    factor = numpy_helper.to_array(graph.nodes[1].attribute[0].t)
    assert factor.dtype == np.float16
    assert factor == np.float16(0.1)
    assert graph.producer("y") is graph.nodes[-1]


@pytest.mark.parametrize(
    ("number", "left"),
    [
        (np.array(1), ["MatMul", "Identity", "Add"]),
        (np.array(2), ["MatMul", "Mul", "Mul", "Add"]),
        (np.array([[1]]), ["MatMul", "Mul", "Mul", "Add"]),
        (np.array(1.5, np.float32), ["MatMul", "Mul", "Mul", "Add"]),
    ],
)
def test_only_a_factor_of_one_is_removed(tmp_path: Path, number: Any, left: list[str]) -> None:
    """Both of a product and of what is added to it, as PyTorch's exporter writes baddbmm."""
    nodes = [
        *(constant("number", number), node("Cast", "number", "factor", to=1)),
        *(node("MatMul", "x w", "p"), node("Mul", "p factor", "scaled")),
        *(node("Mul", "factor b", "bias"), node("Add", "scaled bias", "y")),
    ]
    weights = {"w": random_weight(6, 6), "b": random_weight(6)}
    graph = graph_of(save_graph(tmp_path / "m.onnx", nodes, weights, ("n", 6)))
    unit_factors.PASS.run(graph)
    assert [one.op_type for one in graph.nodes if "number" not in one.input][1:] == left
    assert graph.nodes[-1].input[0] == "scaled"
