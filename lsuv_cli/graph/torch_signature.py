"""The metadata by which PyTorch's dynamo exporter tells what the tensors of its files were.

A file holds the exported program's signature, which lists every parameter and buffer of the module;
for each stored tensor whether it is one of these as it was, or folded from some of them; and for
each node the operation of the program that it came from, with its arguments.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import onnx

SIGNATURE_KEY = "pkg.torch.export.ExportedProgram.graph_signature"
KIND_KEY = "pkg.torch.export.graph_signature.InputSpec.kind"
FOLDED_KEY = "pkg.onnxscript.optimizer.folded_from"
RULES_KEY = "pkg.onnxscript.rewriter.rule_name"
OPERATION_KEY = "pkg.torch.onnx.fx_node"

# A line of the signature: `b_0_running_mean: BUFFER target='0.running_mean' persistent=True`.
_LINE = re.compile(r"(\w+): (PARAMETER|BUFFER|CONSTANT_TENSOR) target='([^']*)'(.*)")
# An element of the signature as older versions of PyTorch print it.
_ELEMENT = re.compile(
    r"InputSpec\(kind=<InputKind\.(PARAMETER|BUFFER|CONSTANT_TENSOR)\b[^>]*>, "
    r"arg=TensorArgument\(name='(\w+)'\), target='([^']*)'(, persistent=True)?"
)
# `%linear : [num_users=1] = call_function[target=...](args = (%x, %p_0_weight), kwargs = {})`.
_OPERATION = re.compile(r"%(\w+) : .*?\[target=([\w.]+)\]\((.*)\)", re.DOTALL)
_ARGUMENT = re.compile(r"%(\w+)")


class TensorKind(StrEnum):
    """What a tensor of an exported program is to its module."""

    PARAMETER = "PARAMETER"
    BUFFER = "BUFFER"
    CONSTANT = "CONSTANT_TENSOR"


@dataclass(frozen=True, slots=True)
class ModuleTensor:
    """A parameter, a buffer or a constant of the exported module.

    Attributes:
        name: its name in the module; for parameters and persistent buffers that of the state_dict.
        kind: what it is.
        persistent: whether the state_dict has it.
    """

    name: str
    kind: TensorKind
    persistent: bool


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation of an exported program.

    Attributes:
        name: the name of the value that it computes.
        target: the operator, such as `torch.ops.aten.linear.default`.
        arguments: the names of the values that it is given, in order.
    """

    name: str
    target: str
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ExportedSignature:
    """The tensors of an exported module, and what became of them in the file.

    Attributes:
        tensors: every parameter, buffer and constant of the module by its name, in its order; a
            tied one under each of its names.
        placeholders: the names of these tensors by what the program's operations call them.
        unchanged: the tensors that the file stores as they were, under their own names; None where
            the file does not tell.
        folded_from: for each constant that the exporter has computed, the names of the module's
            tensors that it was computed from.
    """

    tensors: Mapping[str, ModuleTensor]
    placeholders: Mapping[str, str]
    unchanged: frozenset[str] | None
    folded_from: Mapping[str, frozenset[str]]

    @property
    def state(self) -> tuple[str, ...]:
        """The names of the module's state_dict, in the module's order."""
        return tuple(tensor.name for tensor in self.tensors.values() if tensor.persistent)

    def is_unchanged(self, stored: str) -> bool:
        """Return whether a stored tensor is the tensor of the module that has its name."""
        if stored not in self.tensors:
            return False
        return self.unchanged is None or stored in self.unchanged

    def sources(self, stored: str) -> frozenset[str]:
        """Return the names of the module's tensors that a stored tensor is or was computed from."""
        if self.is_unchanged(stored):
            return frozenset((stored,))
        return self.folded_from.get(stored, frozenset())

    def kinds(self, stored: str) -> frozenset[TensorKind]:
        """Return the kinds of the tensors that a stored tensor is or was computed from."""
        return frozenset(self.tensors[name].kind for name in self.sources(stored))

    def tensors_read(self, operation: Operation) -> tuple[str, ...]:
        """Return the names of the module's tensors that an operation is given, in order."""
        names = (self.placeholders.get(name, "") for name in operation.arguments)
        return tuple(filter(None, names))


def read_signature(graph: onnx.GraphProto) -> ExportedSignature | None:
    """Read what a file tells of the exported module; None for one without a signature.

    Args:
        graph: the main graph, with its metadata and the values it describes.
    """
    text = next((p.value for p in graph.metadata_props if p.key == SIGNATURE_KEY), "")
    listed = dict(_listed(text))
    if not listed:
        return None
    tensors = {tensor.name: tensor for tensor in listed.values()}
    unchanged = set()
    folded: dict[str, frozenset[str]] = {}
    for value in graph.value_info:
        for prop in value.metadata_props:
            if prop.key == KIND_KEY:
                unchanged.add(value.name)
            elif prop.key == FOLDED_KEY:
                folded[value.name] = frozenset(_names(prop.value)) & tensors.keys()
    return ExportedSignature(
        tensors,
        {placeholder: tensor.name for placeholder, tensor in listed.items()},
        frozenset(unchanged) if unchanged else None,
        folded,
    )


def operation_of(node: onnx.NodeProto) -> Operation | None:
    """Return the operation that a node came from; None where the file does not tell."""
    text = next((p.value for p in node.metadata_props if p.key == OPERATION_KEY), "")
    match = _OPERATION.match(text)
    return Operation(match[1], match[2], tuple(_ARGUMENT.findall(match[3]))) if match else None


def rules_of(node: onnx.NodeProto) -> str:
    """Return the names of the rules by which the exporter has rewritten a node, as one text."""
    return next((prop.value for prop in node.metadata_props if prop.key == RULES_KEY), "")


def _listed(text: str) -> Iterable[tuple[str, ModuleTensor]]:
    """Yield the tensors that a signature lists, each with what the program calls it."""
    for line in text.splitlines():
        if match := _LINE.fullmatch(line.strip()):
            yield match[1], _tensor(match[3], match[2], is_persistent="persistent=True" in match[4])
    for match in _ELEMENT.finditer(text):
        yield match[2], _tensor(match[3], match[1], is_persistent=bool(match[4]))


def _tensor(name: str, word: str, *, is_persistent: bool) -> ModuleTensor:
    kind = TensorKind(word)
    in_state = kind is TensorKind.PARAMETER or (kind is TensorKind.BUFFER and is_persistent)
    return ModuleTensor(name, kind, in_state)


def _names(text: str) -> Iterable[str]:
    try:
        return [str(name) for name in ast.literal_eval(text)]
    except (ValueError, SyntaxError, TypeError):
        return []
