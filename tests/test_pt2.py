"""Files of torch.export.save: the program's own state_dict, initialised."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from lsuv_cli import LsuvError, initialize
from lsuv_cli.core.errors import ModelError
from lsuv_cli.reading.pt2 import open_pt2
from support.command import COMMAND, UNMEASURED, Run
from support.layer_outputs import off_target, outputs_by_layer
from support.roads import silenced
from support.torch_batch_norm import randomized_residual
from support.torch_models import built, example
from support.tracer import untraced

pytestmark = pytest.mark.usefixtures("quick_exporter")

Save = Callable[..., Path]
NETWORKS = ("depthwise with BatchNorm", "ViT", "GPT", "two inputs")
SAMPLES = 16


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Saves a module's program in the test's folder."""

    @untraced()
    def save(module: nn.Module, inputs: tuple[Any, ...], *, dynamic: bool = True) -> Path:
        batch = torch.export.Dim("batch")
        path = tmp_path / "model.pt2"
        few = torch.utils._pytree.tree_map(lambda value: value[:2], inputs)
        shapes = torch.utils._pytree.tree_map(lambda _: {0: batch}, inputs) if dynamic else None
        torch.backends.mha.set_fastpath_enabled(False)
        with silenced():
            torch.export.save(torch.export.export(module.eval(), few, dynamic_shapes=shapes), path)
        return path

    return save


def save_inputs(folder: Path, inputs: tuple[Tensor, ...], *names: str) -> Path:
    path = folder / "batch.npz"
    arrays: dict[str, Any] = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_load_and_hold(tmp_path: Path, forked: Run, save: Save, name: str) -> None:
    model, inputs = built(name), example(name)
    save(model, inputs)
    save_inputs(tmp_path, inputs, *{"GPT": ("ids",), "two inputs": ("x", "y")}.get(name, ("x",)))
    done = forked("init", "model.pt2", "--data", "batch.npz", "--out", "out", "--tol", 1e-4)
    assert done.returncode == 0, done.stderr
    written = load_file(tmp_path / "out")
    own = model.state_dict()
    assert {n: (v.shape, v.dtype) for n, v in written.items()} == {
        n: (v.shape, v.dtype) for n, v in own.items()
    }
    model.load_state_dict(written, strict=True)
    assert not off_target(outputs_by_layer(model, inputs))
    if name == "GPT":
        assert torch.equal(written["head.weight"], written["embedding.weight"])


def test_batch_norm_stays(tmp_path: Path, save: Save) -> None:
    model, inputs = randomized_residual(), (torch.randn(SAMPLES, 3, 9, 9),)
    model.bn1.num_batches_tracked.fill_(77)  # type: ignore[union-attr]
    state = initialize(save(model, inputs), inputs[0], device="cpu").state_dict()
    assert state["bn1.num_batches_tracked"].item() == 77
    assert torch.equal(state["bn1.weight"], model.state_dict()["bn1.weight"])
    model.load_state_dict(state, strict=True)
    for mode in (model.eval(), model.train()):
        assert not off_target(outputs_by_layer(mode, inputs))


