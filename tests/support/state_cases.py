"""Modules whose state_dict is easily lost on the way to a file; a hyphen divides a sibling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from support.roads import Inputs

FOLDED = {"folded": "folded", "dynamo": "folded"}
UNWRITTEN = "not written, because they have no name in PyTorch"


@dataclass(frozen=True)
class StateCase:
    """A module, and the roads on which its state_dict does not survive.

    Attributes:
        make: makes the module.
        inputs: makes the samples.
        refused: roads on which the file lacks a tensor, with a part of the sentence.
        warned: roads on which a warning is all that can be said, with a part of it.
        doubtful: buffers that TorchScript may write too many.
        shared: layers whose weight is scaled for another layer.
        closed: roads that PyTorch itself can't take the module by.
    """

    make: Callable[[], nn.Module]
    inputs: Callable[[], Inputs]
    refused: Mapping[str, str] = field(default_factory=dict)
    warned: Mapping[str, str] = field(default_factory=dict)
    doubtful: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    closed: frozenset[str] = frozenset()


def rows(width: int) -> Inputs:
    """Return samples of shape (24, width)."""
    return (torch.randn(24, width),)


def sequences(width: int) -> Inputs:
    """Return samples of shape (16, 5, width)."""
    return (torch.randn(16, 5, width),)


def pictures(channels: int) -> Inputs:
    """Return samples of shape (16, channels, 8, 8)."""
    return (torch.randn(16, channels, 8, 8),)


def tokens() -> Inputs:
    """Return samples of shape (16, 5), of twenty tokens."""
    return (torch.randint(20, (16, 5)),)


class Shifted(nn.Module):
    """A buffer that the state_dict does not have."""

    idx: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)
        self.register_buffer("idx", torch.arange(8.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        shifted: Tensor = self.fc(x) + self.idx
        return shifted


class Masked(nn.Module):
    """Two buffers of truth values, of which the state_dict has one."""

    kept: Tensor
    dropped: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.head = nn.Linear(8, 8), nn.Linear(8, 4)
        self.register_buffer("kept", torch.arange(8) % 3 > 0)
        self.register_buffer("dropped", torch.arange(8) % 4 > 0, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.where(self.kept, self.fc(x), x)
        result: Tensor = self.head(torch.where(self.dropped, x, -x))
        return result


class Rotation(nn.Module):
    """Rotary positions: angles that are computed from a buffer."""

    frequencies: Tensor

    def __init__(self) -> None:
        super().__init__()
        frequencies = 1 / 10 ** (torch.arange(4.0) / 4)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        angles = torch.arange(5.0)[:, None] * self.frequencies
        first, second = x.chunk(2, -1)
        turned = first * angles.cos() - second * angles.sin()
        return torch.cat((turned, first * angles.sin() + second * angles.cos()), -1)


class Biased(nn.Module):
    """A table that a persistent buffer of integers indexes, as Swin's relative positions."""

    index: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.table = nn.Parameter(torch.randn(9, 2))
        self.register_buffer("index", torch.randint(9, (16,)))

    def forward(self, x: Tensor) -> Tensor:
        looked_up = self.table[self.index].view(1, 4, 8)[..., :4]
        biased: Tensor = self.fc(x)[:, None, :] + looked_up
        return biased


class Window(nn.Module):
    """A table and an index that is the same in every window."""

    where: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)
        self.table = nn.Parameter(torch.randn(7, 8))
        self.register_buffer("where", torch.arange(5) % 3)

    def forward(self, x: Tensor) -> Tensor:
        moved: Tensor = self.fc(x) + self.table[self.where]
        return torch.relu(moved)


class Positions(nn.Module):
    """An embedding of positions that are a persistent buffer."""

    position_ids: Tensor

    def __init__(self, length: int | None = None) -> None:
        super().__init__()
        self.length = length
        self.words, self.places = nn.Embedding(20, 8), nn.Embedding(6, 8)
        self.register_buffer("position_ids", torch.arange(6)[None])
        self.head = nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        places = self.places(self.position_ids[:, : self.length or ids.shape[1]])
        result: Tensor = self.head(self.words(ids) + places)
        return result


class Clashing(nn.Module):
    """Tensors that are called as the operations of an exported program are."""

    index: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Parameter(torch.randn(8))
        self.fc, self.head = nn.Linear(8, 8), nn.Linear(8, 4)
        self.register_buffer("index", torch.arange(8).flip(0))

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc(x)[:, self.index] * self.linear
        result: Tensor = self.head(torch.relu(x)[:, self.index])
        return result


class Scaled(nn.Module):
    """A residual block with a scale for each channel, and one number that scales all."""

    def __init__(self, *, start: float) -> None:
        super().__init__()
        self.norm, self.fc = nn.LayerNorm(8), nn.Linear(8, 8)
        self.gamma = nn.Parameter(torch.full((8,), start))
        self.gain = nn.Parameter(torch.full((1,), start))

    def forward(self, x: Tensor) -> Tensor:
        scaled: Tensor = x + self.gamma * self.fc(self.norm(x)) * self.gain
        return scaled


