"""Einsum of three operands or more, of which one is a parameter: a product with it, and the rest.

A mixture of experts may weigh what they make in the same Einsum: `teh,eho,te->to`. The parameter is
multiplied by what it has inputs in common with, `teh,eho->teo`, and the result by the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx
from onnx import helper

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.nodes import DEFAULT_DOMAINS, attributes, node_name
from lsuv_cli.passes.einsum_product import ELLIPSIS, EinsumProduct, einsum_terms
from lsuv_cli.passes.pipeline import Pass


def separate_products(graph: EditableGraph) -> None:
    """Replace each Einsum of a parameter and several other values by two.

    Left as it is where the outputs of the parameter's matrix are summed with another value, as in
    a bilinear form: what the parameter makes with one of them is not the layer's output then.
    """
    for node in graph.nodes:
        pair = _pair(node, graph)
        if pair is not None:
            graph.replace(node, _separated(node, pair, graph))


@dataclass(frozen=True, slots=True)
class _Pair:
    """The product with the parameter, and the operands that are left with their labels."""

    product: EinsumProduct
    rest: Sequence[tuple[str, str]]
    out: str


def _pair(node: onnx.NodeProto, graph: EditableGraph) -> _Pair | None:
    if node.op_type != "Einsum" or node.domain not in DEFAULT_DOMAINS or len(node.input) < 3:
        return None
    terms = einsum_terms(attributes(node)["equation"].decode())
    weights = [place for place, name in enumerate(node.input) if graph.is_weight(name)]
    if terms is None or len(weights) != 1 or ELLIPSIS in "".join(terms):
        return None
    *operands, out = terms
    weight = operands[weights[0]]
    others = [place for place in range(len(operands)) if place != weights[0]]

    def wanted_besides(place: int) -> str:
        """Return the labels of the output and of all values but one."""
        return out + "".join(operands[other] for other in others if other != place)

    def inputs(place: int) -> int:
        """Count the parameter's labels that are summed with one value alone."""
        wanted = wanted_besides(place)
        return sum(label in operands[place] and label not in wanted for label in weight)

    first = max(others, key=inputs)
    wanted = wanted_besides(first)
    labels = dict.fromkeys(operands[first] + weight)
    product = EinsumProduct(
        data_name=node.input[first],
        weight_name=node.input[weights[0]],
        data=operands[first],
        weight=weight,
        out="".join(label for label in labels if label in wanted),
    )
    is_layer = product.contracted and product.outputs and set(product.outputs) <= set(out)
    rest = [(node.input[place], operands[place]) for place in others if place != first]
    return _Pair(product, rest, out) if is_layer else None


def _separated(node: onnx.NodeProto, pair: _Pair, graph: EditableGraph) -> list[onnx.NodeProto]:
    product, new = pair.product, graph.new_nodes(node.output[0])
    made = new.node(
        "Einsum",
        [product.data_name, product.weight_name],
        "product",
        name=node_name(node),
        equation=f"{product.data},{product.weight}->{product.out}",
    )
    new.nodes[-1].metadata_props.extend(node.metadata_props)
    names, labels = zip((made, product.out), *pair.rest, strict=True)
    equation = f"{','.join(labels)}->{pair.out}"
    name = f"{node_name(node)}.rest"
    new.nodes.append(helper.make_node("Einsum", names, node.output, name=name, equation=equation))
    return new.nodes


PASS = Pass("einsum_pairs", separate_products, requires=("rearrangements",))
