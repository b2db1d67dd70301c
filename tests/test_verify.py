"""`lsuv verify`: what it measures, against PyTorch; and how it judges."""

from __future__ import annotations

import json
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper
from safetensors.numpy import save_file
from torch import nn

from support.graphs import random_weight, save_graph
from support.paths import ROOT

Run = Callable[..., subprocess.CompletedProcess[str]]
Array = NDArray[Any]
SCHEMA = json.loads((ROOT / "docs" / "verify.schema.json").read_text())


def export(module: nn.Module, path: Path, size: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (torch.zeros(2, size),),
            path,
            dynamo=False,
            input_names=["x"],
            dynamic_axes={"x": {0: "batch"}},
        )


def verified(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(done.stdout)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    return document


@pytest.fixture
def perceptron(tmp_path: Path) -> nn.Sequential:
    """A net with a dead unit, a saturated layer and one whose standard deviation is 1."""
    torch.manual_seed(1)
    first, second, third = nn.Linear(6, 8), nn.Linear(8, 5), nn.Linear(5, 3)
    net = nn.Sequential(first, nn.ReLU(), second, nn.Tanh(), third)
    x = torch.randn(64, 6)
    with torch.no_grad():
        first.bias[2] = -100.0
        second.weight *= 20
        std = net(x).std(correction=0)
        third.weight.div_(std)
        third.bias.div_(std)
    np.save(tmp_path / "x.npy", x.numpy())
    export(net, tmp_path / "m.onnx", 6)
    return net


def test_measures_what_pytorch_does(tmp_path: Path, lsuv: Run, perceptron: nn.Sequential) -> None:
    done = lsuv("verify", "m.onnx", "--data", "x.npy", "--json", "--batch-size", "24")
    assert done.returncode == 4, done.stderr
    document = verified(done)
    assert document["weights"] is None
    assert not document["within"]
    x = torch.from_numpy(np.load(tmp_path / "x.npy"))
    first, second, third = perceptron[:1](x), perceptron[:3](x), perceptron(x)
    layers = document["layers"]
    for layer, output in zip(layers, (first, second, third), strict=True):
        assert layer["measured"]["mean"] == pytest.approx(output.mean().item(), rel=1e-4, abs=1e-6)
        variance = output.var(correction=0).item()
        assert layer["measured"]["variance"] == pytest.approx(variance, rel=1e-4)
        assert layer["deviation"] == pytest.approx(abs(variance - 1), rel=1e-3, abs=1e-5)
        values, edges = output.detach().numpy().ravel(), layer["distribution"]["edges"]
        inside = np.clip(values, edges[0], np.nextafter(edges[-1], -np.inf))
        counts, _ = np.histogram(inside, np.array(edges))
        assert layer["distribution"]["shares"] == pytest.approx(counts / counts.sum(), abs=2e-3)
    assert [layer["status"] for layer in layers] == ["outside", "outside", "within"]
    assert [layer["distribution"]["activation"] for layer in layers] == ["Relu", "Tanh", None]
    assert layers[0]["distribution"]["dead"] == pytest.approx(1 / 8)
    zeros = (first <= 0).float().mean().item()
    assert layers[0]["distribution"]["saturated"] == pytest.approx(zeros, abs=1e-6)
    flat = (1 - torch.tanh(second) ** 2 < 0.05).float().mean().item()
    assert flat > 0.5
    assert layers[1]["distribution"]["saturated"] == pytest.approx(flat, abs=1e-6)
    assert layers[2]["distribution"]["dead"] is None


def test_written_weights_are_within(tmp_path: Path, lsuv: Run, perceptron: nn.Sequential) -> None:
    assert lsuv("init", "m.onnx", "--data", "x.npy", "--out", "w.safetensors").returncode == 0
    done = lsuv("verify", "m.onnx", "w.safetensors", "--data", "x.npy", "--json")
    assert done.returncode == 0, done.stderr
    document = verified(done)
    assert document["within"]
    assert document["weights"] == "w.safetensors"
    assert [layer["status"] for layer in document["layers"]] == ["within"] * 3
    assert "3 layers: 3 within" in done.stderr
    assert "dead" in done.stderr


def test_any_checkpoint_whose_names_match(
    tmp_path: Path, lsuv: Run, perceptron: nn.Sequential
) -> None:
    state = {name: value * 2 for name, value in perceptron.state_dict().items()}
    torch.save(state, tmp_path / "checkpoint.pt")
    save_file({name: value.numpy() for name, value in state.items()}, tmp_path / "same.safetensors")
    found = [
        verified(lsuv("verify", "m.onnx", name, "--data", "x.npy", "--json"))["layers"]
        for name in ("checkpoint.pt", "same.safetensors")
    ]
    assert found[0] == found[1]
    with torch.no_grad():
        output = perceptron[:1](torch.from_numpy(np.load(tmp_path / "x.npy"))) * 2
    assert found[0][0]["measured"]["variance"] == pytest.approx(
        output.var(correction=0).item(), rel=1e-4
    )


def test_what_does_not_fit_is_refused(tmp_path: Path, lsuv: Run, perceptron: nn.Sequential) -> None:
    state = {name: value.numpy() for name, value in perceptron.state_dict().items()}
    state["0.weight"] = state["0.weight"][:4].copy()
    del state["4.bias"]
    save_file(state, tmp_path / "other.safetensors")
    done = lsuv("verify", "m.onnx", "other.safetensors", "--data", "x.npy")
    assert (done.returncode, done.stdout) == (3, "")
    assert "4.bias" in done.stderr
    assert "0.weight" in done.stderr
    done = lsuv("verify", "m.onnx", "nothing.safetensors", "--data", "x.npy")
    assert done.returncode == 3
    assert done.stderr.count("error:") == 1


ACTIVATIONS: dict[str, tuple[dict[str, Any], Callable[[Array], Array] | None, int]] = {
    "Celu": ({"alpha": 0.5}, lambda x: (x < 0) & (np.exp(x / 0.5) < 0.05), 12),
    "Clip": ({"min": -0.5, "max": 1.0}, lambda x: (x <= -0.5) | (x >= 1.0), 7),
    "Elu": ({"alpha": 1.5}, lambda x: (x < 0) & (np.exp(x) < 0.05), 17),
    "HardSigmoid": ({}, lambda x: np.abs(x) >= 2.5, 17),
    "HardSwish": ({}, lambda x: x <= -3, 17),
    "LeakyRelu": ({}, None, 9),
    "Selu": ({}, lambda x: (x < 0) & (np.exp(x) < 0.05), 17),
    "Sigmoid": ({}, lambda x: 4 * np.exp(-x) / (1 + np.exp(-x)) ** 2 < 0.05, 17),
    "Softplus": ({}, lambda x: 1 / (1 + np.exp(-x)) < 0.05, 17),
    "Softsign": ({}, lambda x: (1 + np.abs(x)) ** -2 < 0.05, 17),
    "ThresholdedRelu": ({"alpha": 0.7}, lambda x: x <= 0.7, 17),
}


def test_flat_parts_of_every_activation(tmp_path: Path, lsuv: Run) -> None:
    """Each operator in its own model; all in one process, since each takes little."""
    from lsuv_cli.core.events import Silent
    from lsuv_cli.core.options import SampleOptions, VerifyOptions
    from lsuv_cli.jobs.verify import verify_weights

    weight = random_weight(4, 3, seed=5) * 3
    x = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    for op, (attributes, is_flat, opset) in ACTIVATIONS.items():
        nodes = [
            helper.make_node("MatMul", ["x", "w"], ["z"], name="fc"),
            helper.make_node(op, ["z"], ["y"], **attributes),
        ]
        path = save_graph(tmp_path / f"{op}.onnx", nodes, {"w": weight}, ["batch", 4], opset=opset)
        options = VerifyOptions(
            model=path, samples=SampleOptions((str(tmp_path / "x.npy"),)), device="cpu"
        )
        distribution = verify_weights(options, Silent()).layers[0].distribution
        assert distribution is not None
        assert distribution.activation == op
        if is_flat is None:
            assert distribution.saturated is None
        else:
            flat = is_flat((x @ weight).astype(np.float64))
            assert 0 < flat.mean() < 1, op
            assert distribution.saturated == pytest.approx(flat.mean(), abs=1e-6), op


@pytest.mark.parametrize(
    "command",
    ["verify m.onnx --data x.npy", "compare m.onnx --data x.npy", "inspect m.onnx --plan"],
)
def test_a_folder_to_spill_to_must_be_there(
    lsuv: Run, perceptron: nn.Sequential, command: str
) -> None:
    done = lsuv(*command.split(), "--spill-dir", "nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith("error: --spill-dir nowhere: no such folder")
    assert "Traceback" not in done.stderr
