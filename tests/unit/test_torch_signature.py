"""The metadata by which PyTorch's dynamo exporter tells what the tensors of its files were."""

from __future__ import annotations

from typing import Any

import onnx
import pytest
import torch
from onnx import helper
from torch import Tensor, nn

from lsuv_cli.graph.torch_signature import (
    SIGNATURE_KEY,
    ExportedSignature,
    TensorKind,
    operation_of,
    read_signature,
)
from support.torch_export import export


class Buffered(nn.Module):
    """A module with every kind of tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.slopes = nn.PReLU(4)
        self.unused = nn.Linear(2, 2)
        self.register_buffer("kept", torch.rand(4))
        self.register_buffer("transient", torch.rand(4), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply by everything."""
        scaled: Tensor = self.slopes(self.fc(x)) * self.kept * self.transient
        return scaled + torch.tensor([1.0, 2.0, 3.0, 4.0])


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    path = tmp_path_factory.mktemp("signature") / "m.onnx"
    export(Buffered().eval(), (torch.rand(2, 4),), path, "dynamo")
    return onnx.load(path)


def signature_of(text: str) -> ExportedSignature | None:
    graph = onnx.GraphProto()
    helper.set_metadata_props(graph, {SIGNATURE_KEY: text})
    return read_signature(graph)


def test_the_signature_has_the_whole_state_dict(exported: onnx.ModelProto) -> None:
    signature = read_signature(exported.graph)
    assert signature is not None
    assert set(signature.state) == Buffered().state_dict().keys()
    assert signature.kinds("fc.weight") == {TensorKind.PARAMETER}
    assert signature.kinds("kept") == signature.kinds("transient") == {TensorKind.BUFFER}
    assert not signature.tensors["transient"].persistent
    assert {t.kind for t in signature.tensors.values()} == set(TensorKind)


def test_folded_constants_name_what_they_were(exported: onnx.ModelProto) -> None:
    signature = read_signature(exported.graph)
    assert signature is not None
    (node,) = [node for node in exported.graph.node if node.op_type == "PRelu"]
    assert not signature.is_unchanged(node.input[1])
    assert signature.sources(node.input[1]) == {"slopes.weight"}
    operation = operation_of(node)
    assert operation is not None
    assert operation.target == "torch.ops.aten.prelu.default"
    assert signature.tensors_read(operation) == ("slopes.weight",)
    assert signature.is_unchanged("fc.weight")
    assert not signature.is_unchanged("unused.weight")  # the file does not have it
    assert signature.sources("nothing") == frozenset()


def test_both_ways_of_printing_a_signature() -> None:
    program = torch.export.export(Buffered().eval(), (torch.rand(2, 4),))
    signature: Any = program.graph_signature
    specs = signature.input_specs
    printed, listed = (
        signature_of(text) for text in (str(signature), f"GraphSignature(input_specs={specs!r})")
    )
    assert printed is not None
    assert printed == listed
    assert set(printed.state) == Buffered().state_dict().keys()


def test_files_without_a_signature_have_none() -> None:
    assert read_signature(onnx.GraphProto()) is None
    assert signature_of("# inputs\nx: USER_INPUT\n") is None
    assert operation_of(helper.make_node("Relu", ["x"], ["y"])) is None
