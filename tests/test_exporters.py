"""Models out of PyTorch's two exporters: the weights load back, and hold in PyTorch's layers."""

from __future__ import annotations

import copy
import logging
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lsuv_cli.core.choices import Names, Status
from lsuv_cli.core.errors import DataError
from lsuv_cli.model.exporter import MADE_UP
from support.command import Run
from test_batch_norm import Residual
from test_oracle import run

BATCH = 16


class Depthwise(nn.Sequential):
    """A block of MobileNet: depthwise, then pointwise, each with BatchNorm."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU6(),
            nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU6(),
            nn.Conv2d(8, 16, 1, bias=False),
            nn.BatchNorm2d(16),
            nn.Hardswish(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(16, 5),
        )


class Dense(nn.Module):
    """Convolutions that each see all outputs before, as in DenseNet."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(3 + 4 * i, 4, 3, padding=1) for i in range(4))
        self.head = nn.Linear(19, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        for layer in self.layers:
            x = torch.cat([x, torch.relu(layer(x))], 1)
        result: Tensor = self.head(x.mean((2, 3)))
        return result


class UNet(nn.Module):
    """Down, up by a transposed convolution, and a connection across."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.middle = nn.Conv2d(8, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 8, 4, stride=2, padding=1)
        self.last = nn.Conv2d(11, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Two maps."""
        h = nn.functional.leaky_relu(self.middle(nn.functional.leaky_relu(self.down(x))))
        result: Tensor = self.last(torch.cat([torch.relu(self.up(h)), x], 1))
        return result


class Mixer(nn.Module):
    """One block of MLP-Mixer: over patches, then over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 2, stride=2)
        self.norm = nn.LayerNorm(12)
        self.tokens = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.channels = nn.Sequential(nn.Linear(12, 24, bias=False), nn.GELU(), nn.Linear(24, 12))
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + self.tokens(self.norm(x).transpose(1, 2)).transpose(1, 2)
        x = x + self.channels(self.norm(x))
        result: Tensor = self.head(x.mean(1))
        return result


class Attention(nn.Module):
    """Self-attention from four linear layers."""

    def __init__(self, width: int, heads: int, *, causal: bool = False) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """The attended values."""
        n, t, c = x.shape
        # Written out, so that it can be scripted.
        q = self.query(x).view(n, t, self.heads, c // self.heads).transpose(1, 2)
        k = self.key(x).view(n, t, self.heads, c // self.heads).transpose(1, 2)
        v = self.value(x).view(n, t, self.heads, c // self.heads).transpose(1, 2)
        scores = q @ k.transpose(-1, -2) / math.sqrt(c // self.heads)
        if self.causal:
            scores = scores.masked_fill(torch.ones(t, t).triu(1) > 0, float("-inf"))
        result: Tensor = self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, c))
        return result


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, *, causal: bool = False) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, 2, causal=causal)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        x = x + self.attention(self.norm1(x))
        result: Tensor = x + self.mlp(self.norm2(x))
        return result


class ViT(nn.Module):
    """Patches, a class token, positions, two blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.positions = nn.Parameter(torch.randn(1, 5, 16) * 0.02)
        self.blocks = nn.Sequential(Block(16), Block(16))
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        result: Tensor = self.head(self.norm(self.blocks(x))[:, 0])
        return result


class GPT(nn.Module):
    """A decoder whose embedding is its output projection, too."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(40, 16)
        self.positions = nn.Parameter(torch.randn(6, 16) * 0.1)
        self.blocks = nn.ModuleList([Block(16, causal=True), Block(16, causal=True)])
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 40, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids: Tensor) -> Tensor:
        """Logits for each position."""
        x = self.embedding(ids) + self.positions
        for block in self.blocks:
            x = block(x)
        result: Tensor = self.head(self.norm(x))
        return result


class TwoInputs(nn.Module):
    """A picture and a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.side = nn.Linear(4, 6)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Logits."""
        joined = torch.cat([torch.relu(self.conv(x)).mean((2, 3)), torch.tanh(self.side(y))], 1)
        result: Tensor = self.head(joined)
        return result


class Repeated(nn.Module):
    """One module called three times."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(12, 12)
        self.cell = nn.Linear(12, 12)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = torch.relu(self.first(x))
        for _ in range(3):
            x = torch.tanh(self.cell(x))
        result: Tensor = self.head(x)
        return result


class Cloned(nn.Module):
    """Layers that are copies of each other, as nn.TransformerEncoder makes them; no ties."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.Linear(12, 12)
        self.layers = nn.ModuleList([copy.deepcopy(layer) for _ in range(3)])
        self.convs = nn.ModuleList([copy.deepcopy(nn.Conv1d(4, 4, 1)) for _ in range(2)])

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        for layer in self.layers:
            x = torch.relu(layer(x))
        for conv in self.convs:
            x = torch.tanh(conv(x))
        return x


class Encoder(nn.Module):
    """PyTorch's own encoder: packed projections, layers that are copies of each other."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(12, 2, 24, batch_first=True)
        nn.init.normal_(layer.self_attn.out_proj.bias)  # a zero one is dropped by the exporter
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        result: Tensor = self.head(self.encoder(x).mean(1))
        return result


PICTURE = ((3, 8, 8),)
MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[tuple[int, ...], ...]]] = {
    "convolutional": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 12, 3),
            nn.ELU(),
            nn.Flatten(),
            nn.Linear(12, 10),
            nn.Tanh(),
            nn.Linear(10, 5),
        ),
        PICTURE,
    ),
    "depthwise with BatchNorm": (Depthwise, PICTURE),
    "dense": (Dense, PICTURE),
    "U-Net": (UNet, PICTURE),
    "1-d": (
        lambda: nn.Sequential(
            nn.Conv1d(2, 8, 5, stride=2),
            nn.SiLU(),
            nn.Conv1d(8, 8, 3, dilation=2),
            nn.ReLU(),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Linear(8, 5),
        ),
        ((2, 40),),
    ),
    "3-d": (
        lambda: nn.Sequential(
            nn.Conv3d(2, 6, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool3d(2),
            nn.Conv3d(6, 6, 2),
            nn.Sigmoid(),
            nn.Flatten(),
            nn.Linear(6, 5),
        ),
        ((2, 4, 4, 4),),
    ),
    "Mixer": (Mixer, PICTURE),
    "ViT": (ViT, PICTURE),
    "GPT": (GPT, ((6,),)),
    "two inputs": (TwoInputs, ((3, 8, 8), (4,))),
    "repeated": (Repeated, ((12,),)),
    "cloned": (Cloned, ((4, 12),)),
    "encoder": (Encoder, ((6, 12),)),
}

