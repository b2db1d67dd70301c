"""`lsuv apply` and `init --out-model`: weights back in a model that runs."""

from __future__ import annotations

import subprocess
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import helper
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_torch
from safetensors.torch import save_file as save_torch
from torch import nn

from lsuv_cli.core.errors import DataError, OutputError, UsageError
from lsuv_cli.core.events import Silent
from lsuv_cli.core.options import ApplyOptions
from lsuv_cli.jobs.apply import apply_weights
from lsuv_cli.weights import onnx_output
from support.graphs import random_weight, save_graph
from support.initialization import run

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


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


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


def test_a_large_model_gets_external_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exported: Path
) -> None:
    """From the limit on; aligned, small tensors inside, and the same values."""
    samples = tmp_path / "x.npy"
    table = np.arange(500)
    model = onnx.load(exported)
    model.graph.initializer.append(onnx.numpy_helper.from_array(table, "table"))
    onnx.save(model, exported)
    _, written = run(exported, samples, out_model=tmp_path / "inside.onnx")
    before = sorted(path.name for path in tmp_path.iterdir())
    monkeypatch.setattr(onnx_output, "MAX_INLINE_BYTES", 2000)
    run(exported, samples, out_model=tmp_path / "outside.onnx")
    names = ["outside.onnx", "outside.onnx.data"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, *names])
    for tensor in onnx.load(tmp_path / names[0], load_external_data=False).graph.initializer:
        place = {entry.key: entry.value for entry in tensor.external_data}
        nbytes = {**written, "table": table}.get(tensor.name, np.empty(0)).nbytes
        assert bool(place) == (nbytes >= 1024), tensor.name
        if place:
            assert place["location"] == names[1]
            assert int(place["offset"]) % 4096 == 0
            assert int(place["length"]) == nbytes
    x = np.load(samples)
    assert np.array_equal(output(tmp_path / names[0], x), output(tmp_path / "inside.onnx", x))
    stored = {one.name: one for one in onnx.load(tmp_path / names[0]).graph.initializer}
    assert np.array_equal(onnx.numpy_helper.to_array(stored["table"]), table)
    content = [(tmp_path / name).read_bytes() for name in names]
    # What is there already is found before the samples are read.
    (tmp_path / names[0]).unlink()
    samples.write_bytes(b"no samples any more")
    with pytest.raises(OutputError, match=r"outside\.onnx\.data exists already; give --force"):
        run(exported, samples, out=tmp_path / "w", out_model=tmp_path / names[0], force=False)
    weights = exported.with_suffix(".safetensors")
    options = ApplyOptions(model=exported, weights=weights, out=tmp_path / names[0])
    with pytest.raises(OutputError, match="exists already"):
        apply_weights(options, Silent())
    apply_weights(replace(options, force=True), Silent())
    assert [(tmp_path / name).read_bytes() for name in names] == content


def test_outputs_that_are_inputs(tmp_path: Path, exported: Path) -> None:
    samples = tmp_path / "x.npy"
    run(exported, samples)
    data = tmp_path / "new.onnx.data"
    place: dict[str, Any] = {"location": data.name, "size_threshold": 0}
    onnx.save(onnx.load(exported), tmp_path / "e.onnx", save_as_external_data=True, **place)
    before = contents(tmp_path)
    weights = exported.with_suffix(".safetensors")
    for out in (data, tmp_path / "new.onnx"):
        options = ApplyOptions(model=tmp_path / "e.onnx", weights=weights, out=out, force=True)
        with pytest.raises(OutputError, match="is the model's external data itself"):
            apply_weights(options, Silent())
        with pytest.raises(OutputError, match="is the model's external data itself"):
            run(tmp_path / "e.onnx", samples, out_model=out)
    (tmp_path / "w.onnx.data").hardlink_to(weights)
    with pytest.raises(OutputError, match="is the file of weights itself"):
        apply_weights(replace(options, out=tmp_path / "w.onnx"), Silent())
    (tmp_path / "w.onnx.data").unlink()
    with pytest.raises(UsageError, match="would both write"):
        run(tmp_path / "e.onnx", samples, out_model=tmp_path / "o", out=tmp_path / "o.data")
    assert contents(tmp_path) == before


