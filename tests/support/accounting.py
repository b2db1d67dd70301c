"""Products of data with something that is not data, found in a model file without `lsuv`.

A walk of its own through the graph, so that the table of layers is held against something else than
the code that made it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from onnx import helper, inliner, shape_inference

from lsuv_cli.reading.torch_module import ModuleFile
from support.roads import (
    FACTORY_SUFFIX,
    UNFOLDED,
    Inputs,
    converted,
    export_script,
    load_script,
    made_by,
    script_input_names,
    silenced,
)

# The inputs that are multiplied with each other; the others are biases, scales and sizes.
FACTORS: dict[str, tuple[int, ...]] = {
    "MatMul": (0, 1),
    "Gemm": (0, 1),
    "Conv": (0, 1),
    "ConvTranspose": (0, 1),
    "DeformConv": (0, 1),
    "MatMulInteger": (0, 1),
    "ConvInteger": (0, 1),
    "QLinearMatMul": (0, 3),
    "QLinearConv": (0, 3),
    "RNN": (0, 1),
    "GRU": (0, 1),
    "LSTM": (0, 1),
    "FusedMatMul": (0, 1),
    "FusedGemm": (0, 1),
    "FusedConv": (0, 1),
    "Attention": (0, 1),  # of com.microsoft; the standard one has queries, keys and values
}
# Their outputs depend on the sizes of their inputs, not on the values.
SIZES = frozenset(("Shape", "Size", "EyeLike", "RandomNormalLike", "RandomUniformLike"))
_MATRIX = re.compile(r"(\.(\d+|query|key|value|[WR]_\w))+$")
REPEATS = frozenset(("Expand", "Tile"))
PICKS = frozenset(("Gather", "GatherND", "GatherElements"))
# What is picked from a table of matrices stays a matrix picked from a table behind these.
VIEWS = frozenset(("Identity", "Cast", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Slice"))


@dataclass(frozen=True)
class Product:
    """A node that multiplies data by something that is not data.

    Attributes:
        name: the node's name, or its first output's.
        op: its operator.
        operand: the factor that is not data.
    """

    name: str
    op: str
    operand: str


@dataclass
class _Values:
    """Values of a scope, by what they depend on.

    Attributes:
        data: those that depend on the values of the model's inputs.
        picked: those of them that are matrices which the data pick from a table.
        ranks: ranks of the values whose rank can be told.
        sizes: values computed from the sizes of the data, not from their values.
    """

    data: set[str]
    picked: set[str] = field(default_factory=set)
    ranks: dict[str, int] = field(default_factory=dict)
    sizes: set[str] = field(default_factory=set)


def products(model: Path, inputs: Inputs) -> list[Product]:
    """Return a model's products of data with something that is not data, bodies included.

    Args:
        model: an ONNX file, or one of PyTorch's, which is converted as `lsuv` documents.
        inputs: samples, to convert TorchScript on.
    """
    if model.suffix == ".onnx":
        proto = onnx.load(model, load_external_data=False)
    elif model.suffix == FACTORY_SUFFIX:
        # By which exporter is decided in there; the walk through its graph is not.
        file = ModuleFile(made_by(model))
        file.bind(inputs)
        proto = file.source({}).skeleton
    elif model.suffix == ".pt2":
        proto = converted(model)
    else:
        with silenced():
            script = load_script(model)
            names = script_input_names(script)
            path = export_script(script, inputs, model.with_suffix(".walk"), names, **UNFOLDED)
        proto = onnx.load(path)
    if proto.functions:
        proto = inliner.inline_local_functions(proto)
    proto = shape_inference.infer_shapes(proto)
    graph = proto.graph
    initializers = {tensor.name for tensor in graph.initializer}
    values = _Values({value.name for value in graph.input} - initializers)
    return list(dict.fromkeys(_walk(graph, values)))


def unaccounted(found: list[Product], report: Mapping[str, Any]) -> list[Product]:
    """Return the products that are neither a row of a report nor left alone with a reason."""
    names = [layer["node"] for layer in report["layers"]]
    # A product with several matrices, as of experts or attention's projections, is a row for each.
    rows = {_MATRIX.sub("", name) for name in names} | set(names)
    return [one for one in found if one.name not in rows and not _left_alone(one, report)]


def _left_alone(product: Product, report: Mapping[str, Any]) -> bool:
    """Return whether a report says why it leaves a product alone: `name (operator): why`."""
    start = f"{product.name} ({product.op}"
    return any(text.startswith(start) for text in report["left_alone"])


def _walk(graph: onnx.GraphProto, values: _Values) -> Iterator[Product]:
    values.ranks |= {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    values.ranks |= {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in graph.value_info
        if value.type.tensor_type.HasField("shape")
    }
    for node in graph.node:
        bodies = {
            attribute.name: attribute.g
            for attribute in node.attribute
            if attribute.type == onnx.AttributeProto.GRAPH
        }
        if bodies:
            yield from _walk_bodies(node, bodies, values)
        else:
            yield from _visit(node, values)


def _visit(node: onnx.NodeProto, values: _Values) -> Iterator[Product]:
    if node.op_type in REPEATS and values.sizes.intersection(node.input[1:]):
        values.data.update(node.output)  # as many as there are samples
        return
    if node.op_type in SIZES or not values.data.intersection(node.input):
        if values.sizes.union(values.data).intersection(node.input):
            values.sizes.update(node.output)
        return
    values.data.update(filter(None, node.output))
    first = node.input[0]
    if node.op_type in VIEWS and first in values.picked:
        values.picked.update(node.output)
    if node.op_type in PICKS and first not in values.data and values.ranks.get(first, 0) > 2:
        values.picked.update(node.output)
    factors = [node.input[i] for i in _factors(node) if i < len(node.input)]
    others = [name for name in factors if name not in values.data or name in values.picked]
    if others and len(others) < len(factors):
        yield Product(node.name or node.output[0], node.op_type, others[0])


def _factors(node: onnx.NodeProto) -> tuple[int, ...]:
    if node.op_type == "Einsum":
        return tuple(range(len(node.input)))
    if node.op_type == "Attention" and node.domain != "com.microsoft":
        return ()
    return FACTORS.get(node.op_type, ())


def _walk_bodies(
    node: onnx.NodeProto, bodies: Mapping[str, onnx.GraphProto], values: _Values
) -> Iterator[Product]:
    """Walk what a node runs, until no round of a loop makes more of its values depend on data."""
    carried = _carried(node, bodies)
    fed = {inner for inner, outer in carried if outer in values.data}
    while True:
        inner = _Values(
            values.data | fed, set(values.picked), dict(values.ranks), set(values.sizes)
        )
        found = [one for body in bodies.values() for one in _walk(body, inner)]
        more = {
            name
            for body in bodies.values()
            for name, output in _returned(node, body)
            if output in inner.data
        }
        if more <= fed:
            break
        fed |= more
    yield from found
    by_place = [
        any(output in inner.data for output in outputs)
        for outputs in zip(*(_outputs(node, body) for body in bodies.values()), strict=True)
    ]
    chosen = node.op_type == "If" and node.input[0] in values.data
    values.data |= {
        name for name, depends in zip(node.output, by_place, strict=True) if depends or chosen
    }


def _carried(node: onnx.NodeProto, bodies: Mapping[str, onnx.GraphProto]) -> list[tuple[str, str]]:
    """Return the inputs of a node's body with what they get at first."""
    if node.op_type == "If":
        return []
    (body,) = bodies.values()
    names = [value.name for value in body.input]
    # A loop's body also gets the number of the round and the condition.
    return (
        list(zip(names, node.input, strict=False))
        if node.op_type == "Scan"
        else list(zip(names, node.input, strict=False))[2:]
    )


def _returned(node: onnx.NodeProto, body: onnx.GraphProto) -> list[tuple[str, str]]:
    """Return the inputs of a loop's body with what the last round gives them."""
    outputs = [value.name for value in body.output]
    inputs = [value.name for value in body.input]
    if node.op_type == "Loop":
        return list(zip(inputs[2:], outputs[1:], strict=False))
    if node.op_type == "Scan":
        scanned = next(
            helper.get_attribute_value(a) for a in node.attribute if a.name == "num_scan_inputs"
        )
        return list(zip(inputs[: len(inputs) - scanned], outputs, strict=False))
    return []


def _outputs(node: onnx.NodeProto, body: onnx.GraphProto) -> list[str]:
    """Return the values of a body that become the node's outputs."""
    names = [value.name for value in body.output]
    return names[1:] if node.op_type == "Loop" else names
