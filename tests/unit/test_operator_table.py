"""The table of operators: its example, its defaults and its lookups."""

from __future__ import annotations

import doctest

import onnx
import pytest
from onnx import helper

from lsuv_cli.graph.operators import table
from lsuv_cli.graph.operators.operator import Homogeneity, Operator
from lsuv_cli.graph.operators.table import (
    OPERATORS,
    UNKNOWN,
    homogeneity_of,
    names_of,
    operator_of,
    scaled_outputs,
)


def test_the_example_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "OPERATORS", dict(OPERATORS))
    result = doctest.testmod(table)
    assert result.attempted > 10
    assert result.failed == 0
    assert ("example", "Dense") not in OPERATORS


@pytest.mark.parametrize(
    ("domain", "op", "known"),
    [
        ("", "Relu", True),
        ("ai.onnx", "Relu", True),
        ("com.microsoft", "Relu", False),
        ("", "NhwcConv", False),
        ("com.microsoft", "NhwcConv", True),
        ("", "Softmax", False),
    ],
)
def test_rows_are_found_by_domain_and_name(domain: str, op: str, known: bool) -> None:
    node = helper.make_node(op, ["x"], ["y"], domain=domain)
    assert (operator_of(node) is not UNKNOWN) == known


def test_what_is_unknown_is_run_as_it_is() -> None:
    assert Operator() == UNKNOWN
    assert UNKNOWN.homogeneity is Homogeneity.NONE
    assert UNKNOWN.activation is None
    assert UNKNOWN.product is None
    assert not UNKNOWN.looks_like_a_layer


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (helper.make_node("Pad", ["x", "pads"], ["y"]), Homogeneity.FIRST_INPUT),
        (helper.make_node("Pad", ["x", "pads", "value"], ["y"]), Homogeneity.NONE),
        (helper.make_node("Pad", ["x"], ["y"], pads=[1, 1], value=0.0), Homogeneity.FIRST_INPUT),
        (helper.make_node("Pad", ["x"], ["y"], pads=[1, 1], value=2.0), Homogeneity.NONE),
        (helper.make_node("Mul", ["x", "z"], ["y"]), Homogeneity.EACH_INPUT),
        (helper.make_node("Add", ["x", "z"], ["y"]), Homogeneity.JOINT),
        (helper.make_node("Tanh", ["x"], ["y"]), Homogeneity.NONE),
    ],
    ids=lambda value: getattr(value, "op_type", ""),
)
def test_padding_with_zeros_is_homogeneous(node: onnx.NodeProto, expected: Homogeneity) -> None:
    assert homogeneity_of(node) is expected


def test_indices_and_masks_take_no_scale_over() -> None:
    for op in ("MaxPool", "Dropout"):
        assert scaled_outputs(helper.make_node(op, ["x"], ["y", "other"])) == ["y"]
    assert scaled_outputs(helper.make_node("Split", ["x"], ["y", "z"])) == ["y", "z"]


def test_a_name_counts_in_any_domain() -> None:
    layer_like = names_of(lambda operator: operator.looks_like_a_layer)
    assert {"Conv", "MatMul", "NhwcConv", "LSTM"} <= layer_like
    assert layer_like.isdisjoint({"Relu", "Add", "QLinearConv"})
