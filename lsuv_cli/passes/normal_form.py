"""A graph brought to the form that the rest of this room expects.

Layers then read their weights directly, whatever an exporter put in between: local functions are
inlined, Constant nodes become parameters, nodes that only rearrange a parameter become views, and
types become those that are computed with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto, helper, numpy_helper

from lsuv_cli.core.layout import FloatArray, TensorInfo
from lsuv_cli.graph.keras_origin import is_from_tf2onnx
from lsuv_cli.graph.nodes import DEFAULT_DOMAINS, FLOAT_TYPES, NewNames, attributes, names_in
from lsuv_cli.graph.parameters import ParameterSources
from lsuv_cli.graph.topology import execution_order
from lsuv_cli.graph.torch_origin import is_from_torch
from lsuv_cli.graph.views import Transposed, View, find_views, integer_constants
from lsuv_cli.passes.einsum import einsum_as_products
from lsuv_cli.passes.late_biases import move_late_biases
from lsuv_cli.passes.packed import unpack_projections
from lsuv_cli.passes.precision import Types, change_types, computing_types
from lsuv_cli.passes.recurrent import RecurrentCell, RecurrentMatrix, project_inputs
from lsuv_cli.passes.sharing import without_sharing
from lsuv_cli.passes.torch_sharing import repeated_calls, transposed_embeddings
from lsuv_cli.passes.unfuse import unfuse

# Gemm's third input may be left out from this opset on.
OPTIONAL_GEMM_ADDEND_OPSET = 11


@dataclass(frozen=True, slots=True)
class NormalForm:
    """A graph in normal form.

    Attributes:
        skeleton: the model without floating-point parameters, its nodes in execution order.
        constants: the values of Constant nodes that have become parameters.
        copies: for each parameter that is only a copy of another in the file, the other's name.
        views: for each value that only shows a parameter, which and how.
        types: what each of the file's floating-point types is computed in.
        replaced: parameters that are views now.
        recurrent: the matrices of recurrent operators, in execution order.
        cells: recurrent operators as they were.
    """

    skeleton: onnx.ModelProto
    constants: Mapping[str, FloatArray]
    copies: Mapping[str, str]
    views: Mapping[str, View]
    types: Types
    replaced: frozenset[str]
    recurrent: tuple[RecurrentMatrix, ...]
    cells: tuple[RecurrentCell, ...]


def normal_form(
    skeleton: onnx.ModelProto, parameters: ParameterSources, path: Path, opset: int
) -> NormalForm:
    """Bring a graph to normal form.

    Args:
        skeleton: the model without its floating-point initializers and without local functions;
            modified.
        parameters: where their values can be read.
        path: the model's file, for the texts of errors.
        opset: the version of the default operator set.

    Raises:
        ModelError: the graph is broken.
    """
    names = NewNames(names_in(skeleton.graph) | parameters.keys())
    shapes = {name: weight.info.shape for name, weight in parameters.items()}
    taken_apart = unfuse(skeleton, shapes, names)
    del skeleton.graph.node[:]
    skeleton.graph.node.extend(taken_apart)
    nodes = execution_order(skeleton.graph, path, parameters)
    outputs = {value.name for value in skeleton.graph.output}
    integers = integer_constants(nodes, skeleton.graph.initializer)
    kept, constants, copies = _set_aside(skeleton, nodes, parameters, outputs)
    infos = {name: weight.info for name, weight in parameters.items()}
    infos |= {name: TensorInfo(value.shape, value.dtype) for name, value in constants.items()}
    infos |= {name: parameters[source].info for name, source in copies.items()}
    kept, views = find_views(kept, infos, integers, outputs)
    tied = transposed_embeddings(kept, parameters)
    views |= {name: View(source, (Transposed((1, 0)),)) for name, source in tied.items()}
    repeated = repeated_calls(kept, parameters, copies) if is_from_torch(skeleton) else {}
    views |= {name: View(source) for name, source in repeated.items()}
    kept, made = einsum_as_products(kept, infos, views, names, opset)
    views |= made
    kept, made = unpack_projections(kept, infos, views)
    views |= made
    if is_from_tf2onnx(skeleton):
        kept, made = move_late_biases(kept, infos, views, outputs)
        views |= made
    recurrences = project_inputs(kept, infos, views, integers, names, opset)
    views |= recurrences.views
    del skeleton.graph.node[:]
    for node in recurrences.nodes:
        skeleton.graph.node.extend(_separated(node, infos, views, opset))
    for node in skeleton.graph.node:
        _leave_training_mode(node)
    types = computing_types(skeleton.graph.node)
    change_types(skeleton.graph, types)
    return NormalForm(
        skeleton,
        constants,
        copies,
        views,
        types,
        frozenset((*tied, *repeated)),
        tuple(recurrences.matrices),
        tuple(recurrences.cells),
    )


def _set_aside(
    skeleton: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    parameters: ParameterSources,
    outputs: set[str],
) -> tuple[list[onnx.NodeProto], dict[str, FloatArray], dict[str, str]]:
    """The nodes without those that make a parameter; Constants' values; what is a copy of what."""
    constants: dict[str, FloatArray] = {}
    others = []
    for node in nodes:
        value = _constant(node)
        if value is not None and not outputs.intersection(node.output):
            constants[node.output[0]] = value
        else:
            others.append(node)
    kept, copies = without_sharing(skeleton, others, parameters)
    return kept, constants, copies


