"""Sound files of every kind that the command reads, to be damaged."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from onnx import TensorProto, helper
from PIL import Image
from safetensors.numpy import save_file
from torch import nn

from support.graphs import body, constant, i64, node, random_weight, save_graph
from support.loop_graphs import WIDTH, W, loop_while_small
from support.small_models import convolutional, tied_embedding
from support.torch_export import save_torchscript

SAMPLES = 4
PICTURE = (6, 6)
PICTURES = ("png", "jpg", "tiff", "webp", "bmp", "ppm")


class Network(nn.Module):
    """A convolution with BatchNorm, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return scores."""
        scores: torch.Tensor = self.head(self.norm(self.conv(x)).relu().mean((2, 3)))
        return scores


def write_models(folder: Path) -> None:
    """Save models, and beside each the samples for it: NAME.npy."""
    convolutional(folder).rename(folder / "conv.onnx")
    np.save(folder / "conv.npy", random_weight(SAMPLES, 3, 4, 4))
    tied_embedding(folder / "tied.onnx", between=True)
    np.save(folder / "tied.npy", np.arange(5 * SAMPLES).reshape(SAMPLES, 5) % 30)
    rows = random_weight(SAMPLES, WIDTH)
    save_graph(
        folder / "loop.onnx",
        loop_while_small(),
        {"v": W(WIDTH, 3)},
        ("n", WIDTH),
        opset=17,
    )
    np.save(folder / "loop.npy", rows)
    _branch(folder / "if.onnx")
    _function(folder / "function.onnx")
    _half(folder / "half.onnx")
    _recurrent(folder / "recurrent.onnx")
    _external(folder / "external.onnx")
    for name in ("if", "function", "half", "external"):
        np.save(folder / f"{name}.npy", rows)
    np.save(folder / "recurrent.npy", random_weight(SAMPLES, 5, WIDTH))
    network, batch = Network().eval(), torch.randn(SAMPLES, 3, *PICTURE)
    save_torchscript(network, (batch,), folder / "script.pt", "traced")
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(network, (batch,), dynamic_shapes=shapes)
    torch.export.save(program, folder / "program.pt2")
    for name in ("script", "program"):
        np.save(folder / f"{name}.npy", batch.numpy())


def _branch(path: Path) -> None:
    then = body([node("MatMul", "h w1", "t")], {}, ["t"], {"w1": W(WIDTH, WIDTH, seed=1)})
    other = body([node("MatMul", "h w2", "e")], {}, ["e"], {"w2": W(WIDTH, WIDTH, seed=2)})
    nodes = [
        node("MatMul", "x w", "h"),
        node("ReduceMean", "h", "m", keepdims=0),
        constant("zero", np.float32(0)),
        node("Greater", "m zero", "c"),
        helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other),
    ]
    save_graph(path, nodes, {"w": W(WIDTH, WIDTH)}, ("n", WIDTH))


def _function(path: Path) -> None:
    save_graph(path, [node("MatMul", "x w", "h")], {"w": W(WIDTH, WIDTH)}, ("n", WIDTH))
    model = onnx.load(path)
    inner = [node("MatMul", "a b", "p"), node("Relu", "p", "c")]
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("local", "Dense", ["a", "b"], ["c"], inner, opsets))
    model.opset_import.append(helper.make_opsetid("local", 1))
    call = helper.make_node("Dense", ["h", "w"], ["y"], name="call", domain="local")
    model.graph.node.append(call)
    model.graph.output[0].name = "y"
    onnx.save(model, path)


def _half(path: Path) -> None:
    weights: dict[str, Any] = {"w": W(WIDTH, WIDTH).astype(np.float16)}
    nodes = [
        node("Cast", "x", "h", to=TensorProto.FLOAT16),
        node("MatMul", "h w", "p"),
        node("Cast", "p", "y", to=TensorProto.FLOAT),
    ]
    save_graph(path, nodes, weights, ("n", WIDTH))


def _recurrent(path: Path) -> None:
    weights: dict[str, Any] = {
        "W": random_weight(1, 12, WIDTH),
        "R": random_weight(1, 12, 3),
        "B": random_weight(1, 24),
        "axis": i64(1),
        "v": random_weight(3, 2),
    }
    nodes = [
        node("Transpose", "x", "steps", perm=[1, 0, 2]),
        helper.make_node("LSTM", ["steps", "W", "R", "B"], ["all"], name="lstm", hidden_size=3),
        node("Squeeze", "all axis", "h"),
        node("MatMul", "h v", "y"),
    ]
    save_graph(path, nodes, weights, ("n", 5, WIDTH))


def _external(path: Path) -> None:
    nodes = [node("MatMul", "x w", "h"), node("Gemm", "h u b", "y", transB=1)]
    weights: dict[str, Any] = {"w": W(WIDTH, 16), "u": W(9, 16), "b": W(9)}
    save_graph(path, nodes, weights, ("n", WIDTH))
    onnx.save(
        onnx.load(path),
        path,
        save_as_external_data=True,
        location="external.data",
        size_threshold=0,
    )


def write_samples(folder: Path) -> None:
    """Save samples for a model of pictures, picture.onnx, and one of tokens, token.onnx."""
    nodes = [node("Conv", "x w", "a"), node("GlobalAveragePool", "a", "y")]
    save_graph(folder / "picture.onnx", nodes, {"w": W(4, 3, 3, 3)}, ("n", 3, *PICTURE), name="x")
    tied_embedding(folder / "token.onnx", between=True)
    arrays = random_weight(SAMPLES, 3, *PICTURE)
    np.save(folder / "a.npy", arrays)
    np.savez(folder / "b.npz", x=arrays)
    np.savez_compressed(folder / "c.npz", x=arrays.astype(np.float64))
    save_file({"x": arrays}, folder / "d.safetensors")
    rng = np.random.default_rng(0)
    with tarfile.open(folder / "e.tar", "w") as archive:
        for index in range(SAMPLES):
            pixels = rng.integers(0, 256, (*PICTURE, 3), dtype=np.uint8)
            for kind in PICTURES:
                Image.fromarray(pixels).save(folder / f"{kind}{index}.{kind}")
            name = f"png{index}.png"
            archive.add(folder / name, name)
    rows = [(folder / f"jpg{index}.jpg").read_bytes() for index in range(SAMPLES)]
    pq.write_table(pa.table({"image": rows}), folder / "f.parquet")
    tokens = rng.integers(0, 30, (SAMPLES, 5)).tolist()
    lines = [" ".join(map(str, row)) for row in tokens]
    (folder / "g.txt").write_text("\n".join(lines), encoding="utf-8")
    records = [json.dumps({"ids": row}) for row in tokens]
    (folder / "h.jsonl").write_text("\n".join(records), encoding="utf-8")
    names = "\n".join(f"png{index}.png" for index in range(SAMPLES))
    (folder / "i.lst").write_text(names, encoding="utf-8")


def write_weights(folder: Path) -> None:
    """Save weights of a model, model.onnx, in the formats that are read."""
    weights = {"w": W(WIDTH, 16), "u": W(9, 16), "b": W(9)}
    nodes = [node("MatMul", "x w", "h"), node("Gemm", "h u b", "y", transB=1)]
    save_graph(folder / "model.onnx", nodes, dict(weights), ("n", WIDTH))
    np.save(folder / "x.npy", random_weight(SAMPLES, WIDTH))
    save_file(weights, folder / "a.safetensors", {"format": "pt"})
    tensors = {name: torch.from_numpy(value) for name, value in weights.items()}
    torch.save(tensors, folder / "b.pt")
    torch.save({"state_dict": tensors, "epoch": 3}, folder / "c.pt")
    torch.save(tensors, folder / "d.pth", _use_new_zipfile_serialization=False)


CONFIGURATION = """
[init]
samples = "all"
seed = 3
target-std = 1.5
tol = 0.01
per = "channel"
max-iter = 3
pre-init = "xavier"
bias = "keep"
exclude = ["nothing*", "y*"]
target = ["Mat*=2"]
mean = "0.5"
std = [0.25]
memory = "1GB"
threads = 1
names = "onnx"
dtype = "float32"
verify = true
quiet = false
"""


def write_configuration(folder: Path) -> None:
    """Save a configuration file, and the model and samples that it is for."""
    write_weights(folder)
    (folder / "lsuv.toml").write_text(CONFIGURATION, encoding="utf-8")
