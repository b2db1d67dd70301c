"""A model file in normal form, with its parameters apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import helper

from lsuv_cli.core.errors import ModelError
from lsuv_cli.core.layout import TensorInfo
from lsuv_cli.core.records import InputSpec
from lsuv_cli.graph.computed_weight import ComputedWeight
from lsuv_cli.graph.model_source import ModelSource
from lsuv_cli.graph.parameters import Parameters
from lsuv_cli.graph.recurrence import RecurrentCell, RecurrentMatrix
from lsuv_cli.graph.torch_signature import ExportedSignature
from lsuv_cli.graph.uses import Uses
from lsuv_cli.graph.views import View, with_whole
from lsuv_cli.passes.computing_types import computing_dtype
from lsuv_cli.passes.normal_form import normal_form
from lsuv_cli.reading.batch_axes import batch_axes


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """A model file in normal form.

    Attributes:
        path: the file.
        sha256: the file's SHA-256, in hexadecimal.
        skeleton: the model in normal form without its floating-point initializers; never modified.
        uses: its nodes in execution order, and which of them makes and reads each value.
        parameters: shape and dtype of each floating-point parameter, as it is stored.
        weight_values: shape and dtype, as the graph computes with it, of each graph value that is a
            parameter or a view of one.
        constants: the names of those that are Constant nodes in the file.
        copies: for each parameter that is only a copy of another in the file, the other's name.
        views: the view of a parameter that each value is which is no parameter itself.
        inputs: the inputs that must be fed.
        opset: the version of the default operator set.
        external_files: the files beside it that hold its external data.
        recurrent_matrices: the matrices of recurrent operators, in execution order.
        recurrent_cells: recurrent operators as they were in the file.
        signature: the tensors of the PyTorch module that it was exported from; None where the file
            does not tell.
        module_tensors: for those of them that the graph holds, the parameter or integer initializer
            that does, and the steps from that to the tensor.
        activations: the values that depend on the samples, or on a layer that parameters feed.
        computed_weights: the weights that are computed from parameters, by their values.
        computed_biases: the parameters of biases that are computed from them, by the value that the
            layer's node makes; where they are zero, so is the bias.
        keeps_ties: see `ModelSource`.
        fixed: the parameters that training does not change, as far as the file tells, and why not,
            as "is a buffer".
    """

    path: Path
    sha256: str
    skeleton: onnx.ModelProto
    uses: Uses
    parameters: Mapping[str, TensorInfo]
    weight_values: Mapping[str, TensorInfo]
    constants: frozenset[str]
    copies: Mapping[str, str]
    views: Mapping[str, View]
    inputs: tuple[InputSpec, ...]
    opset: int
    external_files: tuple[Path, ...]
    recurrent_matrices: tuple[RecurrentMatrix, ...]
    recurrent_cells: tuple[RecurrentCell, ...]
    signature: ExportedSignature | None
    module_tensors: Mapping[str, View]
    activations: frozenset[str]
    computed_weights: Mapping[str, ComputedWeight]
    computed_biases: Mapping[str, tuple[str, ...]]
    fixed: Mapping[str, str]
    keeps_ties: bool

    @property
    def nodes(self) -> list[onnx.NodeProto]:
        """The graph's nodes, in execution order."""
        return self.uses.nodes

    def view(self, name: str) -> View:
        """Return the view of a parameter that a weight value is."""
        return self.views.get(name) or View(name)

    def written(self, used: Iterable[str]) -> dict[str, TensorInfo]:
        """Return the parameters that belong in a file of weights.

        Args:
            used: the weight values that layers use; a Constant node of the file counts as a
                parameter only if one of them shows it, and it is not fixed.
        """
        sources = {self.view(name).parameter for name in used} - self.fixed.keys()
        return {
            name: info
            for name, info in self.parameters.items()
            if name not in self.constants or name in sources
        }


def model_of(source: ModelSource) -> tuple[OnnxModel, Parameters]:
    """Bring a model to normal form.

    Args:
        source: the file as it was read.

    Raises:
        ModelError: the graph is broken.
    """
    graph = normal_form(source)
    infos = {name: parameter.info for name, parameter in graph.parameters.items()}
    dtypes = {name: computing_dtype(info.dtype, graph.types) for name, info in infos.items()}
    skeleton = graph.model
    model = OnnxModel(
        path=source.path,
        sha256=source.sha256,
        skeleton=skeleton,
        uses=Uses(skeleton.graph.node),
        parameters=infos,
        weight_values={
            name: TensorInfo(view.shape(infos[view.parameter].shape), dtypes[view.parameter])
            for name, view in with_whole(infos, graph.views).items()
        },
        constants=frozenset(graph.constants),
        copies=graph.copies,
        views=graph.views,
        inputs=_inputs(skeleton.graph, infos),
        opset=source.opset,
        external_files=source.external_files,
        recurrent_matrices=tuple(graph.recurrent_matrices),
        recurrent_cells=tuple(graph.recurrent_cells),
        signature=source.signature,
        module_tensors=graph.module_tensors,
        activations=graph.activations,
        computed_weights=graph.computed_weights,
        computed_biases=graph.computed_biases,
        fixed={name: why for name, why in graph.fixed.items() if name in infos},
        keeps_ties=source.keeps_ties,
    )
    return model, Parameters(graph.parameters, graph.views, dtypes)


def _inputs(graph: onnx.GraphProto, parameters: Iterable[str]) -> tuple[InputSpec, ...]:
    """Return the inputs that must be fed: those without a default value.

    Raises:
        ModelError: one is no tensor.
    """
    held = {tensor.name for tensor in graph.initializer} | set(parameters)
    values = {value.name: value for value in graph.input if value.name not in held}
    for name, value in values.items():
        if not value.type.HasField("tensor_type") or not value.type.tensor_type.elem_type:
            raise ModelError(f"the model's input {name} is not a tensor; it can't be fed")
    axes = batch_axes({name: _dimensions(value) for name, value in values.items()})
    specs = []
    for name, value in values.items():
        dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        sizes = _dimensions(value)
        shape = (
            None
            if sizes is None
            else tuple(size if isinstance(size, int) else None for size in sizes)
        )
        specs.append(InputSpec(name, dtype.name, shape, axes[name]))
    return tuple(specs)


def _dimensions(value: onnx.ValueInfoProto) -> list[int | str | None] | None:
    """Return an input's sizes; some exporters write 0 or -1 for one that is open."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return [
        size.dim_value if size.dim_value > 0 else size.dim_param or None
        for size in tensor.shape.dim
    ]
