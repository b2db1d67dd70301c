"""Values between segments, kept on disk and found again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from lsuv_cli.runtime.spill import SpillFile
from lsuv_cli.runtime.store import ValueStore


def test_values_without_elements_take_no_space(tmp_path: Path) -> None:
    """Also where a journal tells of them, and others are written afterwards."""
    path = tmp_path / "values.bin"
    path.touch()
    values: dict[str, Any] = {"another": np.empty((2, 0), np.int64), "byte": np.ones(1, np.uint8)}
    values |= {f"v{size}": np.full((size, 3), size, np.float32) for size in (0, 4, 2)}
    first = SpillFile(tmp_path, path)
    store = ValueStore(0, first)
    for batch in range(3):
        assert store.keep(batch, 1, values, set(values))
    index = json.loads(json.dumps(store.index()))
    first.close()
    second = SpillFile(tmp_path, path)
    again = ValueStore(0, second)
    again.restore(index)
    again.forget(1)
    for batch in (1, 3):
        more = {name: value + 1 for name, value in values.items()}
        assert again.keep(batch, 2, more, set(more))
    for batch in range(4):
        added = int(batch in (1, 3))
        for name, value in again.load(batch).items():
            np.testing.assert_array_equal(value, values[name] + added)
            assert value.dtype == values[name].dtype
    second.close()
