"""The formats .txt and .jsonl: token ids, one sample per line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lsuv_cli.core.text_marks import without_mark

Ids = NDArray[np.int64]


def open_text_tokens(path: Path) -> dict[str, Ids]:
    """Read a `.txt` file: one sample per line, ids between spaces or commas.

    Returns:
        An array (lines, ids), under the name "".

    Raises:
        OSError: the file can't be read.
        ValueError: a line is no list of integers, or lines differ in length.
    """
    return _read(path, lambda line: {"": _numbers(line)})


def open_json_tokens(path: Path) -> dict[str, Ids]:
    """Read a `.jsonl` file: one sample per line, a list of ids or an object of lists.

    Returns:
        For each input's name an array (lines, ids); the name is "" where the lines are lists.

    Raises:
        OSError: the file can't be read.
        ValueError: a line is no list of integers, or lines differ in length or keys.
    """
    return _read(path, _objects)


def _read(path: Path, parse: Callable[[str], dict[str, list[int]]]) -> dict[str, Ids]:
    rows: dict[str, list[list[int]]] = {}
    lines = without_mark(path.read_bytes()).decode("utf-8").splitlines()
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    for number, line in numbered:
        try:
            found = parse(line)
        except ValueError:
            raise ValueError(f"line {number} holds no token ids, which are integers") from None
        for name, ids in found.items():
            rows.setdefault(name, []).append(ids)
    for name, samples in rows.items():
        lengths = {len(ids) for ids in samples}
        if len(samples) != len(numbered):
            raise ValueError(f"not every line has the input {name}")
        if len(lengths) > 1:
            raise ValueError(
                f"lines have {min(lengths)} to {max(lengths)} ids; truncate or pad them to one "
                "length"
            )
    return {name: np.array(samples, np.int64) for name, samples in rows.items()}


def _numbers(line: str) -> list[int]:
    return [int(word) for word in line.replace(",", " ").split()]


def _objects(line: str) -> dict[str, list[int]]:
    value: Any = json.loads(line)
    named = value if isinstance(value, dict) else {"": value}
    for ids in named.values():
        if not isinstance(ids, list) or not all(type(one) is int for one in ids):
            raise ValueError
    return named
