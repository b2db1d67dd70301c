"""`lsuv inspect`: layers, names, inputs and the plan, without any samples."""

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
from onnx import TensorProto, helper
from torch import nn

from support.graphs import random_weight, save_graph
from support.paths import ROOT

Run = Callable[..., subprocess.CompletedProcess[str]]
SCHEMA = json.loads((ROOT / "docs" / "inspect.schema.json").read_text())


def inspected(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    return document


def test_layers_of_a_sample_model(lsuv: Run, sample_models: Callable[[str], Path]) -> None:
    document = inspected(lsuv("inspect", sample_models("googlenet"), "--json"))
    layers = document["layers"]
    assert len(layers) == 58
    assert layers[0]["weight"] == "conv1.weight"
    assert layers[0]["shape"] == [64, 3, 7, 7]
    total = sum(layer["parameters"] for layer in layers)
    assert total == document["model"]["parameters"]
    (spec,) = document["inputs"]
    assert spec["shape"] == [None, 3, 224, 224]
    assert "pictures, RGB, 224x224, channels first" in spec["meaning"]
    assert document["plan"] is None


def test_the_table_goes_to_stdout(
    tmp_path: Path, lsuv: Run, sample_models: Callable[[str], Path]
) -> None:
    done = lsuv("inspect", sample_models("fitnet_mnist"), "--exclude", "fc*")
    assert done.returncode == 0
    assert "left as it is: matches --exclude" in done.stdout
    assert "conv1_1.piece0.weight" in done.stdout
    assert "grey, 28x28" in done.stdout
    assert "error" not in done.stderr
    assert not list(tmp_path.iterdir())


class Encoder(nn.Module):
    """A Linear on sequences, which ONNX holds transposed and without a name."""

    def __init__(self) -> None:
        super().__init__()
        self.ids = nn.Embedding(11, 6)
        self.mix = nn.Linear(6, 6)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.mix(self.ids(ids))
        return hidden


def test_names_of_pytorch(tmp_path: Path, lsuv: Run) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Encoder(),
            (torch.zeros(2, 4, dtype=torch.long),),
            tmp_path / "m.onnx",
            dynamo=False,
            input_names=["ids"],
            dynamic_axes={"ids": {0: "batch"}},
        )
    document = inspected(lsuv("inspect", "m.onnx", "--json"))
    (layer,) = document["layers"]
    assert layer["weight"] == "mix.weight"
    assert layer["onnx_weight"].startswith("onnx::MatMul")
    assert "token ids" in document["inputs"][0]["meaning"]


def test_shared_weights(tmp_path: Path, lsuv: Run) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="once"),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["y"], name="twice"),
    ]
    save_graph(tmp_path / "m.onnx", nodes, {"w": random_weight(4, 4)}, ["n", 4])
    layers = inspected(lsuv("inspect", "m.onnx", "--json"))["layers"]
    assert [layer["shares_weight_with"] for layer in layers] == [["twice"], ["once"]]
    assert "shares its weight with twice" in lsuv("inspect", "m.onnx").stdout


def test_torchscript_wants_the_shapes_of_its_inputs(tmp_path: Path, forked: Run) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    trace: Callable[..., torch.jit.ScriptModule] = torch.jit.trace
    trace(net, torch.zeros(1, 3, 4, 4)).save(str(tmp_path / "m.pt"))
    refused = forked("inspect", "m.pt")
    assert refused.returncode == 2
    assert "--input-shape" in refused.stderr
    document = inspected(forked("inspect", "m.pt", "--input-shape", "3,4,4", "--json"))
    assert [layer["weight"] for layer in document["layers"]] == ["0.weight", "3.weight"]


def test_the_plan_is_that_of_init(
    tmp_path: Path, lsuv: Run, sample_models: Callable[[str], Path]
) -> None:
    """What `inspect` predicts is what `init` says with the same samples and memory."""
    model = sample_models("fitnet4_tanh")
    options = ("--batch-size", "8", "--memory", "2MB", "--samples", "32")
    document = inspected(lsuv("inspect", model, "--plan", "--json", *options))
    plan = document["plan"]
    assert (plan["samples"], plan["batch_size"]) == (32, 8)
    assert plan["segments"] > 2
    assert plan["node_executions"] > 0
    assert plan["spilled_bytes"] > 0
    np.save(tmp_path / "x.npy", random_weight(32, 3, 32, 32))
    done = lsuv("init", model, "--data", "x.npy", "--out", "w", "--no-verify", "-v", *options)
    assert done.returncode == 0, done.stderr
    said = next(line for line in done.stderr.splitlines() if line.startswith("plan: "))
    assert said in lsuv("inspect", model, "--plan", *options).stdout
    assert f"{plan['node_executions']:,} node executions" in said


@pytest.mark.parametrize(
    ("shape", "kind", "meaning"),
    [
        (["n", 3, "h", "w"], TensorProto.FLOAT, "pictures, RGB, of a size to be given"),
        (["n", 8, 8, 1], TensorProto.FLOAT, "pictures, grey, 8x8, channels last"),
        (["n", 5, 8, 8], TensorProto.FLOAT, "arrays"),
    ],
)
def test_what_an_input_is_fed(
    tmp_path: Path, lsuv: Run, shape: list[str | int], kind: int, meaning: str
) -> None:
    channels = shape[1] if isinstance(shape[1], int) else 1
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], name="conv")]
    weight = random_weight(2, channels, 1, 1)
    save_graph(tmp_path / "m.onnx", nodes, {"w": weight}, shape, input_type=kind)
    document = inspected(lsuv("inspect", "m.onnx", "--json"))
    assert document["inputs"][0]["meaning"].startswith(meaning)


def test_an_open_size_keeps_the_plan_from_being_made(tmp_path: Path, lsuv: Run) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], name="conv")]
    save_graph(tmp_path / "m.onnx", nodes, {"w": random_weight(2, 3, 1, 1)}, ["n", 3, "h", "w"])
    refused = lsuv("inspect", "m.onnx", "--plan")
    assert refused.returncode == 2
    assert "--input-shape x:SIZES" in refused.stderr
    assert lsuv("inspect", "m.onnx", "--plan", "--input-shape", "3,8,8").returncode == 0
    assert "--samples a number" in lsuv("inspect", "m.onnx", "--plan", "--samples", "all").stderr