class Folding(nn.Module):
    """A convolution and a BatchNorm behind it, around which the input goes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        folded: Tensor = self.bn1(self.conv1(x)).relu() + x
        return folded


class Joined(nn.Module):
    """Attention's projection without a bias for the keys."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(6, 18, bias=False)
        self.q_bias, self.v_bias = nn.Parameter(torch.zeros(6)), nn.Parameter(torch.zeros(6))

    def forward(self, x: Tensor) -> Tensor:
        bias = torch.cat((self.q_bias, torch.zeros(6), self.v_bias))
        return functional.linear(x, self.qkv.weight, bias)


class Doubled(nn.Linear):
    """A linear layer that adds a multiple of its bias."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 # as nn.Linear calls it
        assert self.bias is not None
        return functional.linear(input, self.weight, 2 * self.bias)


class Unpacked(nn.Module):
    """Two linear layers whose biases are halves of one parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(6, 8, bias=False), nn.Linear(8, 8, bias=False)
        self.biases = nn.Parameter(torch.randn(16))

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.biases.chunk(2)
        result: Tensor = self.down(torch.tanh(self.up(x) + first)) + second
        return result


class Language(nn.Module):
    """Tokens, a layer, and a head that is tied with the tokens' embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mid = nn.Embedding(20, 8), nn.Linear(8, 8)
        self.head = nn.Linear(8, 20, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        result: Tensor = self.head(self.mid(self.embed(ids)))
        return result


class Translation(nn.Module):
    """Two embeddings and a head that are one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(20, 8), nn.Embedding(20, 8)
        self.mid, self.head = nn.Linear(8, 8), nn.Linear(8, 20)
        self.target.weight = self.source.weight
        self.head.weight = self.source.weight

    def forward(self, ids: Tensor) -> Tensor:
        mixed = self.mid(self.source(ids)) + self.target(ids.flip(1))
        result: Tensor = self.head(torch.relu(mixed))
        return result


