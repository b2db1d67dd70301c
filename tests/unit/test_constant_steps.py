"""Steps that do not depend on the samples, apart from the others."""

from __future__ import annotations

from pathlib import Path

from onnx import helper

from lsuv_cli.instrument.constant_steps import ConstantSteps
from lsuv_cli.instrument.steps import node_step
from lsuv_cli.reading.onnx_file import read_model
from support.graphs import random_weight, save_graph


def test_steps_that_several_segments_have_run(tmp_path: Path) -> None:
    """Steps that are cut again hold a constant one once for each segment that it was in."""
    nodes = [
        helper.make_node("Mul", ["w", "w"], ["square"]),
        helper.make_node("Neg", ["square"], ["negative"]),
        helper.make_node("Add", ["x", "negative"], ["y"]),
        helper.make_node("Add", ["y", "square"], ["z"]),
    ]
    path = save_graph(tmp_path / "model.onnx", nodes, {"w": random_weight(4)}, ("n", 4))
    square, negative, first, second = map(node_step, nodes)
    steps = [square, negative, first, square, second]
    model, _ = read_model(path)
    constants = ConstantSteps(model, steps, ())
    assert constants.others == [first, second]
    assert constants.missing(first, ()) == [square, negative]
    assert constants.missing(second, [square]) == []
