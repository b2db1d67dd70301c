"""Tensors that training does not change, and the reasons by which a model file tells so."""

from __future__ import annotations

from collections.abc import Iterable

from lsuv_cli.graph.torch_signature import ExportedSignature, TensorKind

IS_BUFFER = "is a buffer"
IS_CONSTANT = "is a constant, not a parameter"
NO_GRADIENT = "requires no gradient"


def fixed_by_signature(signature: ExportedSignature, stored: Iterable[str]) -> dict[str, str]:
    """Return the stored tensors of which an exported module's signature tells that they are fixed.

    Args:
        signature: the signature.
        stored: the names of the tensors that the file stores.

    Returns:
        The reason for each, as "is a buffer".
    """
    found = {}
    for name in stored:
        if name in signature.tensors:
            sources = [name]
        elif name in signature.folded_from:
            sources = sorted(signature.folded_from[name])
        else:
            continue
        kinds = [signature.tensors[source].kind for source in sources]
        if TensorKind.PARAMETER in kinds:
            continue
        buffers = [s for s, kind in zip(sources, kinds, strict=True) if kind is TensorKind.BUFFER]
        if not buffers:
            found[name] = IS_CONSTANT
        elif sources == [name]:
            found[name] = IS_BUFFER
        else:
            found[name] = f"is computed from {buffers[0]}, which {IS_BUFFER}"
    return found


def trained_by_signature(signature: ExportedSignature) -> frozenset[str]:
    """Return the names of the parameters of an exported module."""
    tensors = signature.tensors.values()
    return frozenset(one.name for one in tensors if one.kind is TensorKind.PARAMETER)
