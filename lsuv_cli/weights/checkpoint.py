"""Checkpoints of other programs: only their names and shapes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lsuv_cli.core.errors import DataError

Shapes = Mapping[str, tuple[int, ...]]

# Under these keys training scripts keep the weights beside other things.
NESTED_KEYS = ("state_dict", "model_state_dict", "model")


def read_shapes(path: Path) -> Shapes:
    """The shape of each tensor in a checkpoint, by name; a `.pt` is read without running code.

    Raises:
        DataError: there is no such file, or it is no checkpoint.
    """
    if not path.is_file():
        raise DataError(f"--like {path}: there is no such file")
    if path.suffix == ".safetensors":
        return _safetensors_shapes(path)
    return _torch_shapes(path)


def _safetensors_shapes(path: Path) -> Shapes:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as error:
        raise DataError(f"--like {path}: not a whole safetensors file: {error}") from None


def _torch_shapes(path: Path) -> Shapes:
    import pickle

    import torch

    try:
        content = torch.load(path, map_location="meta", mmap=True, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0][:200]
        raise DataError(
            f"--like {path}: not a checkpoint of tensors alone, as torch.save(model.state_dict(), "
            f"...) makes it: {reason}"
        ) from None
    for key in NESTED_KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise DataError(f"--like {path}: holds no state_dict")
    return {
        str(name): tuple(value.shape)
        for name, value in content.items()
        if isinstance(value, torch.Tensor)
    }


def compare_shapes(ours: Shapes, theirs: Shapes, path: Path) -> None:
    """Refuse where names or shapes differ.

    Raises:
        DataError: with every name that is missing, unexpected or of another shape.
    """
    missing = sorted(theirs.keys() - ours.keys())
    unexpected = sorted(ours.keys() - theirs.keys())
    misshapen = [
        f"{name} {list(ours[name])} instead of {list(theirs[name])}"
        for name in sorted(ours.keys() & theirs.keys())
        if ours[name] != theirs[name]
    ]
    parts = [
        f"{title}: {', '.join(names)}"
        for title, names in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("misshapen", misshapen),
        )
        if names
    ]
    if parts:
        raise DataError(f"what would be written does not fit --like {path}: {'; '.join(parts)}")
