"""Write an encoder of any size as an ONNX file with its weights beside it, and samples for it.

    python sample_models/large.py --gigabytes 6 --out folder

Pre-norm transformer blocks without biases (attention with one head, and an MLP of four times the
width), in float32. The weights are written block by block, so that this script needs little memory
itself, and all blocks start from the same random numbers: they are going to be drawn again.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
TOKENS = 8
GIGABYTE = 10**9


class Writer:
    """A graph under construction, and the file that its weights go to."""

    def __init__(self, file: BinaryIO, location: str, width: int) -> None:
        self.file = file
        self.location = location
        self.nodes: list[onnx.NodeProto] = []
        self.initializers = [
            numpy_helper.from_array(np.ones(width, np.float32), "ones"),
            numpy_helper.from_array(np.array(1 / math.sqrt(width), np.float32), "temperature"),
        ]
        rng = np.random.default_rng(0)
        self.values: dict[tuple[int, int], NDArray[np.float32]] = {
            shape: rng.standard_normal(shape, dtype=np.float32) * np.float32(0.02)
            for shape in ((width, width), (width, 4 * width), (4 * width, width))
        }

    def node(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Append a node."""
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=output, **attributes))
        return output

    def linear(self, x: str, rows: int, columns: int, name: str) -> str:
        """Append a matrix product; its weight goes to the file."""
        value = self.values[rows, columns]
        tensor = TensorProto(
            name=f"{name}.weight",
            dims=value.shape,
            data_type=TensorProto.FLOAT,
            data_location=TensorProto.EXTERNAL,
        )
        place = {
            "location": self.location,
            "offset": str(self.file.tell()),
            "length": str(value.nbytes),
        }
        for key, text in place.items():
            tensor.external_data.add(key=key, value=text)
        self.file.write(value.data)
        self.initializers.append(tensor)
        return self.node("MatMul", [x, f"{name}.weight"], name)

    def block(self, x: str, width: int, name: str) -> str:
        """Append a transformer block."""
        h = self.node("LayerNormalization", [x, "ones"], f"{name}.norm1")
        q, k, v = (self.linear(h, width, width, f"{name}.{part}") for part in "qkv")
        keys = self.node("Transpose", [k], f"{name}.keys", perm=[0, 2, 1])
        scores = self.node("MatMul", [q, keys], f"{name}.scores")
        scaled = self.node("Mul", [scores, "temperature"], f"{name}.scaled")
        shares = self.node("Softmax", [scaled], f"{name}.shares", axis=-1)
        mixed = self.node("MatMul", [shares, v], f"{name}.mixed")
        attended = self.linear(mixed, width, width, f"{name}.out")
        x = self.node("Add", [x, attended], f"{name}.attended")
        h = self.node("LayerNormalization", [x, "ones"], f"{name}.norm2")
        h = self.linear(h, width, 4 * width, f"{name}.up")
        h = self.node("Relu", [h], f"{name}.relu")
        h = self.linear(h, 4 * width, width, f"{name}.down")
        return self.node("Add", [x, h], f"{name}.sum")


def build(folder: Path, nbytes: int, width: int) -> Path:
    """Write `large.onnx`, `large.bin` and `samples.npy`.

    Args:
        folder: where to.
        nbytes: of weights, rounded up to whole blocks.
        width: features of a token.

    Returns:
        The ONNX file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    blocks = -(-nbytes // (12 * width * width * 4))
    with (folder / "large.bin").open("wb") as file:
        writer = Writer(file, "large.bin", width)
        x = "x"
        for index in range(blocks):
            x = writer.block(x, width, f"blocks.{index}")
    graph = helper.make_graph(
        writer.nodes,
        "large",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", TOKENS, width])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["n", TOKENS, width])],
        writer.initializers,
    )
    opset = helper.make_opsetid("", OPSET)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), folder / "large.onnx")
    samples = np.random.default_rng(1).standard_normal((16, TOKENS, width), dtype=np.float32)
    np.save(folder / "samples.npy", samples)
    return folder / "large.onnx"


def main() -> None:
    """Build what the command line asks for."""
    parser = argparse.ArgumentParser(description="Write a large ONNX model and samples for it.")
    parser.add_argument("--gigabytes", type=float, default=6.0, help="of weights")
    parser.add_argument("--width", type=int, default=2048, help="features of a token")
    parser.add_argument("--out", type=Path, required=True, help="the folder")
    options = parser.parse_args()
    print(build(options.out, int(options.gigabytes * GIGABYTE), options.width))


if __name__ == "__main__":
    main()
