"""Faults of other implementations of LSUV, one test each."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import Tensor, nn

from lsuv_cli.core.choices import Status
from lsuv_cli.core.preinit import gram_deviation
from lsuv_cli.layers.find import find_layers
from lsuv_cli.reading.onnx_file import read_model
from support.command import Run
from support.graphs import node, random_weight, save_graph
from support.inference import forward
from support.initialization import run
from support.sample_files import save_batch, save_samples
from support.small_models import tied_embedding

W = random_weight


def test_later_tries_rescale_no_other_layer(tmp_path: Path) -> None:
    """A layer that takes several sweeps does not change the layer before it."""
    path = tied_embedding(tmp_path / "m.onnx", between=True)
    ids = np.random.default_rng(0).integers(0, 30, (8, 5))
    np.save(tmp_path / "ids.npy", ids)
    report, written = run(path, tmp_path / "ids.npy", tol=1e-4)
    assert report.layers[-1].iterations > 1
    for result, name in zip(report.layers, ("u", "table"), strict=True):
        layer = result.planned.layer
        drawn = written[name] / float(result.scale)
        drawn = drawn.T if layer.weight_value != name else drawn
        assert gram_deviation(layer.layout, drawn) <= 1e-5
    for value in ("m", "logits"):
        assert abs(forward(path, written, {"ids": ids}, value).var() - 1) <= 1e-4


def test_a_layer_fed_by_a_constant_gets_its_own_statistics(tmp_path: Path) -> None:
    nodes = [
        *(node("MatMul", "x w1", "a"), node("Tanh", "a", "t"), node("Mul", "c c", "cc")),
        *(node("MatMul", "cc w2", "b"), node("Add", "t b", "s"), node("MatMul", "s w3", "z")),
    ]
    weights = {"w1": W(8, 6), "c": W(1, 5), "w2": W(5, 6), "w3": W(6, 4)}
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", 8))
    samples = save_samples(tmp_path, (8,))
    report, written = run(path, samples)
    statuses = {r.planned.layer.weight_name: r.status for r in report.layers}
    assert statuses == dict.fromkeys(("w1", "w2", "w3"), Status.CONVERGED)
    for value in ("a", "b", "z"):
        variance = forward(path, written, {"x": np.load(samples)}, value).var()
        assert variance == pytest.approx(1, abs=1e-5), value


def test_an_in_place_activation_changes_nothing(tmp_path: Path, lsuv: Run) -> None:
    """The tap is before the activation, also where PyTorch overwrites the tensor."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.Conv2d(8, 6, 3), nn.ReLU(inplace=True)
    )
    inputs = (torch.randn(16, 3, 8, 8),)
    trace: Callable[..., Any] = torch.jit.trace
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(trace(model, inputs), tmp_path / "m.pt")
    save_batch(tmp_path, (inputs[0],))
    process = lsuv("init", "m.pt", "--data", "batch.npz", "--out", "out")
    assert process.returncode == 0, process.stderr
    model.load_state_dict({k: torch.from_numpy(v) for k, v in load_file(tmp_path / "out").items()})
    first: Tensor = model[0](inputs[0]).detach()
    second: Tensor = model[2](torch.relu(first)).detach()
    for output in (first, second):
        assert abs(output.double().var(correction=0).item() - 1) <= 1e-5


def test_a_shared_module_keeps_every_calls_statistics(tmp_path: Path) -> None:
    nodes = [
        *(node("MatMul", "x w", "a"), node("Relu", "a", "r"), node("MatMul", "r w", "b")),
        *(node("Relu", "b", "s"), node("MatMul", "s w", "c")),
    ]
    path = save_graph(tmp_path / "m.onnx", nodes, {"w": W(6, 6)}, ("n", 6))
    samples = save_samples(tmp_path, (6,))
    report, written = run(path, samples)
    assert [r.status for r in report.layers] == [*(Status.CONVERGED, Status.SHARED, Status.SHARED)]
    measured = [r.after.blob_variance for r in report.layers if r.after is not None]
    feeds = {"x": np.load(samples)}
    actual = [forward(path, written, feeds, value).var() for value in ("a", "b", "c")]
    np.testing.assert_allclose(measured, actual, rtol=1e-4)
    assert len({round(value, 3) for value in measured}) == 3


def test_channels_last_kernels_are_orthonormal_along_the_right_axis(tmp_path: Path) -> None:
    """Pictures come channels last, and the dense kernel is (in, out), as TensorFlow has them."""
    nodes = [
        node("Transpose", "x", "nchw", perm=[0, 3, 1, 2]),
        *(node("Conv", "nchw w1", "a"), node("Relu", "a", "r")),
        *(node("GlobalAveragePool", "r", "p"), node("Flatten", "p", "f")),
        node("MatMul", "f w2", "z"),
    ]
    weights = {"w1": W(4, 3, 5, 5), "w2": W(4, 9)}
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", 9, 9, 3))
    report, written = run(path, save_samples(tmp_path, (9, 9, 3)))
    kernel = written["w1"].reshape(4, 75) / float(report.layers[0].scale)
    np.testing.assert_allclose(kernel @ kernel.T, np.eye(4), atol=1e-5)
    dense = written["w2"] / float(report.layers[1].scale)
    np.testing.assert_allclose(dense @ dense.T, np.eye(4), atol=1e-5)


def test_without_variance_nothing_is_blown_up(tmp_path: Path, lsuv: Run) -> None:
    """No weight is multiplied by 1e8, and the command ends and reports the reason."""
    nodes = [node("Conv", "x w1", "a"), node("Relu", "a", "r"), node("Conv", "r w2", "z")]
    weights = {"w1": W(4, 3, 3, 3), "w2": W(4, 4, 3, 3)}
    save_graph(tmp_path / "m.onnx", nodes, weights, ("n", 3, 9, 9))
    np.save(tmp_path / "x.npy", np.zeros((8, 3, 9, 9), np.float32))
    process = lsuv("init", "m.onnx", "--data", "x.npy", "--out", "out")
    assert process.returncode == 4
    assert process.stderr.count("zero_variance") >= 2
    for weight in load_file(tmp_path / "out").values():
        assert np.abs(weight).max() <= 1


def test_groups_are_orthonormal_each_by_itself(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w1", "a", group=4), node("Relu", "a", "r"), node("Conv", "r w2", "z")]
    weights = {"w1": W(8, 2, 3, 3), "w2": W(5, 8, 3, 3)}
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ("n", 8, 9, 9))
    report, written = run(path, save_samples(tmp_path, (8, 9, 9)))
    for group in np.split(written["w1"] / float(report.layers[0].scale), 4):
        matrix = group.reshape(2, 18)
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(2), atol=1e-5)
    (first, _) = find_layers(read_model(path)[0])
    assert first.layer.layout.groups == 4


def test_not_converging_shows_in_the_exit_status(tmp_path: Path, lsuv: Run) -> None:
    path = tied_embedding(tmp_path / "m.onnx", between=False)
    np.save(tmp_path / "ids.npy", np.random.default_rng(0).integers(0, 30, (8, 5)))
    arguments = ("init", path, "--data", "ids.npy", "--out", "out", "--force")
    process = lsuv(*arguments, "--max-iter", 1)
    assert process.returncode == 4
    assert "max_iterations" in process.stderr
    assert lsuv(*arguments).returncode == 0
