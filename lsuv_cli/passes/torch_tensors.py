"""Tensors of an exported module, found in a file of PyTorch's dynamo exporter by its metadata.

The exporter stores tensors of equal values once, folds a weight with the Transpose or Reshape
behind it to a constant with a made-up name, and leaves out a bias of zeros. Each node says which
tensors of the module its operation was given.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from lsuv_cli.graph.editable import EditableGraph
from lsuv_cli.graph.nodes import attributes
from lsuv_cli.graph.parameters import in_memory
from lsuv_cli.graph.torch_origin import scopes
from lsuv_cli.graph.torch_signature import ExportedSignature, Operation, operation_of, rules_of
from lsuv_cli.graph.views import Reshaped, Transposed, View, ViewStep
from lsuv_cli.passes.pipeline import Pass

# Operations whose tensors are vectors, which the exporter gives axes of size 1.
_OF_VECTORS = frozenset(("prelu", "batch_norm", "group_norm", "native_group_norm", "instance_norm"))
# Rules of the optimiser that put one operation's tensors into those of another.
_ALTERING = re.compile(r"Fuse\w*(BatchNorm|Affine)")
_WITH_BIASES = frozenset(("linear", "conv1d", "conv2d", "conv3d", "convolution"))


def find_module_tensors(graph: EditableGraph) -> None:
    """Find the tensors of the exported module, and give each of them a parameter of its own."""
    signature = graph.signature
    if signature is None:
        return
    finder = _Finder(graph, signature)
    graph.module_tensors |= {
        name: View(name) for name in finder.stored if signature.is_unchanged(name)
    }
    operations = list(_operations(graph))
    for operation, nodes in operations:
        finder.find(operation, nodes)
    used = {name for sources in signature.folded_from.values() for name in sources}
    used.update(name for one, _ in operations for name in signature.tensors_read(one))
    for operation, nodes in operations:
        finder.find_ties(operation, nodes, used)


@dataclass(frozen=True, slots=True)
class _Read:
    """A stored tensor as an input of a node.

    Attributes:
        node: the node.
        position: which of its inputs.
        stored: the stored tensor.
        sources: the tensors of the module that it is or was computed from.
    """

    node: onnx.NodeProto
    position: int
    stored: str
    sources: frozenset[str]

    @property
    def leaf(self) -> str:
        """The last part of the name of the only tensor that it comes from; "" where several are."""
        return _leaf(next(iter(self.sources))) if len(self.sources) == 1 else ""


class _Finder:
    """Finds the tensors that operations are given among the stored tensors that nodes read.

    Attributes:
        stored: the names of the stored tensors.
    """

    def __init__(self, graph: EditableGraph, signature: ExportedSignature) -> None:
        self._graph = graph
        self._signature = signature
        integers = (tensor.name for tensor in graph.model.graph.initializer)
        self.stored = dict.fromkeys((*graph.stored, *integers))
        self._copies: dict[tuple[str, str], str] = {}

    def find(self, operation: Operation, nodes: Sequence[onnx.NodeProto]) -> None:
        """Find the tensors that one operation is given.

        Args:
            operation: the operation.
            nodes: the nodes that it was exported as, in order.
        """
        wanted = list(dict.fromkeys(self._signature.tensors_read(operation)))
        if not wanted or any(_ALTERING.search(rules_of(node)) for node in nodes):
            return
        reads = [
            read
            for read in self._reads(nodes)
            if self._signature.is_unchanged(read.stored)
            # What another operation has computed is called as that is.
            or (read.sources and read.stored not in operation.arguments)
        ]
        pairs = self._pairs(wanted, reads)
        for target, read in pairs.items():
            self._found(operation, target, read)
        missing = [target for target in wanted if target not in pairs]
        if len(missing) == 1 and len(nodes) == 1:
            self._restore_bias(operation, nodes[0], missing[0])

    def find_ties(
        self, operation: Operation, nodes: Sequence[onnx.NodeProto], used: Collection[str]
    ) -> None:
        """Find the names that an operation's module has for tensors called after another one.

        The program calls a tied tensor by one of its names, whichever module reads it.

        Args:
            operation: the operation.
            nodes: the nodes that it was exported as.
            used: the tensors that the program uses under their own names.
        """
        path = next(iter(scopes(nodes[0])[-2:-1]), "")
        found = self._graph.module_tensors
        for name in self._signature.tensors_read(operation) if path else ():
            own = f"{path}.{_leaf(name)}"
            is_unused = own in self._signature.tensors and own not in used
            if name in found and is_unused and not name.startswith(f"{path}."):
                found.setdefault(own, found[name])

    def _reads(self, nodes: Sequence[onnx.NodeProto]) -> Iterator[_Read]:
        for node in nodes:
            for position, name in enumerate(node.input):
                if name in self.stored:
                    yield _Read(node, position, name, self._signature.sources(name))

    def _pairs(self, wanted: Sequence[str], reads: Sequence[_Read]) -> dict[str, _Read]:
        """Return for tensors that an operation is given where they are read, if that is certain."""
        leaves = [read.leaf for read in reads]
        if len(reads) == len(wanted):
            wanted_leaves = [_leaf(target) for target in wanted]
            if len(set(leaves)) == len(leaves) and set(leaves) == set(wanted_leaves):
                return {t: reads[leaves.index(_leaf(t))] for t in wanted}
            # Where each tensor that has kept its name stands in its place, so do the others.
            places = {read.stored: read for read in reads[::-1]}
            pairs = dict(zip(wanted, reads, strict=True))
            if all(
                self._signature.is_unchanged(read.stored) and places.get(target, read) is read
                for target, read in pairs.items()
            ):
                return pairs
        found = {}
        for target in wanted:
            exact = [read for read in reads if read.sources == {target}]
            alike = [read for read in reads if read.leaf == _leaf(target)]
            if exact or len(alike) == 1:
                found[target] = (exact or alike)[0]
        return found

    def _found(self, operation: Operation, target: str, read: _Read) -> None:
        """Note where a tensor is read; one that is stored under another's name gets its own."""
        graph, stored = self._graph, read.stored
        steps: tuple[ViewStep, ...] | None = ()
        if not self._signature.is_unchanged(stored):
            steps = self._steps(operation, read)
        if steps is None:
            return
        own = stored
        # Integers never change, so that several tensors may have the same.
        is_foreign = stored in graph.stored and target not in read.sources
        if is_foreign and not graph.keeps_ties:
            own = self._copy(target, stored, is_folded=bool(steps))
            graph.set_input(read.node, read.position, own)
        known = graph.module_tensors.setdefault(target, View(own, steps))
        if own in graph.parameters and known.parameter != own:
            shape = graph.parameters[own].info.shape
            graph.rearranged[own] = View(known.parameter, (*known.steps, *_inverse(steps, shape)))

    def _copy(self, target: str, stored: str, *, is_folded: bool) -> str:
        """Return the parameter that a tensor has in the place of one that it was equal to."""
        key = (target, stored)
        if key not in self._copies:
            self._copies[key] = self._graph.new_name(f"/{target}/{stored}" if is_folded else target)
            self._graph.add_copy(self._copies[key], stored)
        return self._copies[key]

    def _steps(self, operation: Operation, read: _Read) -> tuple[ViewStep, ...] | None:
        """Return the steps from a folded constant to the tensor; None where these are not known."""
        kind = _kind(operation)
        if read.stored not in self._graph.stored:
            return None
        shape = self._graph.stored[read.stored].info.shape
        if kind == "linear" and len(shape) == 2 and read.position == 1:
            is_transposed = not attributes(read.node).get("transB", 0)
            return (Transposed((1, 0)),) if is_transposed else None
        size = math.prod(shape)
        return (Reshaped((size,)),) if kind in _OF_VECTORS and size in (1, *shape) else None

    def _restore_bias(self, operation: Operation, node: onnx.NodeProto, target: str) -> None:
        """Restore a bias that the exporter has left out, because it is zero."""
        graph = self._graph
        weight = node.input[1] if len(node.input) == 2 else ""
        if (
            graph.keeps_ties
            or "RemoveOptionalBias" not in rules_of(node)
            or _kind(operation) not in _WITH_BIASES
            or weight not in graph.parameters
            or _leaf(target) == _leaf(weight)
        ):
            return
        info = graph.parameters[weight].info
        given = attributes(node)
        if node.op_type == "ConvTranspose":
            channels = info.shape[1] * given.get("group", 1)
        else:
            is_turned = node.op_type == "Gemm" and not given.get("transB", 0)
            channels = info.shape[1] if is_turned else info.shape[0]
        name = graph.new_name(target)
        graph.add_parameter(name, in_memory(np.zeros(channels, info.dtype)))
        graph.add_input(node, name)
        graph.module_tensors[target] = View(name)


def _inverse(steps: Sequence[ViewStep], shape: tuple[int, ...]) -> tuple[ViewStep, ...]:
    """Return the steps back from a tensor to a constant of some shape, of what `_steps` returns."""
    turned = any(isinstance(step, Transposed) for step in steps)
    return tuple(steps) if turned or not steps else (Reshaped(shape),)


def _operations(graph: EditableGraph) -> Iterator[tuple[Operation, list[onnx.NodeProto]]]:
    """Yield the operations of the exported program, each with the nodes that came from it."""
    nodes: dict[str, list[onnx.NodeProto]] = {}
    operations: dict[str, Operation] = {}
    for node in graph.nodes:
        operation = operation_of(node)
        if operation is not None:
            operations[operation.name] = operation
            nodes.setdefault(operation.name, []).append(node)
    for name, operation in operations.items():
        yield operation, nodes[name]


def _kind(operation: Operation) -> str:
    """Return an operator's name without its library and overload, as `linear`."""
    return operation.target.removeprefix("torch.ops.aten.").partition(".")[0].strip("_")


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


PASS = Pass("torch_tensors", find_module_tensors, requires=("identity_copies",), separates=True)
