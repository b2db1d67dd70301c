"""Files by torch.save: their tensors, read without running code, and reasons why they hold none."""

from __future__ import annotations

import pickle
import pickletools
import re
import struct
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

STATE_DICT = "torch.save(model.state_dict(), ...)"

# What a file of tensors begins with, other than a plain dict.
ORDERED_DICT = "collections OrderedDict"

# What PyTorch's unpickler raises for a damaged file: it trusts the order of the instructions.
DAMAGED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)

ANSI = re.compile(r"\x1b\[[\d;]*m")


def is_zip_archive(path: Path) -> bool:
    """Return whether a file is a zip archive, as torch.save writes; False if its end is damaged."""
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:  # of an archive of several disks
        return False


def load_tensors(path: Path, save_call: str = STATE_DICT) -> Any:
    """Return what a file by `torch.save` holds, if that is tensors and plain values alone.

    A zip archive, the format since PyTorch 1.6, is mapped, not read.

    Args:
        path: the file.
        save_call: the call that saves it as it should be, for messages.

    Raises:
        OSError: the file can't be read.
        ValueError: it is damaged, or holds something else; the text says so.
    """
    import torch

    is_zip = is_zip_archive(path)
    try:
        fault = _fault(path, save_call) if is_zip else ""
        if not fault:
            with warnings.catch_warnings(action="ignore"):  # they are about PyTorch's own code
                return torch.load(path, map_location="cpu", mmap=is_zip, weights_only=True)
    except DAMAGED as error:
        fault = _refusal(error, save_call)
    raise ValueError(fault)


def _fault(path: Path, save_call: str) -> str:
    """Say that an archive holds one whole object instead of tensors; "" if it does not."""
    with zipfile.ZipFile(path) as archive:
        if any("/code/" in f"/{name}" for name in archive.namelist()):
            return f"TorchScript, not tensors; save its tensors alone, as {save_call}"
    whole = class_of_whole_object(path)
    if not whole:
        return ""
    return f"a whole pickled module ({whole}), not tensors; save its tensors, as {save_call}"


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


def _refusal(error: Exception, save_call: str) -> str:
    """Explain PyTorch's error."""
    text = ANSI.sub("", str(error))
    foreign = re.search(r"GLOBAL (\S+) (?:was not an allowed global|whose module)", text)
    if foreign is not None:
        return (
            f"not a file of tensors alone: it also holds a pickled {foreign[1]}, which could "
            f"run code; save the tensors, as {save_call}"
        )
    # Before that PyTorch advises to load the file as one that may run code.
    reason = " ".join(text.rpartition("WeightsUnpickler error:")[2].split())[:200]
    reason = reason.partition(". This is an internal miniz error")[0].rstrip(".")
    reason = reason or type(error).__name__
    return f"damaged, or no file of tensors alone, as {save_call} makes it: {reason}"


def _first_global(content: bytes) -> str:
    """Return the class or function with which a pickle begins; "" if it begins otherwise."""
    try:
        for code, argument, _ in pickletools.genops(content):
            if code.name not in ("PROTO", "FRAME"):
                return str(argument) if code.name == "GLOBAL" else ""
    except ValueError:
        pass
    return ""
