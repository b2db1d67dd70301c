"""Layers that training does not change: buffers, constants, and parameters without gradient."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import Tensor, nn
from torch.nn import functional

from lsuv_cli.core.choices import Bias
from lsuv_cli.core.events import Silent
from lsuv_cli.core.options import InspectOptions, SampleOptions
from lsuv_cli.jobs.inspect import inspect_model
from support.command import Run
from support.graphs import save_graph
from support.layer_outputs import off_target, outputs_by_layer, variance
from support.promise import Initialised, initialised, load_strictly
from support.refusals import check_refused
from support.roads import ROADS, by_road, save_samples

PICTURES = (torch.randn(24, 3, 10, 10, generator=torch.manual_seed(1)),)
LOAD: Callable[..., Any] = torch.jit.load
VECTORS = (torch.randn(48, 12, generator=torch.manual_seed(2)),)


class Smoothed(nn.Module):
    """A convolution, a Gaussian that is a plain attribute, and a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3)
        line = torch.exp(-0.5 * torch.arange(-1.0, 2.0) ** 2)
        self.gaussian = (line[:, None] * line / line.sum() ** 2).repeat(4, 1, 1, 1)

    def forward(self, x: Tensor) -> Any:
        smooth = functional.conv2d(torch.relu(self.head(x)), self.gaussian, groups=4)
        return self.tail(smooth)


class Rotated(nn.Module):
    """A rotation that is a buffer, as the weight of a linear layer, and two layers around it."""

    rotation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = nn.Linear(12, 8), nn.Linear(8, 3)
        rotation = torch.linalg.qr(torch.randn(8, 8))[0]
        self.register_buffer("rotation", rotation)

    def forward(self, x: Tensor) -> Any:
        return self.tail(torch.tanh(functional.linear(self.head(x), self.rotation)))


class PartlyFrozen(nn.Module):
    """A layer without gradient, one whose bias has none, and a normalisation between them."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen, self.norm = nn.Linear(12, 10), nn.BatchNorm1d(10)
        self.head, self.tail = nn.Linear(10, 8), nn.Linear(8, 3)
        self.frozen.requires_grad_(False)
        self.head.bias.requires_grad_(False)
        nn.init.zeros_(self.tail.bias)

    def forward(self, x: Tensor) -> Any:
        return self.tail(torch.relu(self.head(torch.relu(self.norm(self.frozen(x))))))


class TiedFrozen(nn.Module):
    """Frozen token embeddings, which are the output layer's weight too."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mid = nn.Embedding(20, 8), nn.Linear(8, 8)
        self.out = nn.Linear(8, 20, bias=False)
        self.out.weight = self.embed.weight
        self.embed.requires_grad_(False)

    def forward(self, ids: Tensor) -> Any:
        return self.out(self.mid(self.embed(ids)))


class Recurrent(nn.Module):
    """A frozen LSTM ahead of one that is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.LSTM(6, 5, batch_first=True)
        self.trained, self.head = nn.LSTM(5, 4, batch_first=True), nn.Linear(4, 3)
        self.frozen.requires_grad_(False)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.trained(self.frozen(x)[0])[0])


class Warnings(Silent):
    """Keeps warnings."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def warn(self, text: str) -> None:
        self.texts.append(text)


def run_of(
    make: Callable[[], nn.Module], inputs: tuple[Tensor, ...], road: str, folder: Path, **more: Any
) -> tuple[Initialised, nn.Module]:
    """Initialise a module by a road; return the run, and the module as it was."""
    torch.manual_seed(0)
    module = make().eval()
    model = by_road(module, inputs, road, folder)
    return initialised(model, save_samples(model, inputs), **more), module


def check_kept(run: Initialised, before: nn.Module, *names: str) -> None:
    """Check that tensors were written as they were, and the rest was not."""
    for name, value in before.state_dict().items():
        same = np.array_equal(run.tensors[name], value.numpy())
        assert same == (name in names), name


@pytest.mark.parametrize("road", ROADS)
def test_a_plain_attribute_is_a_constant(tmp_path: Path, road: str) -> None:
    run, _ = run_of(Smoothed, PICTURES, road, tmp_path)
    assert run.code == 0
    assert list(run.statuses.values()) == ["converged", "fixed", "converged"]
    assert run.report["layers"][1]["detail"] == "its weight is a constant, not a parameter"
    assert not any("BatchNorm" in text or "exclude" in text for text in run.texts)
    extra = [name for name in run.tensors if name == "gaussian"]
    module = load_strictly(run, Smoothed, extra)
    assert not off_target(outputs_by_layer(module, PICTURES))


