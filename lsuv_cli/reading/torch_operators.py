"""Operators of other packages in a program's file, while these packages are not imported.

A file names the operators that it calls; those that a package registers exist only once it is
imported, which would run its code. Where an operator's meaning is known here, it can do without.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from lsuv_cli.reading.torch_decompositions import grouped_product

# By namespace and name: the arguments, and what computes the same.
KNOWN = {
    ("transformers", "grouped_mm_fallback"): (
        "(Tensor input, Tensor weight, Tensor offs) -> Tensor",
        grouped_product,
    )
}
# No package registers operators there.
OF_PYTORCH = ("aten", "prim", "prims", "higher_order")
_OPERATOR = re.compile(r"torch\.ops\.(\w+)\.(\w+)")


@contextmanager
def known_operators() -> Iterator[bool]:
    """Define the known operators that no package has registered, until the context ends.

    Yields:
        Whether any was defined; a program that calls it has to be freed of it in the context.
    """
    libraries: list[Any] = []
    new_library: Any = torch.library.Library
    for (namespace, name), (signature, function) in KNOWN.items():
        if not hasattr(getattr(torch.ops, namespace), name):
            library = new_library(namespace, "FRAGMENT")
            library.define(name + signature)
            library.impl(name, function, "CompositeExplicitAutograd")
            libraries.append(library)
    try:
        yield bool(libraries)
    finally:
        # The package may be imported later, and registers its own then.
        for library in libraries:
            library._destroy()  # noqa: SLF001


def without_known_operators(
    program: torch.export.ExportedProgram,
) -> torch.export.ExportedProgram:
    """Return a program that calls none of the known operators.

    Args:
        program: the program; not modified.
    """
    table = {
        node.target: function
        for node in program.graph.nodes
        for (namespace, name), (_, function) in KNOWN.items()
        if str(node.target) == f"{namespace}.{name}.default"
    }
    return program.run_decompositions(table) if table else program


def missing_operator(message: str) -> str:
    """Return the operator, as `package::name`, that a message of PyTorch's reader says is missing.

    Args:
        message: the message, which names what the reader stumbled over.

    Returns:
        "" where that is no operator, one that exists, or one of another version of PyTorch.
    """
    found = _OPERATOR.search(message)
    if found is None or found[1] in OF_PYTORCH or hasattr(getattr(torch.ops, found[1]), found[2]):
        return ""
    return f"{found[1]}::{found[2]}"
