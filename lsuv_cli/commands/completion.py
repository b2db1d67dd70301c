"""What a shell is offered for arguments and options that are no plain files or choices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lsuv_cli.core.option_texts import PRESETS

MODEL_SUFFIXES = frozenset((".onnx", ".pt", ".pth", ".ts", ".torchscript"))
WEIGHT_SUFFIXES = frozenset((".json", ".pt", ".pth", ".safetensors"))


def files_ending(suffixes: frozenset[str]) -> Callable[[str], list[str]]:
    """Offers files by their names' endings, and folders to look into."""

    def complete(incomplete: str) -> list[str]:
        folder, _, start = incomplete.rpartition("/")
        place = Path(f"{folder}/") if "/" in incomplete else Path()
        try:
            found = sorted(place.iterdir())
        except OSError:
            return []
        prefix = f"{folder}/" if "/" in incomplete else ""
        return [
            f"{prefix}{path.name}{'/' if path.is_dir() else ''}"
            for path in found
            if path.name.startswith(start)
            and path.name.startswith(".") == start.startswith(".")
            and (path.is_dir() or path.suffix in suffixes)
        ]

    return complete


def presets(incomplete: str) -> list[str]:
    """Offers the data sets whose normalisation is known."""
    return [name for name in PRESETS if name.startswith(incomplete)]


def devices(incomplete: str) -> list[str]:
    """Offers devices."""
    return [name for name in ("auto", "cpu", "cuda", "cuda:0") if name.startswith(incomplete)]
