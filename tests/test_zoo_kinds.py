"""The smallest module of each kind of trouble that networks of other libraries have had."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from support.eager_products import eager_products
from support.layer_outputs import TOLERANCE
from support.promise import initialised, initialised_in_place, load_strictly
from support.roads import Inputs, by_road, save_samples

pytestmark = pytest.mark.usefixtures("quick_exporter")

SAMPLES, LENGTH, WIDTH, HEADS = 8, 6, 16, 4


class Attention(nn.Module):
    """Self-attention by PyTorch's function, with or without something added to its scores."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)

    def attend(self, x: Tensor, mask: Tensor | None) -> Tensor:
        parts = self.qkv(x).reshape(x.shape[0], LENGTH, 3, HEADS, WIDTH // HEADS)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        out = scaled_dot_product_attention(q, k, v, attn_mask=mask)
        y: Tensor = self.proj(out.transpose(1, 2).reshape(x.shape[0], LENGTH, WIDTH))
        return y


class Biased(Attention):
    """As in BEiT: a learned bias for each head."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.randn(HEADS, LENGTH, LENGTH))

    def forward(self, x: Tensor) -> Tensor:
        return self.attend(x, self.bias[None].expand(x.shape[0], -1, -1, -1))


class Masked(Attention):
    """As in BERT: an integer mask says which tokens count, and all may be masked."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, WIDTH)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.attend(self.embedding(ids), mask.bool()[:, None, None, :])


class Squeezed(nn.Module):
    """As in PixArt: an axis is squeezed in case that its size is one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(self.first(x).squeeze(1))
        return y


class Inverted(nn.Module):
    """As in XLNet: an integer mask is subtracted from a float."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, WIDTH)
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        y = self.first(self.embedding(ids)) * (1.5 - mask)[:, :, None]
        x: Tensor = self.second(y)
        return x


def sequence() -> Inputs:
    return (torch.randn(SAMPLES, LENGTH, WIDTH),)


def masked_ids() -> Inputs:
    mask = torch.ones(SAMPLES, LENGTH, dtype=torch.long)
    mask[::2, -2:] = 0
    return torch.randint(20, (SAMPLES, LENGTH)), mask


KINDS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Inputs]]] = {
    "attention with a bias": (Biased, sequence),
    "attention with an integer mask": (Masked, masked_ids),
    "a float less integers": (Inverted, masked_ids),
    "squeeze of a longer axis": (Squeezed, sequence),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_program(tmp_path: Path, name: str) -> None:
    make, samples = KINDS[name]
    torch.manual_seed(0)
    inputs = samples()
    path = by_road(make().eval(), inputs, "pt2", tmp_path)
    run = initialised(path, save_samples(path, inputs))
    assert run.code == 0, run.texts
    held(load_strictly(run, make), inputs, run.statuses)


@pytest.mark.parametrize("name", KINDS)
def test_a_module(name: str) -> None:
    make, samples = KINDS[name]
    torch.manual_seed(0)
    inputs, module = samples(), make().eval()
    run = initialised_in_place(module, [inputs])
    assert run.code == 0, run.texts
    held(module, inputs, run.statuses)


def held(module: nn.Module, inputs: Inputs, statuses: dict[str, str]) -> None:
    """Assert that every product that PyTorch sees has a row and the variance that it says."""
    found = eager_products(module, inputs, statuses)
    assert found.keys() == statuses.keys()
    for weight, product in found.items():
        assert abs(product.variances[0] - 1) <= TOLERANCE, weight
