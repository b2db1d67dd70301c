"""Networks that amplify rounding: no sweep brings them nearer, and the tool says so and stops."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper
from torch import nn

from lsuv_cli import initialize_, verify
from lsuv_cli.core.choices import Status
from lsuv_cli.core.rounding import explained
from support.command import Run
from support.graphs import node, random_weight, save_graph
from support.initialization import run

W = random_weight
NODES = [
    node("Gemm", "x w1", "a"),
    node("BatchNormalization", "a scale shift mean variance", "n", epsilon=1e-12),
    node("Gemm", "n w2", "b"),
    node("Relu", "b", "r"),
    node("Gemm", "r w3", "c"),
]
WEIGHTS = {
    "w1": W(8, 8),
    "w2": W(8, 6),
    "w3": W(6, 5),
    "scale": np.ones(8, np.float32),
    "shift": np.zeros(8, np.float32),
    "mean": np.zeros(8, np.float32),
    "variance": np.ones(8, np.float32),
}


def save_network(folder: Path, offset: float) -> tuple[Path, Path]:
    """Inputs that differ by a hundredth around a mean, and a BatchNorm that enlarges it to 1."""
    generator = np.random.default_rng(0)
    data = offset + 1e-2 * generator.standard_normal((16, 8))
    np.save(folder / "x.npy", data.astype(np.float32))
    return save_graph(folder / "m.onnx", NODES, WEIGHTS, ("n", 8)), folder / "x.npy"


def variances_with_moved_weights(path: Path, weights: Path, data: Path) -> np.ndarray:
    """The variances of the three products, (draws, 3), for weights rounded at random."""
    from safetensors.numpy import load_file

    model = onnx.load(path)
    written = load_file(weights)
    del model.graph.initializer[:]
    for name, value in written.items():
        model.graph.input.append(helper.make_tensor_value_info(name, 1, value.shape))
    for name in "ab":
        model.graph.output.append(helper.make_tensor_value_info(name, 1, None))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    generator = np.random.default_rng(7)
    found = []
    for _ in range(20):
        feeds = {
            name: np.where(
                generator.random(value.shape) < 0.5,
                np.nextafter(value, np.float32(-9)),
                np.nextafter(value, np.float32(9)),
            ).astype(np.float32)
            for name, value in written.items()
        }
        values = session.run(list("abc"), {"x": np.load(data), **feeds})
        found.append([value.astype(np.float64).var() for value in values])
    return np.asarray(found)


def test_noise_is_measured_and_said(tmp_path: Path) -> None:
    path, data = save_network(tmp_path, 2000.0)
    report, _ = run(path, data, count=16)
    assert [one.status for one in report.layers] == [
        Status.CONVERGED,
        Status.NOISY,
        Status.NOISY,
    ]
    assert [one.iterations for one in report.layers] == [1, 1, 1]
    spread = np.abs(
        variances_with_moved_weights(path, path.with_suffix(".safetensors"), data) - 1
    ).max(axis=0)
    assert spread[0] < 1e-6
    for result, seen in zip(report.layers[1:], spread[1:], strict=True):
        told = re.search(r"moves its variance by (\S+), more than", result.detail)
        assert told is not None
        # Two draws against the largest of twenty.
        assert seen / 10 < float(told[1]) < seen * 3
        assert seen > 1e-3


def test_a_network_that_amplifies_nothing_is_not_suspected(tmp_path: Path) -> None:
    path, data = save_network(tmp_path, 0.0)
    report, _ = run(path, data, count=16)
    assert {one.status for one in report.layers} == {Status.CONVERGED}


def test_init_and_verify_agree(tmp_path: Path, lsuv: Run) -> None:
    path, data = save_network(tmp_path, 2000.0)
    made = lsuv("init", path, "--data", data, "--out", "w.st")
    assert made.returncode == 4
    noisy = re.findall(r"^(\S+): noisy: rounding alone", made.stderr, re.MULTILINE)
    assert len(noisy) == 2
    measured = lsuv("verify", path, "w.st", "--data", data)
    assert measured.returncode == 4
    assert re.findall(r"^(\S+): noisy: rounding alone", measured.stderr, re.MULTILINE) == noisy
    accepted = max(re.findall(r"--tol (\S+) accepts it", made.stderr), key=float)
    again = ("init", path, "--data", data, "--out", "w.st", "--force", "--tol", accepted)
    assert lsuv(*again).returncode == 0


def test_a_module_that_amplifies_rounding_is_converted_and_verified() -> None:
    """Its outputs differ between two ways to compute them, without either being wrong."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Linear(8, 8), nn.BatchNorm1d(8, eps=1e-12), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 5)
    ).eval()
    samples = 2000 + 1e-2 * torch.randn(16, 8)
    with pytest.warns(match="far from mean 0"):
        report = initialize_(module, samples).report
    with pytest.warns(match="far from mean 0"):
        verification = verify(module, samples).report
    assert [one.status for one in report.layers][1:] == [Status.NOISY] * 2
    assert [one.status for one in verification.layers][1:] == [Status.NOISY] * 2


@pytest.mark.parametrize(
    ("deviation", "rounding", "noisy"),
    [
        (5e-4, 2e-4, False),  # within the tolerance, with and without rounding
        (5e-4, 2e-3, True),  # within it by chance
        (2e-3, 1e-3, True),
        (2e-2, 1e-3, False),  # something else is wrong
        (2e-3, np.inf, False),
        (2e-3, np.nan, False),
    ],
)
def test_what_rounding_explains(deviation: float, rounding: float, noisy: bool) -> None:
    assert (explained(deviation, rounding, 1e-3) is not None) is noisy
