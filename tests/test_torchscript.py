"""TorchScript files, traced and scripted: weights under the module's own names."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from support.command import Run
from support.pickles import Trap
from support.sample_files import save_batch
from support.torch_batch_norm import Residual, randomized_residual
from support.torch_export import save_torchscript
from support.torch_models import MODELS, built, example
from support.torch_variances import variances_by_call, variances_by_layer

# The exporter can't convert nn.TransformerEncoder where it is scripted.
SCRIPTABLE = tuple(name for name in MODELS if name != "encoder")


class Looped(nn.Module):
    """Control flow that only scripting keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(12, 12)
        self.last = nn.Linear(12, 5)
        self.flip = False

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = torch.relu(self.first(x))
        if self.flip:
            x = -x
        for _ in range(2):
            x = torch.tanh(x)
        result: Tensor = self.last(x)
        return result


def initialise(lsuv: Run, *arguments: object) -> dict[str, Any]:
    process = lsuv("init", "m.pt", "--data", "batch.npz", "--out", "out", "--json", *arguments)
    assert process.returncode == 0, process.stderr
    report: dict[str, Any] = json.loads(process.stdout)
    return report


def rename_inputs(folder: Path, inputs: tuple[Tensor, ...], names: tuple[str, ...]) -> None:
    arrays: dict[str, Any] = {n: v.numpy() for n, v in zip(names, inputs, strict=True)}
    np.savez(folder / "batch.npz", **arrays)


@pytest.mark.untraced
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, "traced") for name in MODELS),
        *(
            pytest.param(name, "scripted", marks=() if name == "GPT" else pytest.mark.thorough)
            for name in SCRIPTABLE
        ),
    ],
)
def test_weights_load_and_hold(tmp_path: Path, forked: Run, name: str, kind: str) -> None:
    model, inputs = built(name), example(name)
    save_torchscript(model, inputs, tmp_path / "m.pt", kind)
    names = {"GPT": ("ids",), "two inputs": ("x", "y")}.get(name, ("x",))
    if len(names) == 1:
        save_batch(tmp_path, inputs)
    else:
        rename_inputs(tmp_path, inputs, names)
    report = initialise(forked, "--tol", 1e-4)
    written = load_file(tmp_path / "out")
    assert written.keys() == model.state_dict().keys()
    script: Any = torch.jit.load(str(tmp_path / "m.pt"))  # type: ignore[no-untyped-call]
    script.load_state_dict(written, strict=True)
    model.load_state_dict(written, strict=True)
    found = variances_by_call(model, inputs)
    assert sum(map(len, found.values())) == len(report["layers"])
    for layer, values in found.items():
        for variance in values if "in_proj" in layer else values[:1]:
            assert variance == pytest.approx(1, abs=1e-4 if name == "GPT" else 2e-5), layer
    if name == "GPT":
        assert torch.equal(written["head.weight"], written["embedding.weight"])


@pytest.mark.parametrize("kind", ["traced", "scripted"])
def test_batch_norm_stays(tmp_path: Path, forked: Run, kind: str) -> None:
    model = randomized_residual()
    inputs = (torch.randn(16, 3, 9, 9),)
    model.bn1.num_batches_tracked.fill_(77)  # type: ignore[union-attr]
    save_torchscript(model, inputs, tmp_path / "m.pt", kind)
    save_batch(tmp_path, inputs)
    initialise(forked)
    written = load_file(tmp_path / "out")
    assert written["bn1.num_batches_tracked"].item() == 77
    fresh = Residual()
    fresh.load_state_dict(written, strict=True)
    for found in (
        variances_by_layer(fresh.eval(), inputs[0].numpy()),
        variances_by_layer(fresh.train(), inputs[0].numpy()),
    ):
        assert all(variance == pytest.approx(1, abs=2e-5) for variance in found.values())


def test_control_flow(tmp_path: Path, forked: Run) -> None:
    torch.manual_seed(0)
    model, inputs = Looped().eval(), (torch.randn(16, 12),)
    save_torchscript(model, inputs, tmp_path / "m.pt", "scripted")
    save_batch(tmp_path, inputs)
    initialise(forked)
    model.load_state_dict(load_file(tmp_path / "out"), strict=True)
    assert all(
        v[0] == pytest.approx(1, abs=2e-5) for v in variances_by_call(model, inputs).values()
    )


def test_pictures_need_a_size(tmp_path: Path, forked: Run, images: Path) -> None:
    model, inputs = built("convolutional"), example("convolutional")
    save_torchscript(model, inputs, tmp_path / "m.pt", "traced")
    arguments = ("init", "m.pt", "--data", images / "photos" / "china", "--out", "out")
    for option, says in (
        ((), "--input-shape"),
        (("--input-shape", "1,3,8,8"), "1,3,8,8 has one size too many for a picture"),
    ):
        refused = forked(*arguments, *option)
        assert refused.returncode == 2
        assert says in refused.stderr
        assert not (tmp_path / "out").exists()
    turned = forked("inspect", "m.pt", "--input-shape", "8,8,3")
    assert turned.returncode == 3
    assert "can't be run on samples of the shape input:8,8,3: Given groups=1" in turned.stderr
    assert "to have 3 channels, but got 8 channels" in turned.stderr
    assert "replace the operation" not in turned.stderr
    assert forked(*arguments, "--input-shape", "3,8,8").returncode == 0


