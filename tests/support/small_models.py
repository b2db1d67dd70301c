"""Small ONNX models that several test modules initialise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from support.graphs import node, random_weight, save_graph

CHANNELS = 8  # of the hidden layers of `convolutional`


def tied_embedding(path: Path, *, between: bool) -> Path:
    """Save a model that puts tokens through an embedding, a layer, and the embedding transposed.

    Without `between`, the layer is left out.
    """
    middle = [node("MatMul", "e u", "m"), node("Tanh", "m", "h")]
    nodes = [
        node("Gather", "table ids", "e"),
        *(middle if between else [node("Identity", "e", "h")]),
        node("Transpose", "table", "tt", perm=[1, 0]),
        node("MatMul", "h tt", "logits"),
    ]
    weights = (
        {"table": random_weight(30, 8), "u": random_weight(8, 8)}
        if between
        else {"table": random_weight(30, 8)}
    )
    return save_graph(path, nodes, weights, ("n", 5), input_type=TensorProto.INT64, name="ids")


def convolutional(folder: Path) -> Path:
    """Save a network with normalisations, a skip connection, branches and a shared weight."""
    wide = (CHANNELS, CHANNELS, 3, 3)
    weights: dict[str, Any] = {
        "w0": random_weight(CHANNELS, 3, 3, 3, seed=1) * 3,
        "b0": random_weight(CHANNELS, seed=2) * 0.3,
        **{f"w{i}": random_weight(*wide, seed=i) for i in (1, 2, 3, 4)},
        "b2": random_weight(CHANNELS, seed=3) * 0.2,
        "wf": random_weight(CHANNELS * 16, 12, seed=5),
        "bf": random_weight(12, seed=6) * 0.1,
        "wg": random_weight(5, 12, seed=7),
        "bg": random_weight(5, seed=8) * 0.1,
    }
    for kind in ("n1", "n2"):
        weights |= {
            f"{kind}_scale": 1 + random_weight(CHANNELS, seed=9) * 0.2,
            f"{kind}_shift": random_weight(CHANNELS, seed=10) * 0.2,
            f"{kind}_mean": random_weight(CHANNELS, seed=11),
            f"{kind}_var": np.abs(random_weight(CHANNELS, seed=12)) + 0.5,
        }

    def conv(data: str, output: str, *weight: str) -> onnx.NodeProto:
        return helper.make_node("Conv", [data, *weight], [output], name=output, pads=[1] * 4)

    def norm(data: str, output: str, name: str) -> onnx.NodeProto:
        parts = [f"{name}_{part}" for part in ("scale", "shift", "mean", "var")]
        return helper.make_node("BatchNormalization", [data, *parts], [output])

    nodes = [
        conv("x", "c0", "w0", "b0"),
        helper.make_node("Relu", ["c0"], ["r0"]),
        conv("r0", "c1", "w1"),
        norm("c1", "m1", "n1"),
        helper.make_node("Relu", ["m1"], ["r1"]),
        conv("r1", "c2", "w2", "b2"),
        helper.make_node("Add", ["c2", "r0"], ["s2"]),
        helper.make_node("Tanh", ["s2"], ["t2"]),
        conv("t2", "c3", "w3"),
        norm("c3", "m3", "n2"),
        helper.make_node("Add", ["m3", "r1"], ["s3"]),
        conv("s3", "c4", "w1"),
        helper.make_node("Sigmoid", ["c4"], ["g4"]),
        helper.make_node("Mul", ["c4", "g4"], ["u4"]),
        helper.make_node("Flatten", ["u4"], ["f"]),
        helper.make_node("MatMul", ["f", "wf"], ["mf"], name="mf"),
        helper.make_node("Add", ["mf", "bf"], ["af"]),
        helper.make_node("Relu", ["af"], ["rf"]),
        helper.make_node("Gemm", ["rf", "wg", "bg"], ["y"], name="y", transB=1),
    ]
    return save_graph(folder / "m.onnx", nodes, weights, ("n", 3, 4, 4))


def small_model(path: Path, **more: Any) -> Path:
    """Save a convolution and a linear layer for pictures of 8 by 8 pixels.

    Args:
        path: the file to write.
        more: the `shape` of the input, and options of `save_graph`.
    """
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight"], ["c"], name="conv"),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("Gemm", ["f", "fc.weight", "fc.bias"], ["y"], name="fc", transB=1),
    ]
    weights = {
        "conv.weight": random_weight(4, 3, 3, 3),
        "fc.weight": random_weight(5, 4 * 6 * 6),
        "fc.bias": random_weight(5),
    }
    return save_graph(path, nodes, weights, more.pop("shape", ("n", 3, 8, 8)), **more)


def save_model_and_data(folder: Path) -> Path:
    """Save a perceptron as `m.onnx`, and arrays whose names have spaces in `data`."""
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["h"], name="fc1"),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "w2"], ["y"], name="fc2"),
    ]
    weights = {"w1": random_weight(6, 8, seed=1), "w2": random_weight(8, 4, seed=2)}
    save_graph(folder / "m.onnx", nodes, weights, ["n", 6])
    (folder / "data").mkdir()
    for number in range(3):
        np.save(folder / "data" / f"with space {number}.npy", random_weight(9, 6, seed=number))
    return folder
