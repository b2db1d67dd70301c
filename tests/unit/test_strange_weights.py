"""Weights files whose tensors can't be read as numbers, and files that are no model."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lsuv_cli.core.errors import DataError, ModelError
from lsuv_cli.core.options import ApplyOptions
from lsuv_cli.jobs.apply import apply_weights
from lsuv_cli.reading.formats import open_model_file
from lsuv_cli.weights.atomic_files import replacing_file
from lsuv_cli.weights.formats import open_checkpoint
from support.graphs import node, random_weight, save_graph
from support.promise import Texts

KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "float8_e4m3fn": lambda w: w.to(torch.float8_e4m3fn),
    "float8_e5m2": lambda w: w.to(torch.float8_e5m2),
    "float8_e8m0fnu": lambda w: w.to(torch.float8_e8m0fnu),
    "sparse_coo": lambda w: w.to_sparse(),
    "meta device": lambda w: w.to("meta"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_read_is_named(tmp_path: Path, kind: str) -> None:
    model = save_graph(tmp_path / "m.onnx", [node("MatMul", "x w", "y")], {"w": W}, ("n", 4))
    weights = tmp_path / "w.pt"
    torch.save({"w": KINDS[kind](torch.from_numpy(W))}, weights)
    checkpoint = open_checkpoint(weights)
    assert "w" in checkpoint
    with pytest.raises(DataError, match=rf"w is .*{kind}.* can't be read as numbers"):
        checkpoint["w"]
    options = ApplyOptions(model=model, weights=weights, out=tmp_path / "o.onnx")
    with pytest.raises(DataError, match=rf"w is .*{kind}"):
        apply_weights(options, Texts())


def test_float8_in_safetensors(tmp_path: Path) -> None:
    save_file({"w": torch.from_numpy(W).to(torch.float8_e4m3fn)}, tmp_path / "w.safetensors")
    checkpoint = open_checkpoint(tmp_path / "w.safetensors")
    assert "w" in checkpoint
    with pytest.raises(DataError, match="w is F8_E4M3, which can't be read"):
        checkpoint["w"]


W = random_weight(4, 4)


def frozen(path: Path) -> None:
    trace: Callable[..., Any] = torch.jit.trace
    module = trace(nn.Linear(4, 4).eval(), torch.zeros(1, 4))
    torch.jit.save(torch.jit.freeze(module), path)


def safetensors(path: Path) -> None:
    save_file({"w": torch.zeros(2)}, path)


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (frozen, "constants of its code"),
        (safetensors, "is safetensors, weights without the network"),
        (
            lambda path: torch.save(nn.Linear(2, 2), path),
            r"whole pickled module \(torch.nn.*Linear",
        ),
        (lambda path: torch.save({"w": torch.zeros(2)}, path), "is a checkpoint of weights"),
        (lambda path: torch.save(torch.zeros(2), path), "is a checkpoint of weights"),
        (lambda path: path.write_bytes(b"\x1c\0\0\0ORTM\0\0"), "ONNX Runtime's own format"),
        (lambda path: path.write_bytes(b"\x1c\0\0\0TFL3\0\0"), "is TensorFlow Lite"),
        (lambda path: path.write_bytes(b"\x93NUMPY\1\0"), "is an array, not a model"),
        (lambda path: path.write_text("<html>no such file</html>\n"), "is a text file"),
    ],
)
def test_files_that_are_no_model(
    tmp_path: Path, write: Callable[[Path], object], words: str
) -> None:
    path = tmp_path / "model.bin"
    write(path)
    with pytest.raises(ModelError, match=words):
        open_model_file(path).source({})


def test_python_source(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text("import torch\n")
    with pytest.raises(ModelError, match=r"name what makes the module in it, as .*net.py:Network"):
        open_model_file(path).source({})


@pytest.mark.parametrize("mode", [0o640, 0o600, 0o664])
def test_a_replaced_file_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "w.safetensors"
    path.touch()
    path.chmod(mode)
    with replacing_file(path, force=True) as (file, _):
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == mode


def test_an_archive_that_claims_several_disks(tmp_path: Path) -> None:
    """Found by the fuzzer: zipfile raises where it is asked whether this is an archive."""
    path = tmp_path / "w.pt"
    torch.save({"w": torch.from_numpy(W)}, path)
    content = path.read_bytes()
    end = content.rindex(b"PK\x05\x06")
    locator = b"PK\x06\x07" + struct.pack("<LQL", 2, 0, 3)
    path.write_bytes(content[:end] + locator + content[end:])
    with pytest.raises(DataError, match="neither safetensors nor a checkpoint"):
        open_checkpoint(path)


def test_torchscript_with_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    """Found by the fuzzer: PyTorch's binding raises UnicodeDecodeError."""
    path = tmp_path / "m.pt"
    trace: Callable[..., Any] = torch.jit.trace
    torch.jit.save(trace(nn.Linear(4, 4).eval(), torch.zeros(1, 4)), path)
    damaged = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(damaged, "w") as changed:
        for name in archive.namelist():
            content = archive.read(name)
            if name.endswith(".py"):
                content = content.replace(b"weight", b"w\xb7ight")
            changed.writestr(name, content)
    path.write_bytes(damaged.getvalue())
    with pytest.raises(ModelError, match="can't be loaded as TorchScript"):
        open_model_file(path)
