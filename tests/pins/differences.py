"""Differences between two outcomes of a case, as short texts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pins.contents import Contents, read_contents, root_mean_square, spacing
from pins.running import WRITTEN, Outcome

Array = NDArray[Any]

VOLATILE = frozenset(("version", "lsuv.version"))
# With a tolerance: what a different batch size makes different.
DEPENDENT = frozenset(("batch_size", "plan", "deviation"))
MISSING = object()
SHOWN_CHARACTERS = 300


def differences(old: Outcome, new: Outcome, tolerance: float | None) -> Iterator[str]:
    """Where two outcomes differ, or a command fails; nothing where they are the same.

    Args:
        old: the outcome that is right.
        new: the other.
        tolerance: relative difference of numbers that is allowed; None compares bytes.
    """
    for number, (one, other) in enumerate(zip_longest(old.steps, new.steps), 1):
        if one is None or other is None:
            yield f"command {number} is in one only"
            continue
        if one.code != other.code:
            yield f"command {number}: exit code {one.code} -> {other.code}"
        if other.code not in WRITTEN:
            yield f"command {number} fails: {other.stderr[-SHOWN_CHARACTERS:].strip()}"
        for text in document_differences(one.document, other.document, tolerance):
            yield f"report of command {number}: {text}"
    for name in sorted(old.files.keys() | new.files.keys()):
        if name not in new.files:
            yield f"{name} is not written"
        elif name not in old.files:
            yield f"{name} is written too"
        else:
            for text in file_differences(old.files[name], new.files[name], tolerance):
                yield f"{name}: {text}"


def file_differences(old: Path, new: Path, tolerance: float | None) -> Iterator[str]:
    """Where two files differ."""
    if old.read_bytes() == new.read_bytes():
        return
    one, other = read_contents(old), read_contents(new)
    found = [
        *document_differences(one.rest, other.rest, tolerance),
        *tensor_differences(one, other, tolerance),
    ]
    yield from found
    if not found and tolerance is None and not _has_version(one.rest):
        yield "the same contents, in other bytes"


def _has_version(document: Any) -> bool:
    return isinstance(document, Mapping) and not VOLATILE.isdisjoint(document)


def tensor_differences(old: Contents, new: Contents, tolerance: float | None) -> Iterator[str]:
    """Where the tensors of two files differ."""
    if old.tensors.keys() != new.tensors.keys():
        gone, added = old.tensors.keys() - new.tensors.keys(), new.tensors.keys() - old.tensors
        yield f"tensors gone: {sorted(gone)}; new: {sorted(added)}"
    elif list(old.tensors) != list(new.tensors):
        yield "the tensors are in another order"
    for name in (name for name in old.tensors if name in new.tensors):
        one, other = old.tensors[name], new.tensors[name]
        if (one.dtype, one.shape) != (other.dtype, other.shape):
            yield f"tensor {name}: {one.dtype} {one.shape} -> {other.dtype} {other.shape}"
        elif one.tobytes() != other.tobytes():
            difference = np.abs(one.astype(np.float64) - other.astype(np.float64)).max()
            allowed = -1.0
            if tolerance is not None:
                allowed = max(tolerance, spacing(one.dtype)) * float(np.abs(one).max())
            if not difference <= allowed:
                yield (
                    f"tensor {name}: values differ by up to {difference:.2g} "
                    f"(root mean square {root_mean_square(one):.2g})"
                )


def document_differences(
    old: Any, new: Any, tolerance: float | None, place: str = ""
) -> Iterator[str]:
    """Where two JSON documents differ."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        left_out = VOLATILE if tolerance is None else VOLATILE | DEPENDENT
        for key in [*old, *(key for key in new if key not in old)]:
            if key not in left_out:
                inner = f"{place}.{key}" if place else str(key)
                yield from document_differences(
                    old.get(key, MISSING), new.get(key, MISSING), tolerance, inner
                )
    elif _is_list(old) and _is_list(new):
        if len(old) != len(new):
            yield f"{place}: {len(old)} -> {len(new)} elements"
        for index, (one, other) in enumerate(zip(old, new, strict=False)):
            name = one.get("name", index) if isinstance(one, Mapping) else index
            yield from document_differences(one, other, tolerance, f"{place}[{name}]")
    elif not _same(old, new, tolerance):
        yield f"{place}: {_shown(old)} -> {_shown(new)}"


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _same(old: Any, new: Any, tolerance: float | None) -> bool:
    if isinstance(old, float) and isinstance(new, float) and tolerance is not None:
        return math.isclose(old, new, rel_tol=tolerance, abs_tol=tolerance)
    return type(old) is type(new) and bool(old == new)


def _shown(value: Any) -> str:
    text = "nothing" if value is MISSING else repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