def test_the_model_itself_with_new_weights(tmp_path: Path, forked: Run) -> None:
    """--out-model: the same module, runnable, the same bytes each time."""
    model, inputs = built("depthwise with BatchNorm"), example("depthwise with BatchNorm")
    save_torchscript(model, inputs, tmp_path / "m.pt", "traced")
    save_batch(tmp_path, inputs)
    digests = []
    for out_model in ("a.pt", "b.pt"):
        initialise(forked, "--force", "--out-model", out_model)
        digests.append(hashlib.sha256((tmp_path / out_model).read_bytes()).hexdigest())
    assert digests[0] == digests[1]
    script: Any = torch.jit.load(str(tmp_path / "a.pt"))  # type: ignore[no-untyped-call]
    model.load_state_dict(load_file(tmp_path / "out"), strict=True)
    with torch.no_grad():
        torch.testing.assert_close(script(*inputs), model.eval()(*inputs))
    refused = forked(
        *("init", "m.pt", "--data", "batch.npz", "--out", "new", "--out-model", "m.pt", "--force")
    )
    assert refused.returncode == 5
    same = forked("init", "m.pt", "--data", "batch.npz", "--out", "new", "--out-model", "new")
    assert same.returncode == 2
    assert not (tmp_path / "new").exists()


def test_half_precision(tmp_path: Path, forked: Run) -> None:
    for dtype in (torch.float16, torch.bfloat16):
        model = built("Mixer").to(dtype)
        inputs = example("Mixer")
        save_torchscript(model, tuple(v.to(dtype) for v in inputs), tmp_path / "m.pt", "traced")
        save_batch(tmp_path, inputs)
        process = forked("init", "m.pt", "--data", "batch.npz", "--out", "out", "--force")
        assert process.returncode in (0, 3), process.stderr
        if process.returncode == 0:
            written = load_file(tmp_path / "out")
            assert {value.dtype for value in written.values()} == {dtype}
            model.load_state_dict(written, strict=True)


def check_refuses(lsuv: Run, words: str) -> None:
    process = lsuv("init", "m.pt", "--data", "batch.npz", "--out", "out")
    assert process.returncode == 3, process.stderr
    (error,) = [line for line in process.stderr.splitlines() if line.startswith("error: ")]
    assert words in error
    assert "Traceback" not in process.stderr


def test_what_is_no_torchscript(tmp_path: Path, forked: Run) -> None:
    model, inputs = built("convolutional"), example("convolutional")
    save_batch(tmp_path, inputs)
    torch.save(model.state_dict(), tmp_path / "m.pt")
    check_refuses(forked, "is a checkpoint of weights without the network")
    torch.save(model, tmp_path / "m.pt")
    check_refuses(forked, "torch.export.save")
    torch.save({"a": Trap(tmp_path / "sprung")}, tmp_path / "m.pt")
    check_refuses(forked, "checkpoint")
    torch.save(
        {"a": Trap(tmp_path / "sprung")},
        tmp_path / "m.pt",
        _use_new_zipfile_serialization=False,
    )
    check_refuses(forked, "checkpoint")
    assert not (tmp_path / "sprung").exists()
    save_torchscript(model, inputs, tmp_path / "m.pt", "traced")
    whole = (tmp_path / "m.pt").read_bytes()
    (tmp_path / "m.pt").write_bytes(whole[: len(whole) // 2])
    check_refuses(forked, "cut short")
    assert not (tmp_path / "out").exists()


class Unexportable(nn.Module):
    """An operation that ONNX does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(12, 12)

    def forward(self, x: Tensor) -> Tensor:
        """A matrix function."""
        result: Tensor = torch.linalg.matrix_exp(self.fc(x).unsqueeze(1) * torch.ones(12, 1))
        return result


def test_what_the_exporter_cannot_convert(tmp_path: Path, forked: Run) -> None:
    inputs = (torch.randn(4, 12),)
    save_torchscript(Unexportable(), inputs, tmp_path / "m.pt", "traced")
    save_batch(tmp_path, inputs)
    check_refuses(forked, "matrix_exp")


class Singular(nn.Module):
    """Holds an operator that the exporter does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        """One number a row."""
        result: Tensor = torch.linalg.svdvals(self.inner(x)[:, :, None])
        return result


@pytest.mark.parametrize("kind", ["traced", "scripted"])
def test_what_can_not_be_converted_is_named(tmp_path: Path, forked: Run, kind: str) -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.Sequential(Singular(), nn.Linear(1, 2)))
    inputs = (torch.randn(4, 6),)
    save_torchscript(model, inputs, tmp_path / "m.pt", kind)
    save_batch(tmp_path, inputs)
    process = forked("init", "m.pt", "--data", "batch.npz", "--out", "out", "--json")
    assert process.returncode == 3
    (error,) = [line for line in process.stderr.splitlines() if line.startswith("error:")]
    assert "'aten::linalg_svdvals'" in error
    assert "in the module 1.0" in error
    assert "replace the operation" in error
    # The exporter prints its graph past Python's streams.
    assert process.stdout == ""
    assert "Torch IR" not in process.stderr
    assert not (tmp_path / "out").exists()
