"""Graphs equal to `PLAIN` in value, with their weights behind other nodes or in constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from support.graphs import constant, i64, node, random_weight

Array = NDArray[Any]
W = random_weight
Graph = tuple[list[onnx.NodeProto], dict[str, Array]]
HEAD = [node("Tanh", "a", "t"), node("MatMul", "t v", "z")]
V = W(6, 4)

PLAIN: Graph = ([node("Gemm", "x w b", "a", transB=1), *HEAD], {"w": W(6, 8), "b": W(6), "v": V})

SAME_AS_PLAIN: dict[str, Graph] = {
    "transposed": (
        [node("Transpose", "w", "wt"), node("MatMul", "x wt", "p"), node("Add", "p b", "a"), *HEAD],
        PLAIN[1],
    ),
    "identity of identity": (
        [
            *(node("Identity", "w", "w1"), node("Identity", "w1", "w2")),
            *(node("Identity", "b", "b1"), node("Gemm", "x w2 b1", "a", transB=1), *HEAD),
        ],
        PLAIN[1],
    ),
    "reshaped": (
        [
            *(node("Reshape", "w3 s", "w"), node("Reshape", "b2 m", "b")),
            *(node("Gemm", "x w b", "a", transB=1), *HEAD),
        ],
        {
            "w3": W(6, 8).reshape(2, 3, 8),
            "b2": W(6).reshape(1, 6, 1),
            "s": i64(0, -1, 8)[[1, 2]],
            "m": i64(-1),
            "v": V,
        },
    ),
    "squeezed and unsqueezed": (
        [
            *(node("Squeeze", "w4 one", "w"), node("Unsqueeze", "b nil", "b1")),
            *(node("Gemm", "x w b1", "a", transB=1), *HEAD),
        ],
        {"w4": W(6, 8)[:, None], "one": i64(1), "nil": i64(0), "b": W(6), "v": V},
    ),
    "sliced": (
        [
            *(node("Slice", "big from to axis", "w"), node("Split", "bb parts", "b")),
            *(node("Gemm", "x w b", "a", transB=1), *HEAD),
        ],
        {
            "big": np.concatenate([W(6, 8), W(2, 8)]),
            "from": i64(0),
            "to": i64(6),
            "axis": i64(0),
            "bb": W(6),
            "parts": i64(6),
            "v": V,
        },
    ),
    "one of several": (
        [node("Gather", "big first", "w", axis=1), node("Gemm", "x w b", "a", transB=1), *HEAD],
        {"big": np.stack([W(6, 8), W(6, 8) * 2], 1), "first": np.array(0), "b": W(6), "v": V},
    ),
    "cast": (
        [
            node("Cast", "w", "w1", to=TensorProto.FLOAT),
            *(node("Gemm", "x w1 b", "a", transB=1), *HEAD),
        ],
        PLAIN[1],
    ),
    "in constants": (
        [
            *(
                constant("w", W(6, 8)),
                constant("b", W(6)),
                constant("half", np.full(1, 0.5, np.float32)),
            ),
            *(node("Gemm", "x w b", "a", transB=1), *HEAD),
        ],
        {"v": V},
    ),
}
