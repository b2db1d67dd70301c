"""Brace patterns, as shells and users of WebDataset write them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lsuv_cli.core.errors import DataError

_BRACES = re.compile(r"\{[^{}]*(,|\.\.)[^{}]*\}")


def has_braces(pattern: str) -> bool:
    """Return whether a pattern has a list or a range in braces, as `{a,b}` or `{000..099}`."""
    return _BRACES.search(pattern) is not None


def expand_braces(pattern: str) -> Iterator[str]:
    """Yield the paths that a pattern stands for, in its order.

    Raises:
        DataError: the library that expands it is not installed.
    """
    try:
        import bracex
    except ImportError:
        raise DataError(
            f"--data {pattern}: braces need bracex; pip install 'lsuv-cli[data]', or leave the "
            "quotes away, so that the shell expands them"
        ) from None
    return bracex.iexpand(pattern, keep_escapes=True, limit=0)
