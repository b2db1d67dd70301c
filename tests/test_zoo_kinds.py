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


class Positions(nn.Module):
    """As in DeBERTa and XLNet: queries times keys that a layer makes of an embedding alone."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.out = nn.Linear(LENGTH, WIDTH)
        self.embedding = nn.Parameter(torch.randn(LENGTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(self.query(x) @ self.key(self.embedding).T)
        return y


class Probe(nn.Module):
    """As in SigLIP: a learned query pools a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.probe = nn.Parameter(torch.randn(1, 1, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        query = self.probe.repeat(x.shape[0], 1, 1)
        y: Tensor = self.attention(query, x, x)[0][:, 0]
        return y


class Experts(nn.Module):
    """As in Mixtral: a router picks matrices out of two tables."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(WIDTH, 3, bias=False)
        self.up = nn.Parameter(torch.randn(3, 8, WIDTH))
        self.down = nn.Parameter(torch.randn(3, WIDTH, 8))

    def forward(self, x: Tensor) -> Tensor:
        x = x.reshape(-1, WIDTH)
        scores, picked = self.gate(x).softmax(-1).max(-1)
        y = torch.bmm(self.up[picked], x[:, :, None]).relu()
        out: Tensor = torch.bmm(self.down[picked], y)[:, :, 0] * scores[:, None]
        return out


class Windows(nn.Module):
    """As in Swin: attention within shifted windows, whose mask is a buffer that is not saved."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.register_buffer("mask", torch.tensor([[0.0, -100.0], [-100.0, 0.0]]), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        whole = x.shape
        x = torch.roll(x, -1, 1).reshape(-1, 2, WIDTH)
        q, k, v = self.qkv(x).chunk(3, -1)
        x = (q @ k.transpose(1, 2) + self.mask).softmax(-1) @ v
        y: Tensor = self.out(torch.roll(x.reshape(whole), 1, 1))
        return y


class Recycled(nn.Module):
    """As in ALBERT: the same layers at every depth."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.layer = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for _ in range(3):
            x = x + torch.tanh(self.layer(x))
        return x


class Records(nn.Module):
    """As in transformers: a record of several outputs, one of them from a layer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.pooler = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> dict[str, Tensor | None]:
        x = self.layer(x)
        return {"last": x, "none": None, "pooled": torch.tanh(self.pooler(x[:, 0]))}


class Codebook(nn.Module):
    """As in VQ-VAE: the nearest of some vectors stands for each, found by a product with them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.codes = nn.Embedding(8, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        codes = self.codes.weight
        nearest = (codes.square().sum(1) - 2 * x @ codes.T).argmin(-1)
        y: Tensor = self.last(self.codes(nearest))
        return y


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
# Those that other roads than the module's have had no trouble with.
OF_MODULES: dict[str, tuple[Callable[[], nn.Module], Callable[[], Inputs]]] = {
    "codes": (Codebook, sequence),
    "experts": (Experts, sequence),
    "keys of an embedding": (Positions, sequence),
    "layers used again": (Recycled, sequence),
    "query of a parameter": (Probe, sequence),
    "records": (Records, sequence),
    "windows": (Windows, sequence),
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


@pytest.mark.filterwarnings("ignore:these are left as they are")
@pytest.mark.parametrize("name", KINDS | OF_MODULES)
def test_a_module(name: str) -> None:
    make, samples = (KINDS | OF_MODULES)[name]
    torch.manual_seed(0)
    inputs, module = samples(), make().eval()
    run = initialised_in_place(module, [inputs])
    assert run.code == 0, run.texts
    held(module, inputs, run.statuses)


def held(module: nn.Module, inputs: Inputs, statuses: dict[str, str]) -> None:
    """Assert that every product that PyTorch sees has a row and, if that says so, variance 1."""
    found = eager_products(module, inputs, statuses)
    assert found.keys() == statuses.keys()
    assert "converged" in statuses.values()
    for weight, product in found.items():
        if statuses[weight] == "converged":
            assert abs(product.variances[0] - 1) <= TOLERANCE, weight


class Distances(Codebook):
    """As in diffusers' VQModel: the distances are one product with a table made of the codes."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        codes = self.codes.weight
        table = torch.cat([-2 * codes, codes.square().sum(1, keepdim=True)], 1)
        with_one = torch.cat([x, torch.ones_like(x[..., :1])], -1)
        y: Tensor = self.last(self.codes((with_one @ table.T).argmin(-1)))
        return y


def test_a_constant_that_is_made_of_a_parameter_which_stays(tmp_path: Path) -> None:
    inputs = sequence()
    path = by_road(Distances().eval(), inputs, "dynamo", tmp_path)
    run = initialised(path, save_samples(path, inputs))
    assert run.code == 3
    assert "codes.weight was folded into other constants" in run.texts[-1]
