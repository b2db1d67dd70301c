"""The axis of each input along which its samples lie, as the names of its dimensions tell."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

# The sizes of an input: a number, the name of an open one, or None for an open one without a name.
Dimensions = Sequence[int | str | None]

BATCH = re.compile(r"[A-Za-z_]*batch\w*", re.IGNORECASE)

# Names of sizes that are open and no number of samples.
LENGTHS = re.compile(r"seq|time|len|step|frame|token|point|height|width", re.IGNORECASE)


def batch_axes(inputs: Mapping[str, Dimensions | None]) -> dict[str, int | None]:
    """Return the batch axis of each input; None where it is the same for all samples.

    It is the one whose dimension is named after batches. Where none is, it is the first one that is
    open, or else the one that has the name of another input's batch. Where the file leaves the
    number of samples open, an input whose sizes are all numbers is the same for all of them; where
    it does not, each input declares its number of samples along its first axis.

    Args:
        inputs: the sizes of each; None where not even their number is known.

    Example:
        >>> batch_axes({"x": ("batch", 8), "state": (1, "batch", 8), "gain": ()})
        {'x': 0, 'state': 1, 'gain': None}
        >>> batch_axes({"x": ("n", 8), "table": (5, 8)})
        {'x': 0, 'table': None}
        >>> batch_axes({"x": (1, 8), "mask": (1, 1, 8)})
        {'x': 0, 'mask': 0}
    """
    found = {name: _named(sizes) for name, sizes in inputs.items()}
    batches = [
        sizes[axis] for name, axis in found.items() if (sizes := inputs[name]) and axis is not None
    ]
    names = {size for size in batches if isinstance(size, str) and not LENGTHS.search(size)}
    is_open = any(axis is not None for axis in found.values())
    return {
        name: _by_others(sizes, names, is_open=is_open) if found[name] is None else found[name]
        for name, sizes in inputs.items()
    }


def _named(sizes: Dimensions | None) -> int | None:
    """Return the batch axis that an input's own sizes tell; None where they do not."""
    if sizes is None:
        return 0
    for axis, size in enumerate(sizes):
        if isinstance(size, str) and BATCH.fullmatch(size):
            return axis
    return 0 if sizes and not isinstance(sizes[0], int) else None


def _by_others(sizes: Dimensions | None, names: set[str], *, is_open: bool) -> int | None:
    """Return the batch axis of an input that does not tell it by itself."""
    if not sizes:
        return None
    shared = [axis for axis, size in enumerate(sizes) if size in names]
    nameless = [axis for axis, size in enumerate(sizes) if size is None]
    if shared:
        return shared[0]
    if is_open:
        return nameless[0] if len(nameless) == 1 else None
    return 0