EXPORTERS = ("script", "script, unfolded", "dynamo")


def example(name: str) -> tuple[Tensor, ...]:
    """A batch for each input."""
    generator = torch.Generator().manual_seed(0)
    if name == "GPT":
        return (torch.randint(0, 40, (BATCH, 6), generator=generator),)
    return tuple(torch.randn(BATCH, *shape, generator=generator) for shape in MODELS[name][1])


def export(model: nn.Module, inputs: tuple[Tensor, ...], path: Path, exporter: str) -> None:
    names = [f"input{index}" for index in range(len(inputs))]
    few = tuple(value[:2] for value in inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        if exporter == "dynamo":
            batch = torch.export.Dim("batch")
            torch.onnx.export(
                model,
                few,
                str(path),
                dynamo=True,
                input_names=names,
                verbose=False,
                dynamic_shapes=[{0: batch} for _ in inputs],
                external_data=False,
            )
        else:
            whole = exporter == "script"
            mode = torch.onnx.TrainingMode
            torch.onnx.export(
                model,
                few,
                str(path),
                dynamo=False,
                input_names=names,
                dynamic_axes={name: {0: "batch"} for name in names},
                do_constant_folding=whole,
                training=mode.EVAL if whole else mode.PRESERVE,
            )
        logging.disable(logging.NOTSET)


def built(name: str) -> nn.Module:
    torch.backends.mha.set_fastpath_enabled(False)
    torch.manual_seed(0)
    return MODELS[name][0]().eval()


def variances(model: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, list[float]]:
    """The variance of every output of every layer, in the order of calls."""
    found: dict[str, list[float]] = {}

    def hook(name: str) -> Any:
        def note(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            found.setdefault(name, []).append(output.double().var(correction=0).item())

        return note

    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)
    for name, module in model.named_modules():
        if isinstance(module, kinds):
            module.register_forward_hook(hook(name))

    def note_packed(name: str) -> Any:
        def note(module: nn.MultiheadAttention, args: Any, _output: Any) -> None:
            packed = nn.functional.linear(args[0], module.in_proj_weight, module.in_proj_bias)
            parts = [part.double().var(correction=0).item() for part in packed.chunk(3, -1)]
            found[f"{name}.in_proj"] = parts

        return note

    for name, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            module.register_forward_hook(note_packed(name))
            # Called by function, not as a module, so that its own hook never runs.
            found[f"{name}.out_proj"] = [1.0]
    torch.backends.mha.set_fastpath_enabled(False)
    with torch.no_grad():
        model(*inputs)
    return found


def save_batch(folder: Path, inputs: tuple[Tensor, ...]) -> Path:
    path = folder / "batch.npz"
    arrays: dict[str, Any] = {f"input{i}": value.numpy() for i, value in enumerate(inputs)}
    np.savez(path, **arrays)
    return path


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
        tmp_path / "m.onnx", save_batch(tmp_path, inputs), count=BATCH, names=Names.TORCH, tol=1e-4
    )
    assert {r.status for r in report.layers} <= {Status.CONVERGED, Status.SHARED}
    state = {key: torch.from_numpy(value) for key, value in written.items()}
    if name == "GPT":  # one tensor in the file, two names in the module
        tied = next(state[key] for key in ("head.weight", "embedding.weight") if key in state)
        state |= {"head.weight": tied, "embedding.weight": tied}
    model.load_state_dict(state, strict=True)
    if name == "encoder":
        # However the exporter has stored it: the draws are keyed by what the parts are called.
        assert [result.planned.layer.parameter for result in report.layers] == ENCODER_PARAMETERS
    found = variances(model, inputs)
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
    process = lsuv(*arguments)
    assert process.returncode == 0, process.stderr
    (warning,) = [line for line in process.stderr.splitlines() if "BatchNorm was folded" in line]
    assert "do_constant_folding=False" in warning
    refused = lsuv(*arguments, "--force", "--names", "torch")
    assert refused.returncode == 3
    assert "BatchNorm was folded" in refused.stderr


