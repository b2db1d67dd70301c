"""The passes and their order."""

from __future__ import annotations

import importlib
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from lsuv_cli import passes
from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.passes import gemm_addends, packed_projections
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
    """Save a graph on which most passes have something to do."""
    weights = {
        "table": random_weight(7, 6),
        "turned_table": np.ascontiguousarray(random_weight(7, 6).T),
        "mixing": random_weight(6, 6, seed=1),
        "packed.in_proj_weight": random_weight(18, 6, seed=2),
        "packed.in_proj_bias": random_weight(18, seed=3),
        "W": random_weight(1, 24, 6, seed=4),
        "R": random_weight(1, 24, 6, seed=5),
        "scale": random_weight(6, seed=6),
        "half": random_weight(6, 6, seed=7).astype(np.float16),
        "minus_one": i64(-1, 6),
        "none": i64(0),
    }
    nodes = [
        node("Gather", "table x", "embedded"),
        constant("fixed", random_weight(6, 6, seed=8)),
        node("Cast", "half", "whole", to=1),
        node("Einsum", "embedded mixing", "mixed", equation="bti,oi->bto"),
        node("Transpose", "packed.in_proj_weight", "packed_t", perm=[1, 0]),
        node("MatMul", "mixed packed_t", "projected"),
        node("Add", "projected packed.in_proj_bias", "biased"),
        constant("cuts", i64(6, 6, 6)),
        node("Split", "biased cuts", "q", axis=-1),
        node("Mul", "q k", "qk"),
        node("Add", "qk v", "attended"),
        node("LSTM", "attended W R", "recurred", hidden_size=6),
        node("Squeeze", "recurred directions", "squeezed"),
        node("Reshape", "squeezed minus_one", "rows"),
        node("Identity", "mixing", "tied"),
        node("Gemm", "rows fixed rows", "summed", beta=0.5),
        node("MatMul", "summed tied", "again"),
        node("BatchNormalization", "again scale scale scale scale", "n", training_mode=1),
        node("MatMul", "n whole", "last"),
        node("MatMul", "last turned_table", "y"),
    ]
    nodes[8].output.extend(["k", "v"])
    nodes[17].output.extend(["mean", "variance"])
    weights["directions"] = i64(1)
    return save_graph(folder / "m.onnx", nodes, weights, ("b", "t"), input_type=7)


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
    assert len(expected.recurrent_matrices) == 4
    assert {"packed_t/query", "packed_t/value"} <= expected.views.keys()
    for seed in range(10):
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
