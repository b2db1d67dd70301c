"""Reasons why a file by torch.save is not a checkpoint of tensors, found without unpickling it."""

from __future__ import annotations

import pickletools
import re
import zipfile
from pathlib import Path
from typing import BinaryIO

STATE_DICT = "torch.save(model.state_dict(), ...)"

# What a file of tensors begins with, other than a plain dict.
ORDERED_DICT = "collections OrderedDict"

ANSI = re.compile(r"\x1b\[[\d;]*m")


def whole_object(path: Path) -> str:
    """Say that a file holds one whole object instead of tensors by name; "" if it does not.

    Args:
        path: a zip file.
    """
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if any("/code/" in f"/{name}" for name in names):
            return f"is TorchScript, not tensors; save its tensors alone, as {STATE_DICT}"
        pickled = next((name for name in names if name.endswith("data.pkl")), None)
        first = _first_global(archive.read(pickled)) if pickled else ""
    if first in ("", ORDERED_DICT):
        return ""
    name = first.replace(" ", ".")
    return f"holds a whole pickled module ({name}), not tensors; save its tensors, as {STATE_DICT}"


def class_of_whole_object(file: Path | BinaryIO) -> str:
    """Return the class of the module that a file holds as a whole, with its own; "" for tensors.

    Args:
        file: a zip file of torch.save's, or its bytes.
    """
    with zipfile.ZipFile(file) as archive:
        pickled = next((name for name in archive.namelist() if name.endswith("data.pkl")), None)
        first = _first_global(archive.read(pickled)) if pickled else ""
    made_by_torch = first in ("", ORDERED_DICT) or first.startswith("torch._utils ")
    return "" if made_by_torch else first.replace(" ", ".")


def refusal(error: Exception) -> str:
    """Explain PyTorch's error.

    Args:
        error: raised by `torch.load` with `weights_only=True`.
    """
    text = ANSI.sub("", str(error))
    foreign = re.search(r"GLOBAL (\S+) (?:was not an allowed global|whose module)", text)
    if foreign is not None:
        return (
            f"not a checkpoint of tensors alone: it also holds a pickled {foreign[1]}, which could "
            f"run code; save the tensors, as {STATE_DICT}"
        )
    # Before that PyTorch advises to load the file as one that may run code.
    reason = " ".join(text.rpartition("WeightsUnpickler error:")[2].split())[:200]
    return f"not a checkpoint of tensors alone, as {STATE_DICT} makes it: {reason}"


def _first_global(content: bytes) -> str:
    """Return the class or function with which a pickle begins; "" if it begins otherwise."""
    try:
        for code, argument, _ in pickletools.genops(content):
            if code.name not in ("PROTO", "FRAME"):
                return str(argument) if code.name == "GLOBAL" else ""
    except ValueError:
        pass
    return ""
