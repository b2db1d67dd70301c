"""A model's main graph while passes rewrite it: the one surface that every pass works on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

from lsuv_cli.core.layout import TensorInfo
from lsuv_cli.graph.computed_weight import ComputedWeight
from lsuv_cli.graph.constants import integer_tensor, integers_of
from lsuv_cli.graph.new_nodes import NewNames, NewNodes
from lsuv_cli.graph.nodes import names_in, values_read
from lsuv_cli.graph.parameters import ParameterSource, ParameterSources
from lsuv_cli.graph.recurrence import RecurrentCell, RecurrentMatrix
from lsuv_cli.graph.topology import execution_order
from lsuv_cli.graph.torch_signature import ExportedSignature
from lsuv_cli.graph.uses import Uses
from lsuv_cli.graph.views import View


class EditableGraph(Uses):
    """The nodes of a model's main graph in execution order, with an index that follows changes.

    Nodes may only be changed through this class, or the index goes stale. `nodes` is a copy, so a
    pass may replace nodes while it iterates over it.

    Attributes:
        model: the model; its nodes are those of the file until `write_nodes` is called.
        path: the model's file, for messages.
        opset: the version of the default operator set.
        signature: the tensors of the PyTorch module that the file was exported from; None where the
            file does not tell.
        outputs: the graph's outputs, which must stay values of it.
        stored: the parameters that the file stores as initializers.
        parameters: all parameters: those stored, and those that passes have found.
        constants: the names of those that are Constant nodes in the file.
        copies: for each parameter that is only a copy of another in the file, the other's name.
        views: the values that are views of a parameter.
        module_tensors: for the tensors of the exported module that the graph holds, the parameter
            or integer initializer that does, and the steps from that to the tensor; empty without
            a signature.
        rearranged: the stored parameters that are others rearranged, and so tied with these.
        recurrent_matrices: the matrices of recurrent operators, in execution order.
        recurrent_cells: recurrent operators as they were in the file.
        activations: the values that depend on the samples, or on a layer; set by a pass.
        computed_weights: the weights that are computed from parameters, by their values.
        computed_biases: the parameters of biases that are computed, by what the layer's node makes.
        fixed: the parameters that training does not change, as far as the file tells, and why not,
            as "is a buffer".
        trained: the names of tensors of which the file tells that training changes them.
        ties_are_known: see `ModelSource`.
        keeps_ties: see `ModelSource`.
        types: the type in which each floating-point type of the file is computed; empty until a
            pass has decided.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        stored: ParameterSources,
        path: Path,
        opset: int,
        signature: ExportedSignature | None = None,
    ) -> None:
        """Index a model's main graph.

        Args:
            model: the model without its floating-point initializers and without local functions;
                modified.
            stored: where the values of those initializers can be read.
            path: the model's file, for messages.
            opset: the version of the default operator set.
            signature: see the attribute.

        Raises:
            ModelError: a value that a node reads is never made, is made twice, or depends on
                itself.
        """
        super().__init__(execution_order(model.graph, path, stored))
        self.model = model
        self.path = path
        self.opset = opset
        self.signature = signature
        self.outputs = frozenset(value.name for value in model.graph.output)
        self.stored = stored
        self.parameters: dict[str, ParameterSource] = dict(stored)
        self.constants: set[str] = set()
        self.copies: dict[str, str] = {}
        self.views: dict[str, View] = {}
        self.module_tensors: dict[str, View] = {}
        self.rearranged: dict[str, View] = {}
        self.recurrent_matrices: list[RecurrentMatrix] = []
        self.recurrent_cells: list[RecurrentCell] = []
        self.activations: frozenset[str] = frozenset()
        self.computed_weights: dict[str, ComputedWeight] = {}
        self.computed_biases: dict[str, tuple[str, ...]] = {}
        self.fixed: dict[str, str] = {}
        self.ties_are_known = False
        self.keeps_ties = False
        self.trained: frozenset[str] = frozenset()
        self.types: dict[int, int] = {}
        self._names = NewNames(names_in(model.graph) | stored.keys())
        self._initializers = {tensor.name: tensor for tensor in model.graph.initializer}

    def replace(self, node: onnx.NodeProto, new: Sequence[onnx.NodeProto]) -> None:
        """Put nodes in the place of one, which may be among them."""
        slot = self._slot_of[id(node)]
        _, place = self._position(node)
        self._forget(node)
        self._slots[slot][place : place + 1] = new
        for one in new:
            self._index(one, slot)

    def remove(self, node: onnx.NodeProto) -> None:
        """Remove a node; what it makes must have become a parameter or a view, or be unread."""
        self.replace(node, [])

    def set_input(self, node: onnx.NodeProto, position: int, value: str) -> None:
        """Have a node read another value."""
        with self._changed(node):
            node.input[position] = value

    def add_input(self, node: onnx.NodeProto, value: str) -> None:
        """Have a node read one more value."""
        with self._changed(node):
            node.input.append(value)

    def set_output(self, node: onnx.NodeProto, position: int, value: str) -> None:
        """Have a node give its value another name; its readers are not changed."""
        with self._changed(node):
            node.output[position] = value

    def drop_outputs(self, node: onnx.NodeProto, kept: int) -> None:
        """Have a node make its first outputs only."""
        with self._changed(node):
            del node.output[kept:]

    def remove_unread(self, values: Iterable[str], operators: Collection[str]) -> None:
        """Remove the nodes whose outputs nothing reads, from some values upwards.

        Args:
            values: values that may have lost their readers.
            operators: only nodes of these operators are removed.
        """
        pending = list(values)
        while pending:
            node = self.producer(pending.pop())
            if (
                node is None
                or node.op_type not in operators
                or any(map(self._is_used, node.output))
            ):
                continue
            self.remove(node)
            pending += values_read(node)

    def new_nodes(self, stem: str) -> NewNodes:
        """Return a list of nodes to write, the names of whose values begin with a stem."""
        return NewNodes(self._names, self.opset, stem)

    def new_name(self, wanted: str) -> str:
        """Return the wanted name for a new value, with a number appended if it is taken."""
        return self._names.new(wanted)

    def add_constant(self, name: str, source: ParameterSource) -> None:
        """Have the value of a Constant node be a parameter; the node must be removed."""
        self.parameters[name] = source
        self.constants.add(name)

    def add_parameter(self, name: str, source: ParameterSource) -> None:
        """Add a parameter that the exporter has left out of the file."""
        self.parameters[name] = source

    def add_copy(self, name: str, original: str) -> None:
        """Add a parameter that has its value from another one, and is not tied to it."""
        self.parameters[name] = self.parameters[original]
        self.copies[name] = original
        # The exporter may store a parameter and a buffer once, being equal: the names tell.
        if original in self.fixed and name not in self.trained:
            self.fixed.setdefault(name, self.fixed[original])

    def add_view(self, name: str, view: View) -> None:
        """Have a value be a view of a parameter; whatever made it must be removed."""
        self.views[name] = view

    def tie(self, name: str, view: View) -> None:
        """Have a parameter be a view of another one, with which it is tied."""
        del self.parameters[name]
        self.views[name] = view

    def view(self, value: str) -> View | None:
        """Return how a value follows from a parameter; None for one that does not."""
        if value in self.views:
            return self.views[value]
        return View(value) if value in self.parameters else None

    def is_weight(self, value: str) -> bool:
        """Say whether a value is a parameter or a view of one."""
        return value in self.parameters or value in self.views

    def info(self, view: View) -> TensorInfo:
        """Return the shape and dtype of the parameter that a view is of, as it is stored."""
        return self.parameters[view.parameter].info

    def shape(self, value: str) -> tuple[int, ...] | None:
        """Return the shape of a parameter or a view; None for any other value."""
        view = self.view(value)
        return None if view is None else view.shape(self.info(view).shape)

    def integers(self, value: str) -> NDArray[Any] | None:
        """Return an integer initializer or the value of an integer Constant; None for any other."""
        if value in self._initializers:
            return integer_tensor(self._initializers[value])
        node = self.producer(value)
        return None if node is None else integers_of(node)

    def write_nodes(self) -> None:
        """Replace the nodes of the model by those of this graph."""
        nodes = self.nodes
        del self.model.graph.node[:]
        self.model.graph.node.extend(nodes)

    def _is_used(self, value: str) -> bool:
        return value in self._readers or value in self.outputs

    @contextmanager
    def _changed(self, node: onnx.NodeProto) -> Iterator[None]:
        slot = self._slot_of[id(node)]
        self._forget(node)
        yield
        self._index(node, slot)

    def _forget(self, node: onnx.NodeProto) -> None:
        del self._slot_of[id(node)]
        for name in filter(None, node.output):
            if self._producers.get(name) is node:
                del self._producers[name]
        for name in values_read(node):
            others = [other for other in self._readers[name] if other is not node]
            if others:
                self._readers[name] = others
            else:
                del self._readers[name]
