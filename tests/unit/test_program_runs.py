"""Programs of torch.export beside the graphs that they were converted to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn

from lsuv_cli.reading.program_runs import check_program, inference_module
from lsuv_cli.reading.torch_export import ConversionError
from lsuv_cli.reading.torch_program import ConvertedGraph, convert
from support.roads import silenced

pytestmark = pytest.mark.usefixtures("quick_exporter")


class Net(nn.Module):
    """A running count, ids and numbers among the inputs, and what is random in training."""

    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.table, self.fc = nn.Embedding(5, 4), nn.Linear(4, 3)
        self.drop, self.norm = nn.Dropout(), nn.BatchNorm1d(3)
        self.register_buffer("count", torch.zeros(1))

    def forward(self, x: Tensor, ids: Tensor, factor: float = 2.0) -> dict[str, Tensor]:
        self.count += 1
        x = x + self.table(ids)
        return {"x": x, "y": self.norm(self.drop(self.fc(x) * factor))}


class Counted(nn.Module):
    """Takes ids from two on; those that are made up are ones or zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(5, 4)

    def forward(self, ids: Tensor) -> Tensor:
        y: Tensor = self.table(ids - 2)
        return y


def program(module: nn.Module, *inputs: Any) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch")
    shapes = tuple({0: batch} if isinstance(one, Tensor) else None for one in inputs)
    with silenced():
        return torch.export.export(module, inputs, dynamic_shapes=shapes)


def net(*, training: bool = False) -> torch.export.ExportedProgram:
    torch.manual_seed(0)
    ids = torch.zeros(2, dtype=torch.int64)
    return program(Net().train(training), torch.randn(2, 4), ids, 1.5)


def changed(graph: ConvertedGraph, change: Callable[[onnx.GraphProto], Any]) -> ConvertedGraph:
    skeleton = onnx.ModelProto()
    skeleton.CopyFrom(graph.skeleton)
    change(skeleton.graph)
    return replace(graph, skeleton=skeleton)


def another_operator(graph: onnx.GraphProto) -> None:
    next(node for node in graph.node if node.op_type == "Mul").op_type = "Sub"


def an_unknown_operator(graph: onnx.GraphProto) -> None:
    next(node for node in graph.node if node.op_type == "Gather").op_type = "Unheard"


def one_output_less(graph: onnx.GraphProto) -> None:
    del graph.output[0]


def test_a_graph_that_computes_the_same_is_accepted() -> None:
    exported = net()
    graph = convert(exported)
    check_program(exported, graph)
    assert not exported.state_dict["count"].any()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (another_operator, "does not compute what the module computes"),
        (one_output_less, "does not compute what the module computes"),
        (an_unknown_operator, "ONNX Runtime can't run what the exporter makes: .*Unheard"),
    ],
)
def test_another_graph_is_refused(change: Callable[[onnx.GraphProto], Any], says: str) -> None:
    exported = net()
    with pytest.raises(ConversionError, match=says):
        check_program(exported, changed(convert(exported), change))


def test_what_differs_in_training_is_not_compared() -> None:
    exported = net(training=True)
    check_program(exported, convert(exported))
    x, ids = torch.randn(6, 4), torch.arange(6) % 5
    with inference_module(exported) as module:
        first, second = (module(x, ids, 1.5)["y"] for _ in range(2))
    assert torch.equal(first, second)
    assert not exported.state_dict["count"].any()


def test_a_program_that_does_not_run_on_made_up_samples_is_not_compared() -> None:
    exported = program(Counted().eval(), torch.full((2,), 2))
    check_program(exported, changed(convert(exported), an_unknown_operator))
