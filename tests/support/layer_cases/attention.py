"""Attention whose queries and keys have different sources."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from support.layer_cases.case import FOLDED, OLDER, LayerCase
from support.roads import Inputs


class Crossed(nn.Module):
    """Attention of one sequence to another."""

    def __init__(self, **options: int) -> None:
        super().__init__()
        self.q = nn.Linear(16, 16)
        self.att = nn.MultiheadAttention(16, 2, batch_first=True, **options)

    def forward(self, x: Tensor, memory: Tensor) -> Any:
        return self.att(self.q(x), memory, memory, need_weights=False)[0]


class Pooled(nn.Module):
    """Attention of a learned query to a sequence, as in SigLIP."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, 1, 16))
        self.body, self.tail = nn.Linear(8, 16), nn.Linear(16, 4)
        self.att = nn.MultiheadAttention(16, 2, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        body = self.body(x)
        query = self.query.repeat(body.shape[0], 1, 1)
        return self.tail(self.att(query, body, body, need_weights=False)[0][:, 0])


def _decoder() -> nn.Module:
    layer = nn.TransformerDecoderLayer(16, 2, 24, dropout=0.0, batch_first=True)
    return nn.TransformerDecoder(layer, 1)


def _sources(width: int = 16, memory: int = 16) -> Inputs:
    return torch.randn(16, 5, width), torch.randn(16, 7, memory) * 1.5


CASES = {
    "cross_attention": LayerCase(Crossed, _sources),
    "cross_attention-sizes": LayerCase(
        lambda: Crossed(kdim=12, vdim=12), lambda: _sources(memory=12), refused=FOLDED
    ),
    "cross_attention-decoder": LayerCase(
        _decoder,
        _sources,
        # PyTorch's older exporter fails in a decoder that is no module's child.
        closed=OLDER,
    ),
    "cross_attention-pooled": LayerCase(Pooled, lambda: (torch.randn(16, 7, 8),), refused=FOLDED),
}
