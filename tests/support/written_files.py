"""Comparisons of the files that a command has written or must have left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file


def contents(folder: Path) -> dict[Path, bytes]:
    """Return the bytes of every file in a folder and below."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check_same_weights(path: Path, other: Path) -> None:
    """Check that two safetensors files agree to 1e-6 of each tensor's largest value."""
    weights, others = load_file(path), load_file(other)
    assert weights.keys() == others.keys()
    for name, value in weights.items():
        largest = np.abs(others[name]).max()
        np.testing.assert_allclose(value, others[name], rtol=0, atol=1e-6 * largest, err_msg=name)