def test_what_does_not_run_any_more_is_not_written(tmp_path: Path, lsuv: Run) -> None:
    """The new bias leads into a branch that fails; the model as it is runs."""
    sizes = onnx.numpy_helper.from_array(np.array([7], np.int64))
    branches = [
        [helper.make_node("Identity", ["h"], ["same"])],
        [
            helper.make_node("Constant", [], ["seven"], value=sizes),
            helper.make_node("Reshape", ["h", "seven"], ["wrong"]),
        ],
    ]
    then, other = (
        helper.make_graph(nodes, "branch", [], [onnx.ValueInfoProto(name=nodes[-1].output[0])], [])
        for nodes in branches
    )
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"]),
        helper.make_node("ReduceSum", ["h"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["positive"]),
        helper.make_node("If", ["positive"], ["y"], then_branch=then, else_branch=other),
    ]
    values = {"w": random_weight(4, 4), "b": np.ones(4, np.float32), "zero": np.zeros(1)}
    values = {name: value.astype(np.float32) for name, value in values.items()}
    path = save_graph(tmp_path / "m.onnx", nodes, values, ["n", 4])
    save_file({**values, "b": -values["b"]}, tmp_path / "w.safetensors")
    before = contents(tmp_path)
    done = lsuv("apply", path, "w.safetensors", "--out", "new.onnx")
    assert (done.returncode, done.stdout) == (3, "")
    assert "error: ONNX Runtime does not run the model with the new weights" in done.stderr
    assert contents(tmp_path) == before
    save_file(values, tmp_path / "w.safetensors")
    done = lsuv("apply", path, "w.safetensors", "--out", "new.onnx")
    assert done.returncode == 0
    assert "new.onnx was checked and run on zeros, x:1,4" in done.stderr
    # What the original can't do either, the new one need not.
    save_graph(path, nodes, {**values, "b": -values["b"]}, ["n", 4])
    save_file({**values, "b": -values["b"]}, tmp_path / "w.safetensors")
    done = lsuv("apply", path, "w.safetensors", "--out", "new.onnx", "--force")
    assert done.returncode == 0
    assert "does not run the model it was made from either" in done.stderr
    assert str(tmp_path) not in done.stderr


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


def test_torchscript(tmp_path: Path, forked: Run) -> None:
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    trace: Callable[..., torch.jit.ScriptModule] = torch.jit.trace
    trace(net, torch.zeros(1, 4)).save(str(tmp_path / "m.pt"))
    state = {name: value * 3 for name, value in net.state_dict().items()}
    torch.save(state, tmp_path / "w.pt")
    done = forked("apply", "m.pt", "w.pt", "--out", "new.pt")
    assert done.returncode == 0, done.stderr
    load: Callable[..., torch.jit.ScriptModule] = torch.jit.load
    new = load(str(tmp_path / "new.pt"))
    net.load_state_dict(state)
    x = torch.randn(5, 4)
    assert torch.allclose(new(x), net(x))
    done = forked("apply", "m.pt", "w.pt", "--out", "not text \udcff")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "not text \udcff").read_bytes() == (tmp_path / "new.pt").read_bytes()


def test_torchscript_in_another_precision(tmp_path: Path) -> None:
    trace: Callable[..., torch.jit.ScriptModule] = torch.jit.trace
    load: Callable[..., torch.jit.ScriptModule] = torch.jit.load
    options = ApplyOptions(
        model=tmp_path / "m.pt", weights=tmp_path / "w", out=tmp_path / "new.pt", force=True
    )
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).eval()
    for inside, outside in (("bfloat16", "float32"), ("float32", "bfloat16"), ("half", "float64")):
        net.to(getattr(torch, inside))
        trace(net, torch.zeros(2, 4, dtype=getattr(torch, inside))).save(str(options.model))
        state = {
            name: value.to(getattr(torch, outside)) + 1 if value.is_floating_point() else value
            for name, value in net.state_dict().items()
        }
        save_torch(state, options.weights)
        apply_weights(options, Silent())
        for name, value in load(str(options.out)).state_dict().items():
            assert torch.equal(value, state[name].to(net.state_dict()[name].dtype)), name
    eighths = {name: value.to(torch.float8_e4m3fn) for name, value in net.state_dict().items()}
    save_torch(eighths, options.weights)
    with pytest.raises(DataError, match="not dense tensors of numbers: 0"):
        apply_weights(options, Silent())


def test_what_does_not_fit_leaves_nothing(tmp_path: Path, lsuv: Run, exported: Path) -> None:
    save_file({"conv.weight": random_weight(2, 2)}, tmp_path / "w.safetensors")
    before = sorted(path.name for path in tmp_path.iterdir())
    for arguments, code in (
        (("apply", exported, "w.safetensors", "--out", "new.onnx"), 3),
        (("apply", exported, "none.safetensors", "--out", "new.onnx"), 3),
        (("apply", exported, "w.safetensors", "--out", exported, "--force"), 5),
        (("apply", exported, "w.safetensors"), 2),
        (("apply", exported, "w.safetensors", "--out", "new.pt"), 2),
        (("apply", exported, "w.safetensors", "--out", "new\udcff.onnx"), 5),
    ):
        done = lsuv(*arguments)
        assert (done.returncode, done.stdout) == (code, "")
        assert done.stderr.count("error:") == 1
        assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == before
