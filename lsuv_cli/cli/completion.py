"""Shell completion of arguments and options that are neither plain files nor choices."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from lsuv_cli.core.option_texts import PRESETS
from lsuv_cli.names.exporters import names_words

MODEL_SUFFIXES = frozenset((".onnx", ".pt", ".pt2", ".pth", ".ts", ".torchscript"))
WEIGHT_SUFFIXES = frozenset((".json", ".pt", ".pth", ".safetensors"))


# bash takes what it is offered as it is: what it would have to quote, its own completion offers.
NOT_IN_BASH = re.compile(r"[^\w@%+,./~-]")


def files_ending(suffixes: frozenset[str]) -> Callable[[str], list[str]]:
    """Return a completer of files by suffix, and of folders."""

    def complete(incomplete: str) -> list[str]:
        found = _entries(incomplete, suffixes)
        # A shell ends a word that can't be another; so a folder alone is looked into at once.
        while (
            len(found) == 1 and found[0].endswith("/") and (inner := _entries(found[0], suffixes))
        ):
            found = inner
        is_bash = os.environ.get("_LSUV_COMPLETE") == "complete_bash"
        return [] if is_bash and any(map(NOT_IN_BASH.search, found)) else found

    return complete


def _entries(incomplete: str, suffixes: frozenset[str]) -> list[str]:
    """The files and folders whose paths begin like this; folders with a slash behind them."""
    folder, slash, start = incomplete.rpartition("/")
    prefix = folder + slash
    try:
        found = sorted(Path(prefix).iterdir())
    except OSError:
        return []
    return [
        f"{prefix}{path.name}{'/' if path.is_dir() else ''}"
        for path in found
        if path.name.startswith(start)
        and path.name.startswith(".") == start.startswith(".")
        and (path.is_dir() or path.suffix in suffixes)
    ]


def complete_presets(incomplete: str) -> list[str]:
    """Complete the names of `--preset`."""
    return [name for name in PRESETS if name.startswith(incomplete)]


def complete_names(incomplete: str) -> list[str]:
    """Complete the words of `--names`."""
    return [word for word in names_words() if word.startswith(incomplete)]


def complete_devices(incomplete: str) -> list[str]:
    """Complete the devices of `--device`."""
    return [name for name in ("auto", "cpu", "cuda", "cuda:0") if name.startswith(incomplete)]
