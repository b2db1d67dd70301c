"""Operators that PyTorch's exporter converts wrongly, in files of torch.export.save."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, scaled_dot_product_attention

from lsuv_cli import initialize
from lsuv_cli.core.errors import ModelError
from lsuv_cli.reading.torch_decompositions import attention, embedding_bag, grouped_product
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


class Windows(nn.Module):
    """Attention within windows, whose queries have five axes, and a linear layer."""

    def __init__(self, mask: Tensor | None = None, **options: Any) -> None:
        super().__init__()
        self.qkv, self.head = nn.Linear(FEATURES, 3 * 8), nn.Linear(8, 5)
        self.mask, self.options = mask, options

    def forward(self, x: Tensor) -> Tensor:
        parts = self.qkv(x).reshape(x.shape[0], 2, 3, 3, 4, 2)  # windows, tokens, parts, heads
        query, key, value = parts.permute(3, 0, 4, 1, 2, 5)
        y = scaled_dot_product_attention(query, key, value, self.mask, **self.options)
        z: Tensor = self.head(y.permute(0, 2, 3, 1, 4).reshape(x.shape[0], 6, 8))
        return z


class Experts(nn.Module):
    """Rows that are sorted by their expert, and multiplied in groups."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.head = nn.Linear(FEATURES, 3), nn.Linear(FEATURES, 5)
        self.up = nn.Parameter(torch.randn(3, FEATURES, 7))
        self.down = nn.Parameter(torch.randn(3, 7, FEATURES))

    def forward(self, x: Tensor) -> Tensor:
        expert = self.gate(x).argmax(-1)
        order = expert.argsort()
        ends = one_hot(expert, 3).sum(0).cumsum(0)
        multiply = torch.ops.transformers.grouped_mm_fallback
        y = multiply(multiply(x[order], self.up, ends).relu(), self.down, ends)
        z: Tensor = self.head(y[order.argsort()])
        return z


def multiply_groups(rows: Tensor, matrices: Tensor, ends: Tensor) -> Tensor:
    """What the transformers package registers as `grouped_mm_fallback`."""
    made, start = rows.new_zeros(rows.shape[0], matrices.shape[2]), 0
    for matrix, end in zip(matrices, ends.tolist(), strict=True):
        made[start:end] = rows[start:end] @ matrix
        start = end
    return made


@pytest.fixture
def package() -> Iterator[Any]:
    """The transformers package's operator, as if that were imported."""
    library: Any = torch.library.Library("transformers", "FRAGMENT")  # type: ignore[no-untyped-call]
    library.define("grouped_mm_fallback(Tensor input, Tensor weight, Tensor offs) -> Tensor")
    library.impl("grouped_mm_fallback", multiply_groups, "CPU")
    fake: Any = torch.library.register_fake
    fake(
        "transformers::grouped_mm_fallback",
        lambda rows, matrices, _: rows.new_empty(rows.shape[0], matrices.shape[2]),
        lib=library,
    )
    yield library
    library._destroy()


def ids() -> Tensor:
    words = torch.randint(ROWS, (SAMPLES, 4))
    words[0] = 0  # a bag of padding alone
    return words


def sequences() -> Tensor:
    return torch.randn(SAMPLES, 2, FEATURES)


def rows() -> Tensor:
    return torch.randn(SAMPLES, FEATURES)


def tokens() -> Tensor:
    return torch.randn(SAMPLES, 6, FEATURES)


def clips() -> Tensor:
    return torch.randn(SAMPLES, 3, 4, 8, 8)


def video() -> nn.Module:
    """Return convolutions over time, of which one has a bias."""
    strided = nn.Conv3d(3, 8, 3, stride=(1, 2, 2), padding=1, bias=False)
    last = (nn.ReLU(), nn.Conv3d(8, 4, 3, padding=1), nn.AdaptiveAvgPool3d(1), nn.Flatten())
    return nn.Sequential(strided, nn.BatchNorm3d(8), *last, nn.Linear(4, 3))


