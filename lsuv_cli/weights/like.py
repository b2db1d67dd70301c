"""Whether names and shapes are those of a checkpoint."""

from __future__ import annotations

from pathlib import Path

from lsuv_cli.core.errors import DataError
from lsuv_cli.names.exporter import Shapes
from lsuv_cli.weights.formats import open_checkpoint


def read_shapes(path: Path) -> Shapes:
    """The shape of each tensor in a checkpoint given as `--like`, by name.

    Raises:
        DataError: there is no such file, or it is no checkpoint.
    """
    return {name: info.shape for name, info in open_checkpoint(path, "--like").infos.items()}


def differences(ours: Shapes, theirs: Shapes) -> str:
    """Every name that is missing among ours, unexpected or of another shape; "" for none."""
    missing = sorted(theirs.keys() - ours.keys())
    unexpected = sorted(ours.keys() - theirs.keys())
    misshapen = [
        f"{name} {list(ours[name])} instead of {list(theirs[name])}"
        for name in sorted(ours.keys() & theirs.keys())
        if ours[name] != theirs[name]
    ]
    titled = (("missing", missing), ("unexpected", unexpected), ("misshapen", misshapen))
    return "; ".join(f"{title}: {', '.join(names)}" for title, names in titled if names)


def compare_shapes(ours: Shapes, theirs: Shapes, path: Path) -> None:
    """Refuse where names or shapes differ.

    Raises:
        DataError: with every name that is missing, unexpected or of another shape.
    """
    found = differences(ours, theirs)
    if found:
        raise DataError(f"what would be written does not fit --like {path}: {found}")
