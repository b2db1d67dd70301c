"""Models out of PyTorch's two exporters: the weights load back, and hold in PyTorch's layers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from lsuv_cli.core.choices import Status
from lsuv_cli.core.errors import DataError
from lsuv_cli.graph.torch_origin import MADE_UP
from support.command import Run
from support.initialization import run
from support.pickles import Trap
from support.refusals import check_refused
from support.sample_files import save_batch
from support.torch_batch_norm import Residual
from support.torch_convolutional import Depthwise
from support.torch_export import EXPORTERS, export
from support.torch_models import BATCH, MODELS, built, example
from support.torch_variances import variances_by_call

ENCODER_PARAMETERS = [
    *(
        f"encoder.layers.{index}.{parameter}"
        for index in range(2)
        for parameter in (
            *(f"self_attn.in_proj_weight[{start}:{start + 12}]" for start in (0, 12, 24)),
            *("self_attn.out_proj.weight", "linear1.weight", "linear2.weight"),
        )
    ),
    "head.weight",
]


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("name", MODELS)
def test_weights_load_and_hold_in_pytorch(tmp_path: Path, name: str, exporter: str) -> None:
    if "BatchNorm" in name and exporter != "script, unfolded":
        pytest.skip("BatchNorm is folded; see test_folded_batch_norm_is_explained")
    model, inputs = built(name), example(name)
    export(model, inputs, tmp_path / "m.onnx", exporter)
    report, written = run(
        tmp_path / "m.onnx", save_batch(tmp_path, inputs), count=BATCH, names="torch", tol=1e-4
    )
    assert {r.status for r in report.layers} <= {Status.CONVERGED, Status.SHARED}
    state = {key: torch.from_numpy(value) for key, value in written.items()}
    if name == "GPT":  # one tensor in the file, two names in the module
        tied = next(state[key] for key in ("head.weight", "embedding.weight") if key in state)
        state |= {"head.weight": tied, "embedding.weight": tied}
    model.load_state_dict(state, strict=True)
    if name == "encoder":
        # However the exporter has stored it: the draws are keyed by what the parts are called.
        assert [result.planned.layer.weight_name for result in report.layers] == ENCODER_PARAMETERS
    found = variances_by_call(model, inputs)
    assert sum(map(len, found.values())) == len(report.layers)
    for layer, values in found.items():
        for variance in values if "in_proj" in layer else values[:1]:
            assert variance == pytest.approx(1, abs=1e-4 if name == "GPT" else 2e-5), layer
    fresh = built(name).state_dict()
    for key, value in state.items():
        if "norm" in key or key in ("token", "positions", "positions.weight"):
            assert torch.equal(value, fresh[key]) or "running" in key


@pytest.mark.parametrize("build", [Depthwise, Residual])
@pytest.mark.parametrize("exporter", ["script", "dynamo"])
def test_folded_batch_norm_is_explained(
    tmp_path: Path, lsuv: Run, exporter: str, build: Callable[[], nn.Module]
) -> None:
    model, inputs = build().eval(), example("depthwise with BatchNorm")
    export(model, inputs, tmp_path / "m.onnx", exporter)
    save_batch(tmp_path, inputs)
    arguments = ("init", "m.onnx", "--data", "batch.npz", "--out", "out")
    folded, remedy = {
        "script": ("weight, was folded into /", "do_constant_folding=False"),
        "dynamo": ("were folded into other constants", "dynamo=True, optimize=False"),
    }[exporter]
    for names in ("auto", "torch"):
        error = check_refused(lsuv(*arguments, "--names", names), 3, folded)
        assert remedy in error
        assert "--names onnx" in error
    assert "input input0" not in lsuv(*arguments).stderr  # refused before samples are read
    assert not (tmp_path / "out").exists()
    for more in (("--names", "onnx"), ("--out-model", "new.onnx", "--force")):
        process = lsuv(*arguments, *more)
        assert process.returncode == 0, process.stderr
        warned = any(folded in line and remedy in line for line in process.stderr.splitlines())
        assert warned == ("--out-model" in more)
    process = lsuv("inspect", "m.onnx")
    assert process.returncode == 0, process.stderr
    assert folded in process.stderr


def test_names_are_chosen_and_said(tmp_path: Path, forked: Run) -> None:
    model, inputs = built("Mixer"), example("Mixer")
    export(model, inputs, tmp_path / "m.onnx", "script")
    save_batch(tmp_path, inputs)
    arguments = ("init", "m.onnx", "--data", "batch.npz", "--force", "--out", "out")
    process = forked(*arguments, "--exclude", "tokens.2.weight")
    assert process.returncode == 0, process.stderr
    assert "recovered 4 PyTorch names (tokens.0.weight" in process.stderr
    assert load_file(tmp_path / "out").keys() == model.state_dict().keys()
    assert forked(*arguments, "--names", "onnx").returncode == 0
    names = load_file(tmp_path / "out").keys()
    assert any(MADE_UP.fullmatch(name) for name in names)
    assert "tokens.0.weight" not in names


def test_like_a_checkpoint(tmp_path: Path, forked: Run) -> None:
    model, inputs = built("Mixer"), example("Mixer")
    export(model, inputs, tmp_path / "m.onnx", "dynamo")
    save_batch(tmp_path, inputs)
    state = model.state_dict()
    save_file(state, tmp_path / "good.safetensors")
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "good.pt")
    other = dict(state)
    other["head.weight"] = torch.zeros(7, 12)
    other["extra.bias"] = other.pop("norm.bias").clone()
    torch.save(other, tmp_path / "other.pt")
    arguments = ("init", "m.onnx", "--data", "batch.npz", "--out", "out", "--force")
    for like in ("good.safetensors", "good.pt"):
        process = forked(*arguments, "--like", like)
        assert process.returncode == 0, process.stderr
    (tmp_path / "out").unlink()
    process = forked(*arguments, "--like", "other.pt")
    assert process.returncode == 3
    assert "missing: extra.bias; unexpected: norm.bias" in process.stderr
    assert "misshapen: head.weight [5, 12] instead of [7, 12]" in process.stderr
    whole = (tmp_path / "good.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    process = forked(*arguments, "--like", "cut.safetensors")
    assert process.returncode == 3
    assert "cut.safetensors" in process.stderr
    process = forked(*arguments, "--like", "nosuch.pt")
    assert process.returncode == 3
    assert not (tmp_path / "out").exists()


def test_a_hostile_checkpoint_runs_nothing(tmp_path: Path) -> None:
    from lsuv_cli.weights.formats import open_checkpoint

    torch.save({"a": Trap(tmp_path / "sprung")}, tmp_path / "bad.pt")
    with pytest.raises(DataError, match=r"also holds a pickled \w+\.mkdir, which could run code"):
        open_checkpoint(tmp_path / "bad.pt", "--like")
    assert not (tmp_path / "sprung").exists()


def test_a_whole_pickled_module_is_no_checkpoint(tmp_path: Path) -> None:
    from lsuv_cli.weights.formats import open_checkpoint

    path, model = tmp_path / "whole.pt", nn.Sequential(nn.Linear(2, 2))
    torch.save(model, path)
    with pytest.raises(DataError) as refused:
        open_checkpoint(path, "--like")
    assert str(refused.value) == (
        f"--like {path}: a whole pickled module (torch.nn.modules.container.Sequential), not "
        "tensors; save its tensors, as torch.save(model.state_dict(), ...)"
    )
    torch.save({"model": model}, path)
    with pytest.raises(DataError, match=r"pickled torch\.nn\.modules\.container\.Sequential"):
        open_checkpoint(path, "--like")
    torch.jit.save(torch.jit.script(model), path)
    with pytest.raises(DataError, match=": TorchScript, not tensors"):
        open_checkpoint(path, "--like")
