"""Nodes inside the bodies of If, Loop and Scan that multiply by a weight, and are no layers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import onnx

from lsuv_cli.graph.nodes import DEFAULT_DOMAINS, bodies, node_name, values_read
from lsuv_cli.graph.torch_origin import located
from lsuv_cli.layers.parameter_uses import ParameterUses
from lsuv_cli.layers.products import find_products
from lsuv_cli.passes.control_flow import (
    SCAN_WITHOUT_BATCH_OPSET,
    body_inputs,
    constants_inside,
    is_constant,
)
from lsuv_cli.reading.model import OnnxModel

# For values inside a body the values outside that they are computed from.
Origins = Mapping[str, frozenset[str]]


def left_alone_inside(model: OnnxModel, layer_like: Collection[str]) -> Iterator[str]:
    """Yield the nodes inside bodies that multiply by a weight, with the reason.

    Args:
        model: the model; what is left of its control flow could not be unrolled.
        layer_like: the operators that may multiply by a weight.
    """
    constants = set(model.weight_values)
    for node in model.nodes:
        if is_constant(node, constants):
            constants.update(node.output)
    weights = _WeightsOfLayers(model)
    for node in model.nodes:
        for inner, around, origins in _products(node, constants, {}, layer_like):
            reason = f"it is inside {around.op_type}, {_why(around, model)}"
            reason += weights.shared(origins)
            yield f"{located(inner, model.skeleton)}: {reason}"


def _why(node: onnx.NodeProto, model: OnnxModel) -> str:
    """Return why a node with bodies was not unrolled."""
    if node.op_type == "If" or node.domain not in DEFAULT_DOMAINS:
        return "which is not unrolled here"
    if node.op_type == "Scan" and model.opset < SCAN_WITHOUT_BATCH_OPSET:
        return f"which is not unrolled in opset {model.opset}"
    return "which is not unrolled here, as it runs too often or not at all"


def _products(
    node: onnx.NodeProto, constants: Collection[str], outer: Origins, layer_like: Collection[str]
) -> Iterator[tuple[onnx.NodeProto, onnx.NodeProto, frozenset[str]]]:
    """Yield the products by constants in a node's bodies, what they are in, and their origins."""
    for body in bodies(node):
        inside = constants_inside(node, body, constants)
        origins = dict(outer)
        for name, given in body_inputs(node, body).items():
            origins[name] = _origins(outer, [given])
        for inner in body.node:
            if is_constant(inner, inside):
                found = _origins(origins, values_read(inner))
                origins.update(dict.fromkeys(inner.output, found))
            factors = [name for name in inner.input[:3] if name in inside]
            if inner.op_type in layer_like and factors:
                yield inner, node, _origins(origins, factors)
            yield from _products(inner, inside, origins, layer_like)


def _origins(known: Origins, values: Collection[str]) -> frozenset[str]:
    return frozenset().union(*(known.get(name, frozenset((name,))) for name in values))


class _WeightsOfLayers:
    """Tells which layers of the main graph use the weight that a body reads."""

    def __init__(self, model: OnnxModel) -> None:
        self._model = model
        self._uses = ParameterUses(model)
        self._layers: dict[str, str] = {}
        for one in find_products(model):
            parts = one.computed.parameters if one.computed is not None else ()
            for value in (one.product.weight, *parts):
                self._layers.setdefault(value, node_name(one.node))

    def shared(self, values: Collection[str]) -> str:
        """Return the weights among some values that layers use, as the end of a sentence."""
        found = {}
        for value in self._read(values):
            for other in self._uses.overlapping(value):
                if other in self._layers:
                    found[self._model.view(value).parameter] = self._layers[other]
        texts = [f"{weight}, the weight of {layer} as well" for weight, layer in found.items()]
        return f"; but it reads {' and '.join(texts)}, and changes with it" if texts else ""

    def _read(self, values: Collection[str]) -> Sequence[str]:
        """Return the weight values that some values are or are computed from."""
        read = set(values)
        for node in self._model.uses.needed(values):
            read |= values_read(node)
        return sorted(read & self._model.weight_values.keys())
