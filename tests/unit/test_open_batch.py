"""Programs exported with a fixed batch size, opened to any."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lsuv_cli.reading.open_batch import fixed_batch, with_open_batch
from support.roads import silenced

OPENED = 5
Make = Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]


class Attention(nn.Module):
    """Sizes of the batch in views, behind other axes, merged with them, and in a token."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """The tokens of a sequence of vectors."""
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        y: Tensor = self.attention(x, x, x, need_weights=False)[0]
        windows = y.reshape(x.shape[0], 2, 3, 8).permute(0, 2, 1, 3).reshape(-1, 2, 8)
        merged = windows.view(x.shape[0], 3, 2, 8).flatten(0, 1)
        split: Tensor = merged.unflatten(0, (x.shape[0], 3))  # type: ignore[no-untyped-call]
        return split


class Recurrent(nn.Module):
    """States that are made for the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 3, num_layers=2, batch_first=True)
        self.cell = nn.GRUCell(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        """The state after two steps."""
        y = self.lstm(x)[0]
        state = x.new_zeros(x.shape[0], 3)
        for step in range(2):
            state = self.cell(y[:, step], state)
        return state


class Training(nn.Module):
    """Differs in training, which the program was exported in."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout())

    def forward(self, x: Tensor) -> Tensor:
        """Normalised."""
        y: Tensor = self.body(x)
        return y


class Mixing(nn.Module):
    """Mixes the samples of a batch, whose number is part of the network."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        y: Tensor = self.mix(x.T)
        return y.T


def program(module: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    torch.backends.mha.set_fastpath_enabled(False)
    with silenced():
        return torch.export.export(module, (example,))


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize(("make", "shape"), [(Attention, (5, 8)), (Recurrent, (3, 4))])
def test_opened(make: Callable[[], nn.Module], shape: tuple[int, ...], batch: int) -> None:
    torch.manual_seed(0)
    module = make().eval()
    fixed = program(module, torch.randn(batch, *shape))
    assert fixed_batch(fixed) == batch
    opened = with_open_batch(fixed)
    assert opened is not None
    assert fixed_batch(opened) is None
    assert opened.state_dict.keys() == fixed.state_dict.keys()
    x = torch.randn(OPENED, *shape)
    with torch.no_grad():
        torch.testing.assert_close(opened.module()(x), module(x))


def test_training_mode_is_left() -> None:
    torch.manual_seed(0)
    module = Training().train()
    opened = with_open_batch(program(module, torch.randn(2, 4)))
    assert opened is not None
    x = torch.randn(OPENED, 4)
    with torch.no_grad():
        torch.testing.assert_close(opened.module()(x), module.eval()(x))


def test_a_batch_that_is_part_of_the_network_is_not_opened() -> None:
    assert with_open_batch(program(Mixing().eval(), torch.randn(2, 4))) is None
