"""`lsuv apply` and `init --out-model`: weights back in a model that runs."""

from __future__ import annotations

import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from graphs import random_weight, save_graph
from numpy.typing import NDArray
from onnx import helper
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_torch
from torch import nn

Run = Callable[..., subprocess.CompletedProcess[str]]


class Mixer(nn.Module):
    """Convolution, a Linear on sequences (transposed and nameless in ONNX), and a plain one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.mix = nn.Linear(4, 4)
        self.head = nn.Linear(96, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.mix(torch.relu(self.conv(x))))
        found: torch.Tensor = self.head(hidden.flatten(1))
        return found


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Mixer(),
            (torch.zeros(1, 3, 6, 6),),
            tmp_path / "m.onnx",
            dynamo=False,
            input_names=["x"],
            dynamic_axes={"x": {0: "batch"}},
        )
    np.save(tmp_path / "x.npy", random_weight(32, 3, 6, 6, seed=3))
    return tmp_path / "m.onnx"


def output(model: Path, x: NDArray[Any]) -> NDArray[Any]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    found: NDArray[Any] = session.run(None, {session.get_inputs()[0].name: x})[0]
    return found


def test_apply_gives_what_pytorch_gives(tmp_path: Path, lsuv: Run, exported: Path) -> None:
    done = lsuv(
        *("init", exported, "--data", "x.npy", "--out", "w.safetensors"),
        *("--out-model", "at-once.onnx"),
    )
    assert done.returncode == 0, done.stderr
    done = lsuv("apply", exported, "w.safetensors", "--out", "later.onnx")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "wrote later.onnx" in done.stderr
    assert (tmp_path / "later.onnx").read_bytes() == (tmp_path / "at-once.onnx").read_bytes()
    net = Mixer()
    net.load_state_dict(load_torch(tmp_path / "w.safetensors"))
    x = np.load(tmp_path / "x.npy")
    found = output(tmp_path / "later.onnx", x)
    assert found == pytest.approx(net(torch.from_numpy(x)).detach().numpy(), abs=1e-5)
    assert found.var() == pytest.approx(1, abs=1e-4)
    before, after = onnx.load(exported), onnx.load(tmp_path / "later.onnx")
    assert [node.name for node in before.graph.node] == [node.name for node in after.graph.node]
    again = lsuv("verify", "later.onnx", "--data", "x.npy")
    assert again.returncode == 0, again.stderr


def test_external_data_stays_external(tmp_path: Path, lsuv: Run, exported: Path) -> None:
    (tmp_path / "big").mkdir()
    onnx.save(
        onnx.load(exported),
        tmp_path / "big" / "m.onnx",
        save_as_external_data=True,
        location="m.bin",
        size_threshold=0,
    )
    lsuv("init", exported, "--data", "x.npy", "--out", "w.safetensors")
    lsuv("apply", exported, "w.safetensors", "--out", "inside.onnx")
    done = lsuv("apply", "big/m.onnx", "w.safetensors", "--out", "outside.onnx")
    assert done.returncode == 0, done.stderr
    x = np.load(tmp_path / "x.npy")
    assert (tmp_path / "outside.onnx.data").stat().st_size > 1000
    assert np.array_equal(output(tmp_path / "outside.onnx", x), output(tmp_path / "inside.onnx", x))
    done = lsuv("apply", "big/m.onnx", "w.safetensors", "--out", "outside.onnx")
    assert done.returncode == 5
    assert "--force" in done.stderr


def test_tied_weights_and_constants(tmp_path: Path, lsuv: Run) -> None:
    constant = helper.make_node(
        "Constant", [], ["c"], value=onnx.numpy_helper.from_array(random_weight(4, 4, seed=8))
    )
    nodes = [
        constant,
        helper.make_node("MatMul", ["x", "w"], ["h"], name="once"),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "w"], ["s"], name="twice"),
        helper.make_node("MatMul", ["s", "c"], ["y"], name="last"),
    ]
    save_graph(tmp_path / "m.onnx", nodes, {"w": random_weight(4, 4)}, ["n", 4])
    np.save(tmp_path / "x.npy", random_weight(64, 4, seed=1))
    done = lsuv("init", "m.onnx", "-d", "x.npy", "-o", "w", "--out-model", "new.onnx")
    assert done.returncode in (0, 4), done.stderr
    weights = load_file(tmp_path / "w")
    x = np.load(tmp_path / "x.npy")
    expected = np.maximum(x @ weights["w"], 0) @ weights["w"] @ weights["c"]
    assert output(tmp_path / "new.onnx", x) == pytest.approx(expected, abs=1e-5)


def test_torchscript(tmp_path: Path, lsuv: Run) -> None:
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    trace: Callable[..., torch.jit.ScriptModule] = torch.jit.trace
    trace(net, torch.zeros(1, 4)).save(str(tmp_path / "m.pt"))
    state = {name: value * 3 for name, value in net.state_dict().items()}
    torch.save(state, tmp_path / "w.pt")
    done = lsuv("apply", "m.pt", "w.pt", "--out", "new.pt")
    assert done.returncode == 0, done.stderr
    load: Callable[..., torch.jit.ScriptModule] = torch.jit.load
    new = load(str(tmp_path / "new.pt"))
    net.load_state_dict(state)
    x = torch.randn(5, 4)
    assert torch.allclose(new(x), net(x))


def test_what_does_not_fit_leaves_nothing(tmp_path: Path, lsuv: Run, exported: Path) -> None:
    save_file({"conv.weight": random_weight(2, 2)}, tmp_path / "w.safetensors")
    before = sorted(path.name for path in tmp_path.iterdir())
    for arguments, code in (
        (("apply", exported, "w.safetensors", "--out", "new.onnx"), 3),
        (("apply", exported, "none.safetensors", "--out", "new.onnx"), 3),
        (("apply", exported, "w.safetensors", "--out", exported, "--force"), 5),
        (("apply", exported, "w.safetensors"), 2),
    ):
        done = lsuv(*arguments)
        assert (done.returncode, done.stdout) == (code, "")
        assert done.stderr.count("error:") == 1
        assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == before
