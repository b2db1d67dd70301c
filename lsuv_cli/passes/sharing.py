"""Parameters that an exporter stored once because they are equal, as parameters of their own.

An exporter that does so is a line of `SHARING`, with a function that tells by a graph's names which
of the nodes that read one stored parameter belong to different layers of the original model.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import onnx

from lsuv_cli.graph.keras_origin import is_from_tf2onnx
from lsuv_cli.graph.parameters import ParameterSources
from lsuv_cli.graph.torch_origin import is_from_torch, is_uniform
from lsuv_cli.passes.keras_sharing import separate_layers
from lsuv_cli.passes.torch_sharing import separate_modules


@dataclass(frozen=True, slots=True)
class Sharing:
    """An exporter's way of storing equal parameters once.

    Attributes:
        wrote: returns whether the exporter wrote a model.
        separate: renames what nodes read, so that each layer has a parameter of its own; returns
            for each new name the stored parameter it is a copy of.
        copies_by_identity: an Identity of a parameter always stands for another parameter that has
            equal values. Otherwise it does so only where all elements are equal, as in a new bias;
            equal random values mean that a weight is tied.
    """

    wrote: Callable[[onnx.ModelProto], bool]
    separate: Callable[[Sequence[onnx.NodeProto], Collection[str]], dict[str, str]]
    copies_by_identity: bool = False


SHARING = (
    # What is tied in PyTorch has one name there and needs no Identity.
    Sharing(is_from_torch, separate_modules, copies_by_identity=True),
    Sharing(is_from_tf2onnx, separate_layers),
)


def without_sharing(
    model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto], parameters: ParameterSources
) -> tuple[list[onnx.NodeProto], dict[str, str]]:
    """Give layers that share a stored parameter, without being tied, one each.

    Args:
        model: tells the exporter.
        nodes: modified: they read the new names.
        parameters: the stored parameters.

    Returns:
        The nodes without those that only copy a parameter, and for each new parameter the stored
        one it is a copy of.
    """
    sharing = next((one for one in SHARING if one.wrote(model)), None)
    copies_by_identity = sharing is not None and sharing.copies_by_identity
    copies: dict[str, str] = {}
    kept = []
    for node in nodes:
        source = node.input[0] if node.op_type == "Identity" else ""
        source = copies.get(source, source)
        if source in parameters and (copies_by_identity or is_uniform(parameters[source].read())):
            copies[node.output[0]] = source
        else:
            kept.append(node)
    if sharing is not None:
        copies |= sharing.separate(kept, parameters)
    return kept, copies
