"""Half, double and mixed precision; quantised weights are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from lsuv_cli.core.choices import Status
from lsuv_cli.core.records import Report
from lsuv_cli.core.results import PRECISION
from support.command import Run
from support.graphs import node, random_weight
from support.initialization import run
from support.precision_graphs import CONNECTED, CONNECTED_WEIGHTS, KINDS, save_in_precision
from support.sample_files import save_samples

Array = NDArray[Any]
W = random_weight


CONVOLUTIONAL = [
    node("Conv", "x w1 b1", "a", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    node("Relu", "a", "r"),
    node("Conv", "r w2", "c", kernel_shape=[3, 3]),
    node("Mul", "c half", "h"),
    node("Tanh", "h", "t"),
    node("Flatten", "t", "f"),
    node("Gemm", "f w3 b3", "y", transB=1),
]
CONVOLUTIONAL_WEIGHTS = {
    "w1": W(8, 3, 3, 3),
    "b1": W(8),
    "w2": W(6, 8, 3, 3),
    "w3": W(10, 6 * 36),
    "b3": W(10),
}


def check(report: Report, written: dict[str, Array], kind: str, weights: dict[str, Array]) -> None:
    dtype = KINDS[kind][1]
    assert {name: value.dtype for name, value in written.items()} == dict.fromkeys(weights, dtype)
    for result in report.layers:
        assert result.status is Status.CONVERGED, result.detail
        assert result.planned.layer.dtype == dtype
        assert result.after is not None
        deviation = result.after.deviation(1.0, per_channel=False)
        assert deviation <= max(1e-5, PRECISION.get(kind, 0))


@pytest.mark.parametrize("kind", KINDS)
def test_convolutional(tmp_path: Path, kind: str) -> None:
    path = save_in_precision(
        tmp_path / "m.onnx", CONVOLUTIONAL, CONVOLUTIONAL_WEIGHTS, ("n", 3, 8, 8), kind
    )
    report, written = run(path, save_samples(tmp_path, (3, 8, 8)))
    check(report, written, kind, CONVOLUTIONAL_WEIGHTS)


@pytest.mark.parametrize("kind", KINDS)
def test_connected_in_numpy(tmp_path: Path, kind: str) -> None:
    """The written weights, widened, have unit variance in float64 by numpy alone."""
    path = save_in_precision(tmp_path / "m.onnx", CONNECTED, CONNECTED_WEIGHTS, ("n", 8), kind)
    samples = save_samples(tmp_path, (8,))
    report, written = run(path, samples)
    check(report, written, kind, CONNECTED_WEIGHTS)
    w = {name: value.astype(np.float64) for name, value in written.items()}
    a = np.load(samples).astype(np.float64) @ w["w1"]
    r = np.maximum(a, 0)
    m = r @ w["w2"]
    y = np.concatenate([m, r], axis=1) * 0.5 @ w["w3"].T
    for value in (a, m, y):
        assert value.var() == pytest.approx(1, abs=max(1e-5, PRECISION.get(kind, 0)))
    assert not written["b1"].any()


def test_float64_is_computed_in_float64(tmp_path: Path) -> None:
    """Nearer to the target than float32 could come."""
    path = save_in_precision(tmp_path / "m.onnx", CONNECTED, CONNECTED_WEIGHTS, ("n", 8), "float64")
    report, _ = run(path, save_samples(tmp_path, (8,)))
    for result in report.layers:
        assert result.after is not None
        assert result.after.deviation(1.0, per_channel=False) < 1e-12


def test_mixed(tmp_path: Path) -> None:
    """A float16 body between casts, in a float32 graph."""
    nodes = [
        node("MatMul", "x w1", "a"),
        node("Cast", "a", "a16", to=TensorProto.FLOAT16),
        node("Relu", "a16", "r"),
        node("MatMul", "r w2", "m"),
        node("Cast", "m", "m32", to=TensorProto.FLOAT),
        node("MatMul", "m32 w3", "y"),
    ]
    weights = {"w1": W(8, 6), "w2": W(6, 6).astype(np.float16), "w3": W(6, 4)}
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "m.onnx")
    report, written = run(tmp_path / "m.onnx", save_samples(tmp_path, (8,)))
    assert {name: str(value.dtype) for name, value in written.items()} == {
        "w1": "float32",
        "w2": "float16",
        "w3": "float32",
    }
    deviations = [r.after.deviation(1.0, per_channel=False) for r in report.layers if r.after]
    assert len(deviations) == 3
    # What w2's rounding does to the variance of its own layer, the next one makes good.
    assert deviations[0] <= 1e-5
    assert deviations[1] <= 1e-3


def test_untouched_half_precision_parameters_stay_bit_for_bit(tmp_path: Path) -> None:
    weights = {**CONNECTED_WEIGHTS, "unused": W(4, 4) * 1e-7}
    path = save_in_precision(tmp_path / "m.onnx", CONNECTED, weights, ("n", 8), "float16")
    _, written = run(path, save_samples(tmp_path, (8,)), exclude=("w2",))
    for name in ("w2", "unused"):
        assert written[name].tobytes() == weights[name].astype(np.float16).tobytes()


QUANTISED = {
    "DequantizeLinear": [
        node("DequantizeLinear", "w8 scale", "w"),
        node("MatMul", "x w", "y"),
    ],
    "DequantizeLinear behind Transpose": [
        node("DequantizeLinear", "w8 scale", "w"),
        node("Transpose", "w", "wt"),
        node("MatMul", "x wt", "y"),
    ],
    "fake quantisation": [
        node("QuantizeLinear", "v scale zero", "q"),
        node("DequantizeLinear", "q scale zero", "w"),
        node("MatMul", "x w", "y"),
    ],
    "MatMulInteger": [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        node("MatMulInteger", "q w8", "i"),
        node("Cast", "i", "f", to=TensorProto.FLOAT),
        node("MatMul", "f v", "y"),
    ],
}


@pytest.mark.parametrize("name", QUANTISED)
def test_quantised_weights_are_refused(tmp_path: Path, lsuv: Run, name: str) -> None:
    initializers: dict[str, Array] = {
        "w8": np.arange(64, dtype=np.int8).reshape(8, 8),
        "scale": np.asarray(0.1, np.float32),
        "zero": np.asarray(0, np.int8),
        "v": W(8, 8),
    }
    graph = helper.make_graph(
        QUANTISED[name],
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, key) for key, value in initializers.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", W(16, 8))
    process = lsuv("init", "m.onnx", "--data", "x.npy", "--out", "out")
    assert process.returncode == 3, process.stderr
    assert "quantised" in process.stderr
    assert "Traceback" not in process.stderr
    assert not (tmp_path / "out").exists()
