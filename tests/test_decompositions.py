"""Operators that PyTorch's exporter converts wrongly, in files of torch.export.save."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lsuv_cli import initialize
from lsuv_cli.reading.torch_decompositions import embedding_bag
from support.layer_outputs import off_target, outputs_by_layer
from support.roads import silenced

pytestmark = pytest.mark.usefixtures("quick_exporter")

ROWS, FEATURES, SAMPLES = 8, 6, 32


class Bags(nn.Module):
    """Bags of words, of which some are padding, and a linear layer."""

    def __init__(self, mode: str, *, padding: bool = False, weighted: bool = False) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(ROWS, FEATURES, mode=mode, padding_idx=0 if padding else None)
        self.head = nn.Linear(FEATURES, 5)
        self.weighted = weighted

    def forward(self, ids: Tensor) -> Tensor:
        y: Tensor = self.head(self.bag(ids, None, ids / ROWS if self.weighted else None))
        return y


class Projected(nn.Module):
    """An LSTM with projections, and a linear layer."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.lstm = nn.LSTM(FEATURES, 7, proj_size=4, batch_first=True, **options)
        self.head = nn.Linear(8 if options.get("bidirectional") else 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.lstm(x)[0])
        return y


def ids() -> Tensor:
    words = torch.randint(ROWS, (SAMPLES, 4))
    words[0] = 0  # a bag of padding alone
    return words


def sequences() -> Tensor:
    return torch.randn(SAMPLES, 2, FEATURES)


def clips() -> Tensor:
    return torch.randn(SAMPLES, 3, 4, 8, 8)


def video() -> nn.Module:
    """Return convolutions over time, of which one has a bias."""
    strided = nn.Conv3d(3, 8, 3, stride=(1, 2, 2), padding=1, bias=False)
    last = (nn.ReLU(), nn.Conv3d(8, 4, 3, padding=1), nn.AdaptiveAvgPool3d(1), nn.Flatten())
    return nn.Sequential(strided, nn.BatchNorm3d(8), *last, nn.Linear(4, 3))


@pytest.mark.parametrize(
    ("make", "samples"),
    [
        (lambda: Bags("sum", weighted=True), ids),
        (lambda: Bags("mean", padding=True), ids),
        (lambda: Bags("max", padding=True), ids),
        (Projected, sequences),
        (lambda: Projected(bidirectional=True, bias=False), sequences),
        (video, clips),
    ],
    ids=["sum", "mean", "max", "LSTM", "two directions", "video"],
)
def test_a_program_is_initialised(
    tmp_path: Path, make: Callable[[], nn.Module], samples: Callable[[], Tensor]
) -> None:
    torch.manual_seed(0)
    model, x = make().eval(), samples()
    path = tmp_path / "model.pt2"
    batch = torch.export.Dim("batch")
    with silenced():
        torch.export.save(torch.export.export(model, (x[:2],), dynamic_shapes=({0: batch},)), path)
    result = initialize(path, x, device="cpu")
    assert result.converged
    model.load_state_dict(result.state_dict(), strict=True)
    assert not off_target(outputs_by_layer(model, (x,)))


@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize("padding", [None, 3, -1])
def test_bags(mode: int, padding: int | None) -> None:
    """Of different lengths, an empty one among them, and with an offset of their end."""
    torch.manual_seed(0)
    weight, indices = torch.randn(ROWS, FEATURES), torch.randint(ROWS, (11,))
    indices[:2] = 3
    offsets = torch.tensor([0, 2, 2, 6, 11])
    given: Any = (weight, indices, offsets, False, mode, False, None, True, padding)
    expected = torch.ops.aten.embedding_bag.padding_idx(*given)[0]
    torch.testing.assert_close(embedding_bag(*given)[0], expected)
