"""Einsum with one constant operand, written as the matrix product that it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.new_nodes import NewNodes
from lsuv_cli.graph.nodes import node_name
from lsuv_cli.graph.views import Reshaped, Transposed, View, ViewStep
from lsuv_cli.passes.einsum_product import ELLIPSIS, EinsumProduct, einsum_product, only
from lsuv_cli.passes.pipeline import Pass


def write_products(graph: EditableGraph) -> None:
    """Replace each Einsum of data and a parameter that is a matrix product by a MatMul.

    `bti,io->bto` is a Linear, `bchw,oc->bohw` a convolution with a kernel of one; `btd,dhk->bthk`
    and `bthk,hkd->btd` are attention's projections to and from its heads; `btgi,gio->btgo` has one
    matrix for each group, and `td,edf->tef` one for each expert. Left as they are: a parameter that
    is summed by itself or only scales the data, data of which no axis is kept, and a matrix that
    would be a copy of the parameter.
    """
    for node in graph.nodes:
        product = einsum_product(node, graph)
        matrix = None if product is None else _matrix(product, graph)
        if product is not None and matrix is not None:
            view, sizes = matrix
            new = graph.new_nodes(node.output[0])
            weight = new.name("weight")
            graph.add_view(weight, view)
            _write(new, node, product, weight, sizes)
            graph.replace(node, new.nodes)


def _matrix(product: EinsumProduct, graph: EditableGraph) -> tuple[View, dict[str, int]] | None:
    """Return the weight as (batch..., inputs, outputs), and each label's size.

    None where that is no view.
    """
    view = graph.view(product.weight_name) or View(product.weight_name)
    whole = graph.info(view).shape
    shape = view.shape(whole)
    if len(shape) != len(product.weight):
        return None
    sizes = dict(zip(product.weight, shape, strict=True))
    batch = [sizes[label] for label in product.batch]
    # One for each kept axis; but the last stands beside the matrix's inputs, if not before others.
    batch += [1] * (len(product.kept) - (not product.stacked)) if batch else []
    target = (
        *batch,
        *(sizes[label] for label in product.stacked),
        math.prod(sizes[label] for label in product.contracted),
        math.prod(sizes[label] for label in product.outputs),
    )
    order = product.batch + product.stacked + product.contracted + product.outputs
    steps: tuple[ViewStep, ...] = (
        Transposed(_permutation(product.weight, order)),
        Reshaped(target),
    )
    matrix = View(view.parameter, (*view.steps, *steps))
    elements = np.empty(whole, np.int8)  # takes no memory
    # Merging axes that do not lie side by side takes a copy, which is no view.
    if not np.may_share_memory(matrix.of(elements), elements):
        return None
    return matrix, sizes


def _permutation(labels: str, wanted: str) -> tuple[int, ...]:
    return tuple(labels.index(label) for label in wanted)


def _write(
    new: NewNodes,
    node: onnx.NodeProto,
    product: EinsumProduct,
    weight: str,
    sizes: Mapping[str, int],
) -> None:
    """Append the MatMul, and what brings the data to its order and its result to the output's."""
    rows, value, data = product.batch + product.kept, product.data_name, product.data
    if product.summed:
        value = new.reduce_sum(value, _axes(data, product.summed), "sum")
        data = only(data, product.summed)
    if data != rows + product.contracted:
        order = _permutation(data, rows + product.contracted)
        value = new.node("Transpose", [value], "transposed", perm=order)
    if len(product.contracted) > 1:
        value = _reshape(new, value, rows, [math.prod(sizes[one] for one in product.contracted)])
    # One axis for each that the data does not have, and one for a row by itself.
    for _ in f"{product.stacked}." if product.stacked else "":
        value = new.unsqueeze(value, -2)
    value = new.node("MatMul", [value, weight], "product", name=node_name(node))
    rows += product.stacked
    if product.stacked:
        value = new.squeeze(value, -2, "squeezed")
    if len(product.outputs) > 1:
        value = _reshape(new, value, rows, [sizes[label] for label in product.outputs])
    if rows + product.outputs != product.out:
        order = _permutation(rows + product.outputs, product.out)
        new.node("Transpose", [value], "ordered", perm=order)
    new.nodes[-1].output[0] = node.output[0]


def _reshape(new: NewNodes, value: str, rows: str, sizes: Sequence[int]) -> str:
    """Append a Reshape of the axes behind the rows, which keep their sizes."""
    shape = new.integers([*[0] * len(rows), *sizes], "integers")
    return new.node("Reshape", [value, shape], "reshaped")


def _axes(labels: str, wanted: str) -> list[int]:
    """Return where some of the labels stand, counted from the end behind an ellipsis."""
    before = labels.partition(ELLIPSIS)[0]
    return [
        labels.index(label) if label in before else labels.index(label) - len(labels)
        for label in wanted
    ]


PASS = Pass(
    "einsum",
    write_products,
    # A view of a parameter that is tied with another one later would have lost it.
    requires=("rearrangements", "transposed_embeddings", "repeated_calls", "einsum_pairs"),
)