def test_names_are_chosen_and_said(tmp_path: Path, lsuv: Run) -> None:
    model, inputs = built("Mixer"), example("Mixer")
    export(model, inputs, tmp_path / "m.onnx", "script")
    save_batch(tmp_path, inputs)
    arguments = ("init", "m.onnx", "--data", "batch.npz", "--force", "--out", "out")
    process = lsuv(*arguments, "--exclude", "tokens.2.weight")
    assert process.returncode == 0, process.stderr
    assert "names as in PyTorch: 4 recovered (tokens.0.weight" in process.stderr
    assert load_file(tmp_path / "out").keys() == model.state_dict().keys()
    assert lsuv(*arguments, "--names", "onnx").returncode == 0
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


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.mkdir, (str(self.path),)


def test_a_hostile_checkpoint_runs_nothing(tmp_path: Path) -> None:
    from lsuv_cli.weights.checkpoint import read_shapes

    torch.save({"a": Trap(tmp_path / "sprung")}, tmp_path / "bad.pt")
    with pytest.raises(DataError, match=r"also holds a pickled \w+\.mkdir, which could run code"):
        read_shapes(tmp_path / "bad.pt")
    assert not (tmp_path / "sprung").exists()


def test_a_whole_pickled_module_is_no_checkpoint(tmp_path: Path) -> None:
    from lsuv_cli.weights.checkpoint import read_shapes

    path, model = tmp_path / "whole.pt", nn.Sequential(nn.Linear(2, 2))
    torch.save(model, path)
    with pytest.raises(DataError) as refused:
        read_shapes(path)
    assert str(refused.value) == (
        f"--like {path} holds a whole pickled module (torch.nn.modules.container.Sequential), not "
        "tensors; save its tensors, as torch.save(model.state_dict(), ...)"
    )
    torch.save({"model": model}, path)
    with pytest.raises(DataError, match=r"pickled torch\.nn\.modules\.container\.Sequential"):
        read_shapes(path)
    torch.jit.save(torch.jit.script(model), path)
    with pytest.raises(DataError, match="is TorchScript, not tensors"):
        read_shapes(path)
