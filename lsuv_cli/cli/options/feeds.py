"""The parser of `--feed`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from lsuv_cli.core.errors import UsageError
from lsuv_cli.core.limits import check_feed


def parse_feeds(texts: Sequence[str]) -> dict[str, Any]:
    """Parse every `--feed`: `gain=2`, `sizes=224,224`, `on=true` or `box=[[0,0],[1,1]]`.

    Raises:
        UsageError: one is malformed, or two are for the same input.
    """
    feeds: dict[str, Any] = {}
    for text in texts:
        name, separator, given = text.partition("=")
        value = _json(given.lower()) if separator and name else None
        if value is None:
            raise UsageError(
                f"--feed {text}: write NAME=VALUE with a number, true or false, or a list of them, "
                "as gain=2 or sizes=224,224"
            )
        if name in feeds:
            raise UsageError(f"--feed {text}: there is another for the same input")
        feeds[name] = check_feed(f"--feed {name}", value)
    return feeds


def _json(text: str) -> object:
    """Return a number or a list, with or without its brackets; None for another text."""
    for form in (text, f"[{text}]"):
        try:
            value: object = json.loads(form)
        except (ValueError, RecursionError):
            continue
        return value
    return None
