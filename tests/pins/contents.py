"""Contents of the files that a case writes: tensors, and what stands beside them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper
from safetensors import safe_open

Array = NDArray[Any]


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes:
        tensors: in the file's order.
        rest: everything else, as a document: metadata, an index, or a graph's nodes.
    """

    tensors: dict[str, Array]
    rest: Any


def read_contents(path: Path) -> Contents:
    """Read a safetensors file, an index of shards or an ONNX file.

    Raises:
        ValueError: it is none of them.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix == ".json":
        return Contents({}, json.loads(path.read_bytes()))
    if path.suffix == ".onnx":
        return _read_onnx(path)
    raise ValueError(f"{path.name} is no file of weights and no model")


def _read_safetensors(path: Path) -> Contents:
    with safe_open(path, "numpy") as file:
        metadata = {
            name: json.loads(text) if text.startswith(("{", "[")) else text
            for name, text in (file.metadata() or {}).items()
        }
        return Contents({name: file.get_tensor(name) for name in file.offset_keys()}, metadata)


def _read_onnx(path: Path) -> Contents:
    model = onnx.load(path)
    tensors = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    del model.graph.initializer[:]
    nodes = {node.output[0]: str(node) for node in model.graph.node}
    del model.graph.node[:]
    return Contents(tensors, {"nodes": nodes, "model": str(model)})


def root_mean_square(values: Array) -> float:
    """The square root of the mean square, computed in float64."""
    wide = values.astype(np.float64)
    return float(np.sqrt(np.mean(wide * wide))) if values.size else 0.0


def spacing(dtype: np.dtype[Any]) -> float:
    """Relative distance of neighbouring numbers of a type; 0 where it has only whole ones."""
    return float(np.finfo(dtype).eps) if np.issubdtype(dtype, np.floating) else 0.0
