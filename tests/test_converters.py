"""Files that other converters and optimisers wrote, one of each: see `make converters`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from support.command import Run
from support.converter_checks import checked

FILES = sorted((Path(__file__).parent / "data" / "converters").glob("*.onnx"))
SAMPLES = 16
# What PyTorch's exporter folded is refused under its names, and initialised under the file's own.
FOLDED = ("keras-torch.0",)
TOLERANCE = {"float16.0": 2e-3}


def save_inputs(model: onnx.ModelProto, path: Path) -> None:
    """Save normal numbers for each input; what is not fixed are the samples."""
    rng = np.random.default_rng(0)
    initializers = {one.name for one in model.graph.initializer}
    arrays = {}
    for one in model.graph.input:
        if one.name not in initializers:
            tensor = one.type.tensor_type
            shape = [axis.dim_value or SAMPLES for axis in tensor.shape.dim]
            dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
            arrays[one.name] = rng.standard_normal(shape).astype(dtype)
    np.savez(path, **arrays)  # type: ignore[arg-type]


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_files_of_a_converter(file: Path, tmp_path: Path, lsuv: Run) -> None:
    """Every layer has variance 1 in the file itself, and no product is left out in silence."""
    save_inputs(onnx.load(file), tmp_path / "x.npz")
    found = checked(file, tmp_path / "x.npz", tmp_path, lsuv)
    assert (found.code, bool(found.refusal)) == ((3, True) if file.stem in FOLDED else (0, False))
    assert found.deviations
    assert max(found.deviations.values()) < TOLERANCE.get(file.stem, 1e-5), found.deviations
    assert not found.unsaid
    assert not found.disagreements
    assert not found.left_alone
