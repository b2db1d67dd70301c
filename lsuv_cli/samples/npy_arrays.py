"""The format .npy: one array."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def open_npy(path: Path) -> dict[str, NDArray[Any]]:
    """Map the array in a .npy file into memory; it has no name, so it is called "".

    Raises:
        OSError: the file can't be read.
        ValueError, EOFError, SyntaxError, tokenize.TokenError: it is damaged.
    """
    # numpy.load also opens archives, and for anything else advises the user to allow pickles.
    return {"": np.lib.format.open_memmap(path, mode="r")}