def _separated(
    node: onnx.NodeProto,
    infos: Mapping[str, TensorInfo],
    views: Mapping[str, View],
    opset: int,
) -> list[onnx.NodeProto]:
    """A Gemm that adds data as a Gemm and an Add, because what it adds is no bias."""
    if (
        node.op_type != "Gemm"
        or opset < OPTIONAL_GEMM_ADDEND_OPSET
        or len(node.input) < 3
        or node.input[2] in ("", *infos, *views)
    ):
        return [node]
    product, addend, output = f"{node.output[0]}/product", node.input[2], node.output[0]
    gemm = onnx.NodeProto()
    gemm.CopyFrom(node)
    del gemm.input[2:]
    gemm.output[0] = product
    nodes = [gemm]
    beta = attributes(node).get("beta", 1.0)
    if beta != 1.0:
        parameter = next((n for n in node.input[:2] if n in infos or n in views), "")
        source = views[parameter].parameter if parameter in views else parameter
        kind = TensorProto.FLOAT
        if source:
            kind = helper.np_dtype_to_tensor_dtype(infos[source].dtype)
        factor = helper.make_tensor(f"{output}/beta", kind, [], [beta])
        nodes += [
            helper.make_node("Constant", [], [f"{output}/beta"], value=factor),
            helper.make_node("Mul", [addend, f"{output}/beta"], [f"{output}/addend"]),
        ]
        addend = f"{output}/addend"
    return [*nodes, helper.make_node("Add", [product, addend], [output])]


def _leave_training_mode(node: onnx.NodeProto) -> None:
    """Have a BatchNormalization use its running statistics, and no longer compute new ones."""
    if node.op_type == "BatchNormalization" and node.domain in DEFAULT_DOMAINS:
        for attribute in node.attribute:
            if attribute.name == "training_mode":
                attribute.i = 0
        del node.output[1:]


def _constant(node: onnx.NodeProto) -> FloatArray | None:
    """The value of a Constant node, if it could be a parameter: floating-point, with axes."""
    if node.op_type != "Constant" or node.domain not in DEFAULT_DOMAINS:
        return None
    for attribute in node.attribute:
        tensor = attribute.t
        if attribute.name == "value" and tensor.data_type in FLOAT_TYPES and tensor.dims:
            array: FloatArray = numpy_helper.to_array(tensor)
            return array
    return None
