"""Names of layers: the part of a tensor and the call of a module in them, and what globs match."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from lsuv_cli.core.records import Layer

PART = re.compile(r"(\[[\w:, ]*\])+$")
CALL = re.compile(r"@\d+$")
SHOWN = 4


def whole(name: str) -> str:
    """Return the name of the tensor or module that something is a part of: `a.b` for `a.b[0:8]`."""
    return PART.sub("", name)


def numbered_calls(names: Iterable[str]) -> list[str]:
    """Return names with the number of the call behind all but the first of equals.

    These are PyTorch's own names for the calls of a module.

    >>> numbered_calls(["fc", "head", "fc", "fc"])
    ['fc', 'head', 'fc@1', 'fc@2']
    """
    calls: dict[str, int] = {}
    numbered = []
    for name in names:
        call = calls[name] = calls.get(name, -1) + 1
        numbered.append(f"{name}@{call}" if call else name)
    return numbered


def names_of(layer: Layer) -> list[str]:
    """Return the names by which a layer is known.

    Its own name, also without the number of the call and without the part; its node's; its
    weight's, with the part and without; and that of the weight's module.
    """
    first_call = CALL.sub("", layer.name)
    tensor = whole(layer.weight_name)
    names = (layer.name, first_call, whole(first_call), layer.node, layer.weight_name, tensor)
    return list(dict.fromkeys(filter(None, (*names, tensor.rpartition(".")[0]))))


def matches(layer: Layer, glob: str) -> bool:
    """Return whether a glob matches one of the names of a layer; see `names_of`."""
    names = names_of(layer)
    # A part of a tensor has brackets behind its name, which mean something else in a glob.
    return glob in names or any(fnmatchcase(name, glob) for name in names)


def suggestion(layers: Sequence[Layer], glob: str) -> str:
    """Return what a glob that matches no layer may have meant, for the end of a sentence."""
    known = dict.fromkeys(name for layer in layers for name in names_of(layer))
    some = ", ".join(f"{layer.name} ({layer.weight_name})" for layer in layers[:SHOWN])
    listed = f"the layers and weights are {some}{', ...' if len(layers) > SHOWN else ''}"
    for wider in (f"{glob}.*", f"{glob}/*", f"{glob}*", f"*{glob}", f"*{glob}*"):
        if count := sum(matches(layer, wider) for layer in layers):
            return f" (but '{wider}' matches {count}); {listed}"
    near = get_close_matches(glob, known, SHOWN)
    return f"; is it {', '.join(near)}? {listed}" if near else f"; {listed}"
