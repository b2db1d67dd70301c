"""Nodes that multiply by something that is not computed from the samples, and are no layers."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from lsuv_cli.graph.nodes import DEFAULT_DOMAINS
from lsuv_cli.graph.operators.table import names_of, operator_of
from lsuv_cli.graph.torch_origin import located
from lsuv_cli.graph.written_tensors import Naming
from lsuv_cli.layers.data_values import values_from_inputs
from lsuv_cli.layers.inside_bodies import left_alone_inside
from lsuv_cli.layers.products import find_products
from lsuv_cli.reading.model import OnnxModel

UNSUPPORTED = {"Einsum": "its equation is no product by a matrix"}

MATRIX_AXES = 2
# ONNX Runtime's domain of convolutions in the layout of the processor that it optimised them for.
BLOCKED_DOMAIN = "com.microsoft.nchwc"
BLOCKED = (
    f"ONNX Runtime has laid out its weight for a processor ({BLOCKED_DOMAIN}); give the model that "
    "it optimised, or optimise with ORT_ENABLE_EXTENDED instead of ORT_ENABLE_ALL"
)
# Nodes of one reason that are named one by one.
SHOWN_NODES = 3

# Operators that choose rows of their first input by an index.
CHOOSING = frozenset(("Gather", "GatherElements", "GatherND"))


def layers_left_alone(model: OnnxModel) -> list[str]:
    """Return the nodes that multiply by a weight but are not initialised, with the reason.

    Products of two activations, as in attention, are not among them.

    Returns:
        `name (operator): reason` for each, `name (operator in module): reason` where PyTorch wrote
        the file.
    """
    rows = {one.node.output[0] for one in find_products(model)}
    rows.update(matrix.node for matrix in model.recurrent_matrices)
    search = _Search(model)
    found = [
        f"{located(node, model.skeleton)}: {reason}"
        for node in model.nodes
        if rows.isdisjoint(node.output) and (reason := search.reason(node))
    ]
    return found + list(left_alone_inside(model, search.layer_like))


def in_words(left_alone: Sequence[str]) -> str:
    """Return what is left alone as one sentence, which gives a reason that many share once.

    Args:
        left_alone: as `layers_left_alone` returns it.
    """
    by_reason: dict[str, list[str]] = {}
    for text in left_alone:
        name, _, reason = text.partition("): ")
        by_reason.setdefault(reason, []).append(f"{name})")
    parts = []
    for reason, names in by_reason.items():
        several = [f"{', '.join(names[:SHOWN_NODES])} and {len(names) - SHOWN_NODES} more"]
        parts += [f"{one}: {reason}" for one in (several if len(names) > SHOWN_NODES else names)]
    return "; ".join(parts)


def never_read(naming: Naming) -> list[str]:
    """Return the weights of a module that its network never reads, with that as the reason.

    Its layers do not run, such as an auxiliary classifier in eval mode; embeddings are among them.

    Args:
        naming: the tensors that are written, of which the graph does not hold some.

    Returns:
        `name (weight): reason` for each.
    """
    return [
        f"{name} (weight): the network never reads it"
        for name, tensor in naming.items()
        if not tensor.parameter
        and len(tensor.info.shape) >= MATRIX_AXES
        and name.rpartition(".")[2].startswith("weight")
    ]


class _Search:
    """Tells why a node that multiplies by a weight is no layer."""

    def __init__(self, model: OnnxModel) -> None:
        self._model = model
        self._from_samples = values_from_inputs(model)
        self.layer_like = names_of(lambda operator: operator.looks_like_a_layer)

    def reason(self, node: onnx.NodeProto) -> str:
        """Return why a node is left alone; "" for one that multiplies by no weight."""
        factors = self._factors(node)
        if self._from_samples.isdisjoint(factors):
            return ""
        others = [name for name in factors if name not in self._from_samples]
        if not others:
            return self._of_samples_alone(node, factors)
        if any(name in self._model.activations for name in others):
            return "it multiplies by the output of a layer that parameters feed"
        if node.domain == BLOCKED_DOMAIN:
            return BLOCKED
        if operator_of(node).product is None:
            return UNSUPPORTED.get(node.op_type, "this operator is not initialised")
        return self._of_weight(others[0])

    def _factors(self, node: onnx.NodeProto) -> list[str]:
        """Return the values that a node multiplies with each other."""
        if node.op_type not in self.layer_like:
            return []
        if node.op_type == "Attention" and node.domain in DEFAULT_DOMAINS:
            return []  # it multiplies queries by keys
        inputs = node.input if node.op_type == "Einsum" else node.input[:2]
        return [name for name in inputs if name]

    def _of_samples_alone(self, node: onnx.NodeProto, factors: Sequence[str]) -> str:
        if "Conv" in node.op_type:
            return "its weight is computed from the samples"
        if any(map(self._is_chosen, factors)):
            return "its weight is chosen by the samples"
        return ""

    def _is_chosen(self, value: str) -> bool:
        """Return whether a value is a matrix that the samples choose among those of a parameter."""
        node = self._model.uses.producer(value)
        while node is not None and operator_of(node).rearranges:
            node = self._model.uses.producer(node.input[0])
        if node is None or node.op_type not in CHOOSING:
            return False
        info = self._model.weight_values.get(node.input[0])
        return info is not None and len(info.shape) > 2

    def _of_weight(self, value: str) -> str:
        model = self._model
        info, computed = model.weight_values.get(value), model.computed_weights.get(value)
        shape = info.shape if info is not None else computed.shape if computed is not None else None
        if shape is None:
            read = {name for node in model.uses.needed([value]) for name in node.input}
            if read.isdisjoint(model.weight_values):
                return "it multiplies by a constant that no parameter enters"
            return "the shape of its weight is not known"
        if 0 in shape:
            return "its weight is empty"
        if len(shape) < 2:
            return "its weight is a vector"
        return f"its weight has {len(shape)} axes"
