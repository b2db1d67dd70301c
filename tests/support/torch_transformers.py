"""PyTorch modules: transformers, and a block of MLP-Mixer."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Mixer(nn.Module):
    """One block of MLP-Mixer: over patches, then over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 2, stride=2)
        self.norm = nn.LayerNorm(12)
        self.tokens = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.channels = nn.Sequential(nn.Linear(12, 24, bias=False), nn.GELU(), nn.Linear(24, 12))
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + self.tokens(self.norm(x).transpose(1, 2)).transpose(1, 2)
        x = x + self.channels(self.norm(x))
        result: Tensor = self.head(x.mean(1))
        return result


class Attention(nn.Module):
    """Self-attention from four linear layers."""

    def __init__(self, width: int, heads: int, *, causal: bool = False) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """The attended values."""
        n, t, c = x.shape
        # Written out, so that it can be scripted.
        q = self.query(x).view(n, t, self.heads, c // self.heads).transpose(1, 2)
        k = self.key(x).view(n, t, self.heads, c // self.heads).transpose(1, 2)
        v = self.value(x).view(n, t, self.heads, c // self.heads).transpose(1, 2)
        scores = q @ k.transpose(-1, -2) / math.sqrt(c // self.heads)
        if self.causal:
            scores = scores.masked_fill(torch.ones(t, t).triu(1) > 0, float("-inf"))
        result: Tensor = self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, t, c))
        return result


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, *, causal: bool = False) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, 2, causal=causal)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        x = x + self.attention(self.norm1(x))
        result: Tensor = x + self.mlp(self.norm2(x))
        return result


class ViT(nn.Module):
    """Patches, a class token, positions, two blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.positions = nn.Parameter(torch.randn(1, 5, 16) * 0.02)
        self.blocks = nn.Sequential(Block(16), Block(16))
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        result: Tensor = self.head(self.norm(self.blocks(x))[:, 0])
        return result


class GPT(nn.Module):
    """A decoder whose embedding is its output projection, too."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(40, 16)
        self.positions = nn.Parameter(torch.randn(6, 16) * 0.1)
        self.blocks = nn.ModuleList([Block(16, causal=True), Block(16, causal=True)])
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 40, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids: Tensor) -> Tensor:
        """Logits for each position."""
        x = self.embedding(ids) + self.positions
        for block in self.blocks:
            x = block(x)
        result: Tensor = self.head(self.norm(x))
        return result


class Encoder(nn.Module):
    """PyTorch's own encoder: packed projections, layers that are copies of each other."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(12, 2, 24, batch_first=True)
        nn.init.normal_(layer.self_attn.out_proj.bias)  # a zero one is dropped by the exporter
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        result: Tensor = self.head(self.encoder(x).mean(1))
        return result