class Twin(nn.Module):
    """Two layers of two modules that are one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
        self.right = nn.Sequential(nn.Linear(8, 8), nn.Tanh())
        self.right[0].weight, self.right[0].bias = self.left[0].weight, self.left[0].bias
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.head(self.left(x) + self.right(x.flip(-1)))
        return result


class Again(nn.Module):
    """A linear layer that is called twice, beside one that is called as a second call would be."""

    def __init__(self, *, bias: bool) -> None:
        super().__init__()
        self.fc, self.fc_1 = nn.Linear(8, 8, bias=bias), nn.Linear(8, 8, bias=bias)
        self.head, self.head_1 = nn.Linear(8, 8, bias=bias), nn.Linear(8, 3, bias=bias)
        self.fc_1.load_state_dict(self.fc.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.head(torch.tanh(self.head(x))))
        result: Tensor = self.head_1(torch.relu(self.fc(x)) + torch.relu(self.fc_1(x)))
        return result


def _norms(*, trained: bool) -> nn.Sequential:
    """Return normalisations of every kind over eight channels."""
    net = nn.Sequential(
        nn.Conv1d(4, 8, 3, padding=1),
        nn.ReLU(),
        nn.BatchNorm1d(8),
        nn.Conv1d(8, 8, 3, padding=1),
        nn.InstanceNorm1d(8, affine=True),
        nn.ReLU(),
        nn.BatchNorm1d(8),
        nn.GroupNorm(2, 8),
        nn.Conv1d(8, 8, 1),
        nn.GroupNorm(4, 8),
        nn.PReLU(8),
        nn.Linear(6, 8),
        nn.LayerNorm(8),
        nn.ReLU(),
        nn.LayerNorm(8),
        nn.Linear(8, 4),
    )
    if trained:
        with torch.no_grad():
            for name, value in net.state_dict().items():
                if value.is_floating_point():
                    noise = 1 + 0.3 * torch.rand_like(value)
                    value.copy_(value * noise + 0.1 * ("var" not in name))
    return net


def _zero_biases() -> nn.Sequential:
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.ReLU(),
        nn.ConvTranspose2d(6, 4, 3, groups=2),
        nn.Flatten(),
        nn.Linear(256, 6),
        nn.Tanh(),
        nn.Linear(6, 4),
    )
    for module in net:
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            assert module.bias is not None
            nn.init.zeros_(module.bias)
    return net


class Canvas(nn.Module):
    """A parameter whose name sounds made up."""

    def __init__(self) -> None:
        super().__init__()
        self.const = nn.Parameter(torch.randn(8))
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.head(torch.tanh(x + self.const))
        return made


# PyTorch's older exporter has no RMSNorm.
NO_RMS_NORM = frozenset(("script", "folded", "trace"))

CASES = {
    "transient_buffer": StateCase(Shifted, lambda: rows(8), doubtful=("idx",)),
    "transient_buffer-masks": StateCase(Masked, lambda: rows(8), doubtful=("kept", "dropped")),
    "transient_buffer-rotary": StateCase(
        lambda: nn.Sequential(nn.Linear(6, 8), Rotation(), nn.Linear(8, 3)),
        lambda: sequences(6),
        doubtful=("1.frequencies",),
    ),
    "integer_buffer": StateCase(
        Biased,
        lambda: rows(4),
        refused={"dynamo": "folded"},
        warned={"folded": UNWRITTEN},
        doubtful=("index",),
    ),
    "integer_buffer-equal": StateCase(
        lambda: nn.Sequential(Window(), Window(), nn.Linear(8, 3)),
        lambda: sequences(8),
        refused={"dynamo": "folded"},
        warned={"folded": UNWRITTEN},
        doubtful=("0.where", "1.where"),
    ),
    "integer_buffer-positions": StateCase(
        Positions, tokens, refused={"dynamo": "folded"}, doubtful=("position_ids",)
    ),
    "integer_buffer-first": StateCase(
        lambda: Positions(5),
        tokens,
        refused={"dynamo": "folded"},
        warned={"folded": UNWRITTEN},
        doubtful=("position_ids",),
    ),
    "integer_buffer-names": StateCase(
        Clashing, lambda: rows(8), refused={"dynamo": "folded"}, doubtful=("index",)
    ),
    "equal_norms": StateCase(
        lambda: nn.Sequential(nn.RMSNorm(8), nn.Linear(8, 8), nn.RMSNorm(8), nn.Linear(8, 4)),
        lambda: rows(8),
        closed=NO_RMS_NORM,
    ),
    "equal_norms-kinds": StateCase(lambda: _norms(trained=False), lambda: (torch.randn(16, 4, 6),)),
    "equal_norms-trained": StateCase(
        lambda: _norms(trained=True), lambda: (torch.randn(16, 4, 6),)
    ),
    "equal_norms-zero": StateCase(_zero_biases, lambda: pictures(3)),
    "softplus": StateCase(
        lambda: nn.Sequential(nn.Linear(8, 8), nn.Softplus(), nn.Linear(8, 3)), lambda: rows(8)
    ),
    "softplus-steep": StateCase(
        lambda: nn.Sequential(nn.Linear(8, 8), nn.Softplus(2, 9), nn.Mish(), nn.Linear(8, 3)),
        lambda: rows(8),
    ),
    "softplus-others": StateCase(
        lambda: nn.Sequential(
            nn.Linear(8, 8), nn.Hardswish(), nn.GELU("tanh"), nn.CELU(0.7), nn.Linear(8, 3)
        ),
        lambda: rows(8),
    ),
    "prelu": StateCase(
        lambda: nn.Sequential(
            nn.Linear(8, 8), nn.PReLU(), nn.Linear(8, 8), nn.PReLU(), nn.Linear(8, 3)
        ),
        lambda: rows(8),
    ),
    "prelu-channels": StateCase(
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.PReLU(8), nn.Conv2d(8, 8, 3), nn.PReLU(8), nn.PReLU(init=0.1)
        ),
        lambda: pictures(3),
    ),
    "prelu-scales": StateCase(
        lambda: nn.Sequential(Scaled(start=0.5), Scaled(start=0.5), nn.Linear(8, 3)),
        lambda: sequences(8),
    ),
    "folded_norms": StateCase(
        lambda: nn.Sequential(nn.Conv2d(3, 4, 1), Folding(), Folding()),
        lambda: pictures(3),
        refused=FOLDED,
    ),
    "folded_norms-transposed": StateCase(
        lambda: nn.Sequential(
            nn.ConvTranspose2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1)
        ),
        lambda: pictures(3),
        refused={"dynamo": "folded"},
    ),
    "folded_norms-linear": StateCase(
        lambda: nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)),
        lambda: rows(8),
        refused={"dynamo": "folded"},
    ),
    "joined_bias": StateCase(
        lambda: nn.Sequential(Joined(), nn.Linear(18, 4)), lambda: sequences(6), refused=FOLDED
    ),
    "joined_bias-doubled": StateCase(
        lambda: nn.Sequential(Doubled(6, 8), nn.ReLU(), Doubled(8, 3)),
        lambda: rows(6),
        refused=FOLDED,
    ),
    "joined_bias-halves": StateCase(
        lambda: nn.Sequential(Unpacked(), nn.Linear(8, 3)),
        lambda: rows(6),
        refused={"folded": "folded"},
    ),
    "named_const": StateCase(Canvas, lambda: rows(8)),
    "equal_norms-again": StateCase(
        lambda: Again(bias=True),
        lambda: sequences(8),
        shared=("head",),
        refused={"folded": "can't recover PyTorch's names", "dynamo": "fc_1"},
    ),
    "tied_head": StateCase(Language, tokens),
    "tied_head-three": StateCase(Translation, tokens),
    "tied_head-modules": StateCase(Twin, lambda: rows(8), shared=("right.0",)),
}
