"""Addresses given where a path is expected."""

from __future__ import annotations

import re

# A path has lost one of the slashes.
ADDRESS = re.compile(r"[a-z][a-z0-9+]+:/", re.IGNORECASE)


def download_advice(text: str) -> str:
    """Return what to do about an address that was given as a path, or nothing for a path.

    Example:
        >>> download_advice("https://example.org/model.onnx")
        '; lsuv reads local files: download it, and give its path'
        >>> download_advice("model.onnx")
        ''
    """
    return "; lsuv reads local files: download it, and give its path" if ADDRESS.match(text) else ""