def save_program(folder: Path, model: nn.Module, x: Tensor) -> Path:
    path, batch = folder / "model.pt2", torch.export.Dim("batch")
    with silenced():
        torch.export.save(torch.export.export(model, (x[:4],), dynamic_shapes=({0: batch},)), path)
    return path


@pytest.mark.parametrize("imported", [True, False])
def test_experts_by_a_package_s_operator(tmp_path: Path, package: Any, imported: bool) -> None:
    """Each matrix is a layer, whether or not the package is imported."""
    torch.manual_seed(0)
    model, x = Experts().eval(), rows()
    path = save_program(tmp_path, model, x)
    if not imported:
        package._destroy()
    result = initialize(path, x, device="cpu")
    names = {one.planned.layer.name for one in result.report.layers}
    assert names >= {f"{part}[{e}:{e + 1}]" for part in ("up", "down") for e in range(3)}
    assert result.converged
    assert hasattr(torch.ops.transformers, "grouped_mm_fallback") is imported
    model.load_state_dict(result.state_dict(), strict=True)
    # By eager PyTorch, each expert on its own rows.
    with torch.no_grad():
        made = [model.gate(x)]
        expert = made[0].argmax(-1)
        for e in range(3):
            first = x[expert == e] @ model.up[e]
            made += [first, first.relu() @ model.down[e]]
    for value in made:
        assert float(value.var(correction=0)) == pytest.approx(1, abs=1e-3)


def test_an_operator_that_no_one_has_registered_is_named(tmp_path: Path, package: Any) -> None:
    package.define("unknown(Tensor x) -> Tensor")
    package.impl("unknown", torch.clone, "CPU")
    fake: Any = torch.library.register_fake
    fake("transformers::unknown", torch.empty_like, lib=package)

    class Calling(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = torch.ops.transformers.unknown(super().forward(x))
            return y

    x = rows()
    path = save_program(tmp_path, Calling(FEATURES, 3).eval(), x)
    package._destroy()
    with pytest.raises(ModelError, match="calls transformers::unknown, an operator that PyTorch "):
        initialize(path, x, device="cpu")


@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (3, 5, 4)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"is_causal": True, "scale": 0.2},
        {"attn_mask": torch.arange(25).reshape(5, 5) % 3 > 0},
        {"attn_mask": torch.arange(25.0).reshape(5, 5) / 25},
    ],
    ids=["plain", "causal", "mask", "bias"],
)
def test_attention(shape: tuple[int, ...], options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, *(shape if len(shape) == 3 else (2, *shape)))
    expected = scaled_dot_product_attention(query, key, value, **options)
    torch.testing.assert_close(attention(query, key, value, **options), expected)


def test_heads_that_share_keys() -> None:
    torch.manual_seed(0)
    query, key = torch.randn(2, 2, 6, 5, 4), torch.randn(2, 2, 3, 5, 4)
    expected = scaled_dot_product_attention(query, key, key, enable_gqa=True)
    torch.testing.assert_close(attention(query, key, key, enable_gqa=True), expected)


@pytest.mark.parametrize("ends", [[2, 5, 7], [0, 7, 7], [3, 3, 7]])
def test_groups_of_rows(ends: list[int]) -> None:
    given = torch.randn(7, 4), torch.randn(3, 4, 2), torch.tensor(ends)
    torch.testing.assert_close(grouped_product(*given), multiply_groups(*given))


@pytest.mark.parametrize(
    ("make", "samples"),
    [
        (lambda: Bags("sum", weighted=True), ids),
        (lambda: Bags("mean", padding=True), ids),
        (lambda: Bags("max", padding=True), ids),
        (Projected, sequences),
        (lambda: Projected(bidirectional=True, bias=False), sequences),
        (video, clips),
        (Windows, tokens),
        (lambda: Windows(torch.ones(3, 3).tril() > 0, scale=0.3), tokens),
    ],
    ids=["sum", "mean", "max", "LSTM", "two directions", "video", "windows", "masked windows"],
)
def test_a_program_is_initialised(
    tmp_path: Path, make: Callable[[], nn.Module], samples: Callable[[], Tensor]
) -> None:
    torch.manual_seed(0)
    model, x = make().eval(), samples()
    path = save_program(tmp_path, model, x)
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