class Awkward(nn.Module):
    """Names that meet others of the exporter's, a layer that never runs, tensors of all kinds."""

    index: Tensor
    scratch: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.code = nn.Linear(4, 4)  # an attribute of PyTorch's own graphs
        self.x = nn.Parameter(torch.ones(4))  # the name of an input
        self.tied = nn.Linear(4, 4, bias=False)
        self.tied.weight = self.code.weight
        self.unused = nn.Linear(3, 2)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.small = nn.Parameter(torch.ones(3, dtype=torch.float16))
        self.register_buffer("index", torch.tensor([3, 2, 1, 0]))  # the name of a node
        self.register_buffer("scratch", torch.ones(4), persistent=False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Outputs in a dictionary."""
        y = torch.relu(self.code(x + self.x)).index_select(1, self.index)
        return {"y": self.tied(y) + self.scratch, "z": self.frozen(y)}


def test_the_whole_state_and_nothing_else(save: Save) -> None:
    torch.manual_seed(0)
    model, x = Awkward(), torch.randn(SAMPLES, 4)
    with pytest.warns(match="unused.weight .weight.: the network never reads it"):
        result = initialize(save(model, (x,)), x, device="cpu")
    state, own = result.state_dict(), model.state_dict()
    assert {name: (v.shape, v.dtype) for name, v in state.items()} == {
        name: (v.shape, v.dtype) for name, v in own.items()
    }
    assert {str(layer.status) for layer in result.report.layers} == {
        "converged",
        "shared",
        "fixed",
    }
    changed = {name for name, value in state.items() if not torch.equal(value, own[name])}
    assert changed == {"code.weight", "code.bias", "tied.weight"}
    assert torch.equal(state["code.weight"], state["tied.weight"])


class Keyed(nn.Module):
    """Inputs in a dictionary, as Hugging Face's data sets give them."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Masked."""
        y: Tensor = self.fc(batch["pixel_values"]) * batch["mask"][:, None]
        return y


@pytest.mark.parametrize("dynamic", [True, False])
def test_inputs_have_their_keys_and_the_batch_is_open(save: Save, dynamic: bool) -> None:
    model = Keyed()
    batch = {"pixel_values": torch.randn(SAMPLES, 4), "mask": torch.ones(SAMPLES)}
    result = initialize(save(model, (batch,), dynamic=dynamic), batch, device="cpu")
    model.load_state_dict(result.state_dict(), strict=True)
    with torch.no_grad():
        assert model.fc(batch["pixel_values"]).var(correction=0) == pytest.approx(1, abs=1e-4)


class Mixing(nn.Module):
    """The number of samples is a part of the network."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        y: Tensor = self.mix(x.T)
        return y.T


class Singular(nn.Module):
    """Holds an operator that the exporter does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        """One number a row."""
        y: Tensor = torch.linalg.svdvals(self.inner(x)[:, :, None])
        return y


def test_what_can_not_be_converted_is_named(save: Save) -> None:
    x = torch.randn(SAMPLES, 4)
    path = save(Mixing(), (x,), dynamic=False)
    with pytest.raises(LsuvError, match="for batches of exactly 2") as caught:
        initialize(path, x)
    assert 'dynamic_shapes=({0: torch.export.Dim("batch")},)' in str(caught.value)
    x = torch.randn(SAMPLES, 6)
    path = save(nn.Sequential(nn.Linear(6, 6), nn.Sequential(Singular(), nn.Linear(1, 2))), (x,))
    with pytest.raises(LsuvError, match=r"No ONNX function found for aten\._linalg_svd") as caught:
        initialize(path, x)
    assert "in the module 1.0;" in str(caught.value)


def test_files_that_can_not_be_used(tmp_path: Path, forked: Run, save: Save) -> None:
    path = save(nn.Linear(4, 4), (torch.randn(2, 4),))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    done = forked("init", "model.pt2", "--data", "x.npy", "--out", "out")
    assert done.returncode == 3
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "model.pt2 is cut short" in error
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b'"major": 8', b'"major": 7', "schema version"),
        (b"aten.linear.default", b"aten.linaer.default", "linaer"),
    ],
)
def test_a_file_of_another_version(save: Save, old: bytes, new: bytes, says: str) -> None:
    content = save(nn.Linear(4, 4), (torch.randn(2, 4),)).read_bytes()
    with pytest.raises(ModelError, match=f"was saved by PyTorch .*{says}.*export it anew") as error:
        open_pt2(Path("model.pt2"), replaced(content, old, new))
    assert "\n" not in str(error.value)


def replaced(content: bytes, old: bytes, new: bytes) -> bytes:
    """Return an archive with other text in its program."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(buffer, "w") as target:
        for name in source.namelist():
            text = source.read(name)
            target.writestr(name, text.replace(old, new) if name.endswith("model.json") else text)
    return buffer.getvalue()


def test_the_program_itself_with_new_weights(tmp_path: Path, forked: Run, save: Save) -> None:
    """--out-model: the same program, with its state, the same bytes each time."""
    model, inputs = built("depthwise with BatchNorm"), example("depthwise with BatchNorm")
    save(model, inputs)
    save_inputs(tmp_path, inputs, "x")
    digests = []
    for out in ("a.pt2", "b.pt2"):
        done = forked(
            *("init", "model.pt2", "--data", "batch.npz", "--out", "out", "--force"),
            *("--out-model", out),
        )
        assert done.returncode == 0, done.stderr
        digests.append(hashlib.sha256((tmp_path / out).read_bytes()).hexdigest())
    assert digests[0] == digests[1]
    with silenced():
        program = torch.export.load(tmp_path / "a.pt2")
    written = load_file(tmp_path / "out")
    assert all(torch.equal(program.state_dict[name], written[name]) for name in written)
    model.load_state_dict(written, strict=True)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(*inputs), model.eval()(*inputs))
    done = forked("apply", "model.pt2", "out", "--out", "c.pt2")
    assert done.returncode == 0, done.stderr
    assert hashlib.sha256((tmp_path / "c.pt2").read_bytes()).hexdigest() == digests[0]


def test_other_commands_and_stdin(tmp_path: Path, forked: Run, save: Save) -> None:
    model, inputs = built("convolutional"), example("convolutional")
    content = save(model, inputs).read_bytes()
    save_inputs(tmp_path, inputs, "x")
    done = subprocess.run(
        [COMMAND, "init", "-", "--data", "batch.npz", "--out", "out"],
        input=content,
        cwd=tmp_path,
        env=UNMEASURED,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    inspected = forked("inspect", "model.pt2", "--json")
    assert inspected.returncode == 0, inspected.stderr
    (found,) = json.loads(inspected.stdout)["inputs"]
    assert found["shape"] == [None, 3, 8, 8]
    verified = forked("verify", "model.pt2", "out", "--data", "batch.npz")
    assert verified.returncode == 0, verified.stderr