def test_a_constant_that_a_tool_has_made_an_initializer(tmp_path: Path) -> None:
    path = by_road(Smoothed().eval(), PICTURES, "script", tmp_path)
    model = onnx.load(path)
    (constant,) = [node for node in model.graph.node if node.op_type == "Constant"]
    tensor = constant.attribute[0].t
    tensor.name = constant.output[0]
    model.graph.initializer.append(tensor)
    model.graph.node.remove(constant)
    onnx.save(model, path)
    run = initialised(path, save_samples(path, PICTURES))
    assert list(run.statuses.values()) == ["converged", "fixed", "converged"]
    assert not any("not written" in text or "not PyTorch's" in text for text in run.texts)
    assert not off_target(outputs_by_layer(load_strictly(run, Smoothed), PICTURES))


@pytest.mark.parametrize("road", ["dynamo", "unopt", "trace"])
def test_a_buffer_is_fixed(tmp_path: Path, road: str) -> None:
    run, before = run_of(Rotated, VECTORS, road, tmp_path)
    assert run.code == 0
    assert list(run.statuses.values()) == ["converged", "fixed", "converged"]
    reason = run.report["layers"][1]["detail"]
    assert re.fullmatch(
        "its weight is (a buffer|computed from rotation, which is a buffer)", reason
    )
    module = Rotated()
    module.load_state_dict(
        {
            name: torch.from_numpy(value)
            for name, value in run.tensors.items()
            if name in before.state_dict()
        },
        strict=False,
    )
    module.rotation.copy_(before.state_dict()["rotation"])
    assert not off_target(outputs_by_layer(module, VECTORS))
    if road != "dynamo":
        check_kept(run, before, "rotation")


def test_frozen_weights_and_biases_stay(tmp_path: Path) -> None:
    run, before = run_of(PartlyFrozen, VECTORS, "trace", tmp_path)
    assert run.code == 0
    assert run.statuses == {
        "frozen.weight": "fixed",
        "head.weight": "converged",
        "tail.weight": "converged",
    }
    assert run.report["layers"][0]["detail"] == "its weight requires no gradient"
    assert run.report["layers"][0]["after"] is not None
    for name in ("frozen.weight", "frozen.bias", "head.bias"):
        assert np.array_equal(run.tensors[name], before.state_dict()[name].numpy()), name
    # The statistics are buffers, and follow the samples all the same.
    assert np.any(run.tensors["norm.running_mean"] != 0)
    module = load_strictly(run, PartlyFrozen)
    assert not off_target(outputs_by_layer(module, VECTORS), passed_over=["frozen"])


def test_a_trained_bias_equal_to_a_buffer_is_set(tmp_path: Path) -> None:
    # The exporter stores the bias, of zeros, as a copy of the running mean, of zeros.
    run, before = run_of(PartlyFrozen, VECTORS, "trace", tmp_path, bias=Bias.CENTER)
    assert run.code == 0
    assert np.array_equal(run.tensors["head.bias"], before.state_dict()["head.bias"].numpy())
    assert np.all(run.tensors["tail.bias"] != 0)
    outputs = outputs_by_layer(load_strictly(run, PartlyFrozen), VECTORS)
    assert outputs["tail"][0].mean(0).abs().max() < 1e-6
    assert variance(outputs["head"]) == pytest.approx(1, abs=1e-5)


def test_what_is_tied_to_a_frozen_weight_is_frozen(tmp_path: Path) -> None:
    ids = (torch.randint(20, (32, 6), generator=torch.manual_seed(3)),)
    run, before = run_of(TiedFrozen, ids, "trace", tmp_path)
    assert run.code == 0
    assert run.statuses == {"mid.weight": "converged", "embed.weight": "fixed"}
    for name in ("embed.weight", "out.weight"):
        assert np.array_equal(run.tensors[name], before.state_dict()[name].numpy())
    assert not off_target(
        outputs_by_layer(load_strictly(run, TiedFrozen), ids), passed_over=["out"]
    )


def test_recurrent_weights_whose_names_are_lost(tmp_path: Path) -> None:
    frames = (torch.randn(16, 7, 6, generator=torch.manual_seed(4)),)
    torch.manual_seed(0)
    before = Recurrent().eval()
    torch.jit.save(torch.jit.script(before), tmp_path / "m.pt")
    run = initialised(tmp_path / "m.pt", save_samples(tmp_path / "m.pt", frames))
    assert run.code == 0
    statuses = [layer["status"] for layer in run.report["layers"]]
    assert sorted(statuses) == ["converged"] * 5 + ["fixed"] * 8 + ["unscaled"] * 4
    for name, value in before.state_dict().items():
        same = np.array_equal(run.tensors[name], value.numpy())
        assert same == name.startswith("frozen"), name


