"""Layers have the paths of a PyTorch module's own modules, by whatever road it comes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from lsuv_cli import inspect
from lsuv_cli.core.errors import UsageError
from support.graphs import node, random_weight, save_graph
from support.roads import by_road, input_names, silenced

ROADS = ("script", "dynamo", "pt2", "trace", "module")


class Mixed(nn.Module):
    """A module called twice, attention, a recurrent layer, and a parameter of no module."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
        self.attn = nn.MultiheadAttention(8, 2, batch_first=True)
        self.rnn = nn.GRU(8, 3, batch_first=True, bidirectional=True)
        self.proj = nn.Parameter(torch.randn(6, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(self.body(x))
        x = self.attn(x, x, x, need_weights=False)[0]
        result: Tensor = self.rnn(x)[0] @ self.proj
        return result


class Tied(nn.Module):
    """A head that has the embedding's weight, and a weight that is computed."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.fc = parametrizations.weight_norm(nn.Linear(8, 8))
        self.head = nn.Linear(8, 20, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.head(torch.relu(self.fc(self.embed(x))))
        return result


GATES = [
    f"rnn.weight_{kind}_l0{direction}[{gate}]"
    for direction, kind, gate in itertools.product(("", "_reverse"), ("ih", "hh"), "zrn")
]
MIXED = [
    *("body.0", "body.0@1", "attn.in_proj[q]", "attn.in_proj[k]", "attn.in_proj[v]"),
    *("attn.out_proj", *GATES, "proj"),
]


def layers_of(
    module: nn.Module, x: Tensor, road: str, folder: Path, **keywords: Any
) -> Iterator[Any]:
    """Yield what is done with each layer of a module that comes by a road."""
    model = module if road == "module" else by_road(module, x, road, folder)
    if road == "trace" and isinstance(model, Path):
        keywords["input_shapes"] = {input_names(model)[0]: tuple(x.shape[1:])}
    with silenced():
        found = inspect(model, *((x,) if road == "module" else ()), **keywords)
    yield from (one.planned for one in found.report.layers)


@pytest.mark.parametrize("road", ROADS)
def test_layers_are_called_by_their_modules_paths(road: str, tmp_path: Path) -> None:
    patterns = ["body.0@1", "attn.in_proj", "rnn.weight_ih_l0[z]"]
    found = list(layers_of(Mixed().eval(), torch.randn(4, 5, 8), road, tmp_path, exclude=patterns))
    assert [one.layer.name for one in found] == MIXED
    assert [one.layer.name for one in found if one.skipped] == [*MIXED[1:5], MIXED[6]]
    assert len({one.layer.node for one in found}) == len(found)


@pytest.mark.parametrize("road", ["script", "pt2"])
def test_a_tied_layer_is_the_module_that_runs(road: str, tmp_path: Path) -> None:
    found = layers_of(Tied().eval(), torch.randint(20, (4, 5)), road, tmp_path)
    layers = [one.layer for one in found]
    assert [layer.name for layer in layers] == ["fc", "head"]
    assert [layer.weight_name for layer in layers] == [
        *("fc.parametrizations.weight.original1", "embed.weight")
    ]


def test_nodes_names_match_and_are_shown_on_request(tmp_path: Path) -> None:
    module, x = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)), torch.randn(4, 8)
    path = by_road(module.eval(), x, "pt2", tmp_path)
    (first, second) = inspect(path, exclude="node_linear").report.layers
    assert (first.planned.layer.name, first.planned.layer.node) == ("0", "node_linear")
    assert (first.planned.skipped, second.planned.skipped) == ("matches --exclude", None)
    (first, second) = inspect(path, names="onnx").report.layers
    assert first.planned.layer.name == "node_linear"
    with pytest.raises(UsageError, match=r"matches no layer or weight; is it 2\.weight, "):
        inspect(path, exclude="2.weigth")


def test_a_module_with_two_lost_weights_does_not_hide_a_layer(tmp_path: Path) -> None:
    nodes = [node("MatMul", "x onnx::MatMul_1", "a"), node("MatMul", "a onnx::MatMul_2", "b")]
    nodes += [node("MatMul", "b onnx::MatMul_3", "c")]
    for one, name in zip(nodes, ("attn/MatMul", "attn/MatMul_1", "fc/MatMul"), strict=True):
        one.name = f"/{name}"
    weights = {f"onnx::MatMul_{n}": random_weight(4, 4, seed=n) for n in (1, 2, 3)}
    path = save_graph(tmp_path / "m.onnx", nodes, weights, ["n", 4])
    assert [one.planned.layer.name for one in inspect(path).report.layers][2] == "/fc/MatMul"
    model = onnx.load(path)
    model.producer_name = "pytorch"
    onnx.save(model, path)
    with pytest.warns(match="the written names are the ONNX file's"):
        names = [one.planned.layer.name for one in inspect(path).report.layers]
    assert names == ["/attn/MatMul", "/attn/MatMul_1", "fc"]


class Scored(nn.Module):
    """A product by a vector, which is no layer, in a module of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(8, 8)
        self.score = VectorProduct()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.score(self.body(x))
        return result


class VectorProduct(nn.Module):
    """Multiplies by a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.direction = nn.Parameter(torch.randn(8))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x) @ self.direction


@pytest.mark.parametrize("road", ["script", "pt2"])
def test_what_is_left_alone_is_told_with_its_module(road: str, tmp_path: Path) -> None:
    module, x = Scored().eval(), torch.randn(4, 8)
    path = by_road(module, x, road, tmp_path)
    with silenced(), pytest.warns(match=r"\(MatMul in score\): its weight is a vector"):
        (left,) = inspect(path).report.left_alone
    assert left.endswith(" (MatMul in score): its weight is a vector")
