"""Names and shapes of tensors, compared with those of a checkpoint."""

from __future__ import annotations

from pathlib import Path

from lsuv_cli.core.errors import DataError
from lsuv_cli.names.exporter import Shapes
from lsuv_cli.weights.checkpoint import Checkpoint


def shapes_of(checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor in a checkpoint, by name."""
    return {name: info.shape for name, info in checkpoint.infos.items()}


def shape_differences(ours: Shapes, theirs: Shapes) -> str:
    """List the names that are missing among ours, unexpected or of another shape; "" for none."""
    missing = sorted(theirs.keys() - ours.keys())
    unexpected = sorted(ours.keys() - theirs.keys())
    misshapen = [
        f"{name} {list(ours[name])} instead of {list(theirs[name])}"
        for name in sorted(ours.keys() & theirs.keys())
        if ours[name] != theirs[name]
    ]
    titled = (("missing", missing), ("unexpected", unexpected), ("misshapen", misshapen))
    return "; ".join(f"{title}: {', '.join(names)}" for title, names in titled if names)


def refuse_different_shapes(ours: Shapes, theirs: Shapes, path: Path) -> None:
    """Refuse names and shapes that differ from those of `--like`.

    Raises:
        DataError: with every name that is missing, unexpected or of another shape.
    """
    found = shape_differences(ours, theirs)
    if found:
        raise DataError(f"what would be written does not fit --like {path}: {found}")
