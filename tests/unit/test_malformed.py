"""Model files that no exporter writes: damaged, or against what ONNX allows of a graph."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from lsuv_cli.core.errors import ModelError
from lsuv_cli.core.options import InspectOptions, SampleOptions
from lsuv_cli.jobs.inspect import inspect_model
from lsuv_cli.reading.onnx_file import read_model
from support.graphs import node, random_weight, save_graph
from support.promise import Texts

Damage = Callable[[onnx.ModelProto], object]


def not_utf8(old: bytes) -> Callable[[bytes], bytes]:
    return lambda content: content.replace(old, b"\xff" + old[1:], 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A model with a convolution and an integer tensor, as m.onnx."""
    nodes = [node("Conv", "x w", "a"), node("Reshape", "a shape", "y")]
    weights = {"w": random_weight(4, 3, 3, 3), "shape": np.array([-1, 4], np.int64)}
    return save_graph(tmp_path / "m.onnx", nodes, weights, ("n", 3, 8, 8))


def inspect(path: Path) -> None:
    samples = SampleOptions(data=())
    inspect_model(InspectOptions(model=path, samples=samples, device="cpu"), Texts())


@pytest.mark.parametrize("old", [b"Conv", b"Conv_a", b"Reshape", b"shape", b"x"])
def test_a_name_that_is_not_utf8(path: Path, old: bytes) -> None:
    path.write_bytes(not_utf8(old)(path.read_bytes()))
    with pytest.raises(ModelError, match="that is not UTF-8"):
        inspect(path)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (
            lambda m: m.graph.node[0].attribute.append(helper.make_attribute("bogus", 3)),
            "Unrecognized attribute: bogus",
        ),
        (
            lambda m: m.graph.node[0].attribute.append(helper.make_attribute("group", "two")),
            "Mismatched attribute type",
        ),
        (lambda m: m.graph.node[0].input.pop(), "has input size 1"),
        (lambda m: m.graph.node[1].output.pop(), "has output size 0"),
        (lambda m: setattr(m.graph.initializer[0], "data_type", 99), "tensor w has the type 99"),
        (lambda m: setattr(m.graph.initializer[1], "data_type", 77), "shape has the type 77"),
        (
            lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", -1),
            "value x has the type -1",
        ),
        (lambda m: m.graph.initializer[0].dims.append(-1), "a negative size"),
        (lambda m: m.graph.initializer[1].dims.append(2), "does not fit its shape"),
        (
            lambda m: m.graph.initializer.add(name="t", data_type=1, dims=[2], float_data=[1]),
            "has 1 elements",
        ),
        (
            lambda m: m.graph.initializer.add(name="t", data_type=8, dims=[1], raw_data=b"a"),
            "holds texts as raw bytes",
        ),
        (
            lambda m: setattr(m.graph.initializer[1], "data_location", TensorProto.EXTERNAL),
            "does not say in which",
        ),
        (
            lambda m: m.graph.node[0].attribute.add(name="group"),
            "the attribute group of the node Conv_a has no type",
        ),
    ],
)
def test_what_onnx_does_not_allow(path: Path, damage: Damage, words: str) -> None:
    model = onnx.load(path)
    damage(model)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=words):
        inspect(path)


def test_an_equation_that_is_none(tmp_path: Path) -> None:
    """ONNX's shape inference does not come back from this one."""
    nodes = [node("Einsum", "x w", "y", equation="bij,jk-")]
    path = save_graph(tmp_path / "m.onnx", nodes, {"w": random_weight(4, 4)}, ("n", 2, 4))
    with pytest.raises(ModelError, match="'bij,jk-' is no equation"):
        inspect(path)


def test_functions_that_cannot_be_inlined(path: Path) -> None:
    model = onnx.load(path)
    body = [helper.make_node("Relu", ["a"], ["b"])]
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("local", "F", ["a"], ["b"], body, opsets))
    model.opset_import.append(helper.make_opsetid("local", 1))
    model.graph.node.append(helper.make_node("F", ["y", "y"], ["z"], domain="local"))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="can't be inlined"):
        read_model(path)


def test_a_graph_that_fails_a_pass_is_said_to_be_broken(tmp_path: Path) -> None:
    """Its fault is in no table; ONNX Runtime tells it when it is asked."""
    nodes = [node("Reshape", "w shape", "v"), node("MatMul", "x v", "y")]
    weights = {"w": random_weight(4, 4), "shape": np.array([3, 8], np.int64)}
    path = save_graph(tmp_path / "m.onnx", nodes, weights, (2, 3))
    with pytest.raises(ModelError, match="is not a model that can be run"):
        inspect(path)