def test_nothing_to_initialise(tmp_path: Path, lsuv: Run) -> None:
    module = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 2)).requires_grad_(False)
    model = by_road(module, VECTORS, "trace", tmp_path)
    data = save_samples(model, VECTORS)
    words = "changes none of the 2 (its weight requires no gradient); call requires_grad_(True)"
    for command in (["init", "--out", "o.safetensors"], ["verify"], ["compare"]):
        process = lsuv(command[0], model, "--data", data, *command[1:])
        check_refused(process, 3, words)
    script = LOAD(model)
    for parameter in script.parameters():
        parameter.requires_grad_(True)
    torch.jit.save(script, model)
    process = lsuv("init", model, "--data", data, "--out", "o.safetensors")
    assert process.returncode == 0, process.stderr


def test_every_command_shows_what_is_fixed(tmp_path: Path, lsuv: Run) -> None:
    model = by_road(PartlyFrozen().eval(), VECTORS, "trace", tmp_path)
    data = save_samples(model, VECTORS)
    words = ("init", model, "--data", data, "--samples", "all", "--out", "o.safetensors")
    process = lsuv(*words, "--out-model", "o.pt", "--report", "page.html")
    assert process.returncode == 0, process.stderr
    rows = [row.rstrip() for row in process.stderr.splitlines()]
    assert any(row.startswith("frozen") and row.endswith("fixed") for row in rows)
    assert "3 layers: 1 fixed, 2 converged" in process.stderr
    assert "fixed: its weight requires no gradient" in process.stderr
    report = json.loads(lsuv(*words, "--json", "--force").stdout)
    assert report["layers"][0]["status"] == "fixed"
    page = (tmp_path / "page.html").read_text()
    assert re.search('class="faint"[^>]*>fixed<', page), page

    inspected = lsuv("inspect", model, "--input-shape", "x:12", "--json")
    (first, second, _) = json.loads(inspected.stdout)["layers"]
    assert first["skipped_status"] == "fixed"
    assert second["skipped_status"] is None
    shown = lsuv("inspect", model, "--input-shape", "x:12").stdout
    assert "fixed: its weight requires no gradient" in shown

    verified = lsuv("verify", model, "o.safetensors", "--data", data, "--samples", "all")
    assert verified.returncode == 0, verified.stderr
    assert "3 layers: 1 fixed, 2 within" in verified.stdout + verified.stderr
    compared = lsuv("compare", model, "--data", data, "--samples", "all", "--json")
    assert compared.returncode == 0, compared.stderr
    facts = json.loads(compared.stdout)["layers"]
    forward = facts[0]["forward"]
    assert len({one["variance"] for one in forward.values()}) == 1
    applied = lsuv("apply", model, "o.safetensors", "--out", "applied.pt")
    assert applied.returncode == 0, applied.stderr
    assert LOAD(tmp_path / "applied.pt").frozen.weight.requires_grad is False


class Integral(nn.Module):
    """The mean of a distribution over 16 bins, by a matrix that is a parameter like any other."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.bins = nn.Linear(12, 16), nn.Linear(16, 1, bias=False)
        self.bins.weight.data.copy_(torch.arange(16.0))

    def forward(self, x: Tensor) -> Any:
        return self.bins(self.head(x).softmax(-1))


def test_a_weight_that_looks_made_is_named(tmp_path: Path, lsuv: Run) -> None:
    model = by_road(Integral().eval(), VECTORS, "dynamo", tmp_path)
    data = save_samples(model, VECTORS)
    words = (
        "warning: these weights look made by hand, and the file does not tell whether training "
        "changes them: bins.weight (whole multiples of 1); they are initialised like any other "
        "unless you give --exclude bins.weight"
    )

    def told(*arguments: object) -> bool:
        process = lsuv(*arguments)
        assert process.returncode in (0, 4), process.stderr
        return words in " ".join(process.stderr.split())

    init = ("init", model, "--data", data, "--out", "o.safetensors", "--force")
    assert told(*init)
    assert told("inspect", model)
    assert told("compare", model, "--data", data, "--inits", "he")
    assert not told(*init, "--exclude", "bins.weight")
    assert not told("verify", model, "--data", data)
    traced = by_road(Integral().eval(), VECTORS, "trace", tmp_path)
    assert not told("inspect", traced, "--input-shape", "x:12")


def test_of_a_large_weight_only_a_part_is_read(tmp_path: Path) -> None:
    rows, columns = 2100, 1024
    windows = np.arange(1, rows + 1)[:, None, None] * np.hanning(columns)
    kernels = windows.astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv")
    path = save_graph(tmp_path / "m.onnx", [node], {"w": kernels}, ("n", 1, columns))
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="w.bin")
    read: list[int] = []
    whole = np.fromfile

    def count(file: Path, dtype: Any, size: int, **more: Any) -> Any:
        read.append(size)
        return whole(file, dtype, size, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "fromfile", count)
        events = Warnings()
        inspect_model(InspectOptions(model=path, samples=SampleOptions(()), device="cpu"), events)
    assert any("w (nowhere negative)" in text for text in events.texts)
    assert sum(read) < kernels.nbytes / 100
