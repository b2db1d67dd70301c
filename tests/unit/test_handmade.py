"""Weights that look made by hand, and those that may be drawn or trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from lsuv_cli.core.choices import PreInit
from lsuv_cli.core.layout import Order, WeightLayout
from lsuv_cli.core.preinit import draw
from lsuv_cli.layers.handmade import filters_of, signs_of_hand

Array = NDArray[np.float32]


def signs(weight: Any, order: Order = Order.CONV, groups: int = 1) -> str:
    array = np.asarray(weight, np.float32)
    return signs_of_hand(filters_of(array, WeightLayout(array.shape, order, groups)))


def outer(line: list[float]) -> Array:
    return np.outer(line, line).astype(np.float32)


def hann(size: int) -> Array:
    return np.asarray(torch.hann_window(size))


def fourier(size: int) -> Array:
    """Kernels of a short-time Fourier transform: cosines, and sines below, within a window."""
    angles = 2 * np.pi * np.outer(np.arange(size // 2 + 1), np.arange(size)) / size
    basis = np.concatenate((np.cos(angles), -np.sin(angles))) * hann(size)
    return basis.astype(np.float32)


def triangles(bins: int, bands: int) -> Array:
    """A bank of triangular filters whose widths grow, as on the mel scale."""
    edges = np.linspace(0, math.sqrt(bins), bands + 2) ** 2
    places = np.arange(bins)[:, None]
    rising = (places - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - places) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def dct(size: int, kept: int) -> Array:
    places = np.pi / size * (np.arange(size)[:, None] + 0.5) * np.arange(kept)
    scales = np.where(np.arange(kept) == 0, math.sqrt(1 / size), math.sqrt(2 / size))
    matrix: Array = (np.cos(places) * scales).astype(np.float32)
    return matrix


def wavelets(size: int, count: int) -> Array:
    """Sines in windows that become shorter as the pitch rises."""
    kernels = np.zeros((count, size), np.float32)
    for row, kernel in enumerate(kernels):
        length = size - 5 - 5 * row
        start = (size - length) // 2
        places = np.arange(length)
        kernel[start : start + length] = np.sin(12 * places / length + row) * np.hanning(length)
    return kernels


def dense(kernel: Array, channels: int) -> Array:
    """A kernel for each channel, and zeros between different ones."""
    return np.eye(channels, dtype=np.float32)[:, :, None, None] * kernel


BINOMIAL = outer([1, 4, 6, 4, 1]) / 256
GAUSSIAN = outer([0.25, 0.5, 0.25]) ** 1.3
SOBEL = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]], np.float32)
LAPLACE = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]], np.float32)
BILINEAR = outer([0.25, 0.75, 0.75, 0.25])
THIRDS = outer([1 / 3, 2 / 3, 1, 2 / 3, 1 / 3])
SINC = np.sinc(np.arange(-12, 13) / 3) * np.hanning(25)

MADE = {
    "binomial blur, depthwise": (np.tile(BINOMIAL, (4, 1, 1, 1)), Order.CONV, 4),
    "binomial blur of one channel": (BINOMIAL[None, None], Order.CONV, 1),
    "1 2 1 blur": (outer([1, 2, 1])[None, None] / 16, Order.CONV, 1),
    "Gaussian blur": (GAUSSIAN[None, None] / GAUSSIAN.sum(), Order.CONV, 1),
    "Gaussian blur, depthwise": (np.tile(GAUSSIAN, (3, 1, 1, 1)), Order.CONV, 3),
    "averaging box": (np.full((8, 1, 3, 3), 1 / 9), Order.CONV, 8),
    "averaging box of one channel": (np.full((1, 1, 2, 2), 1 / 4), Order.CONV, 1),
    "mean over channels": (np.full((1, 7, 1, 1), 1 / 7), Order.CONV, 1),
    "Sobel": (np.stack((SOBEL, SOBEL.T))[:, None], Order.CONV, 1),
    "Sobel over 8": (SOBEL[None, None] / 8, Order.CONV, 1),
    "Laplace": (LAPLACE[None, None], Order.CONV, 1),
    "finite differences": (np.tile([[[-1.0, 1.0]]], (4, 1, 1)), Order.CONV, 4),
    "Haar wavelets": (
        np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]).reshape(4, 1, 2, 2)
        / 2,
        Order.CONV,
        1,
    ),
    "mel bank": (triangles(201, 40), Order.IN_OUT, 1),
    "mel bank on the left": (triangles(201, 40).T, Order.OUT_IN, 1),
    "small filter bank": (triangles(20, 6), Order.IN_OUT, 1),
    "STFT": (fourier(64)[:, None], Order.CONV, 1),
    "small STFT": (fourier(8)[:, None], Order.CONV, 1),
    "inverse STFT": (fourier(32)[:, None] / 7, Order.CONV_TRANSPOSE, 1),
    "STFT as a matrix": (fourier(32).T, Order.IN_OUT, 1),
    "DCT as a matrix": (dct(40, 13), Order.IN_OUT, 1),
    "DCT on the left": (dct(40, 40).T, Order.OUT_IN, 1),
    "Hann window": (hann(32)[None, None], Order.CONV, 1),
    "short Hann window": (hann(9)[None, None], Order.CONV, 1),
    "windowed sinc": (SINC[None, None], Order.CONV, 1),
    "constant-Q kernels": (wavelets(64, 9)[:, None], Order.CONV, 1),
    "arange of YOLO's DFL": (np.arange(16.0).reshape(1, 16, 1, 1), Order.CONV, 1),
    "arange as a matrix": (np.arange(17.0)[:, None], Order.IN_OUT, 1),
    "identity": (np.eye(8), Order.IN_OUT, 1),
    "identity of a convolution": (dense(outer([0, 1, 0]), 8), Order.CONV, 1),
    "patches": (np.eye(9).reshape(9, 1, 3, 3), Order.CONV, 1),
    "bilinear upsampling": (dense(BILINEAR, 4), Order.CONV_TRANSPOSE, 1),
    "bilinear upsampling, depthwise": (np.tile(BILINEAR, (4, 1, 1, 1)), Order.CONV_TRANSPOSE, 4),
    "bilinear upsampling by 3": (dense(THIRDS, 3), Order.CONV_TRANSPOSE, 1),
    "bilinear upsampling of one channel": (THIRDS[None, None], Order.CONV_TRANSPOSE, 1),
}


@pytest.mark.parametrize("name", MADE)
def test_filters_made_by_hand(name: str) -> None:
    weight, order, groups = MADE[name]
    assert signs(weight, order, groups)
    # Also where they were rounded.
    assert signs(np.asarray(weight).astype(np.float16), order, groups)


def of_torch(init: Callable[[torch.Tensor], object]) -> Callable[[WeightLayout, int], Array]:
    def make(layout: WeightLayout, seed: int) -> Array:
        torch.manual_seed(seed)
        weight = torch.empty(layout.shape)
        init(weight)
        return weight.numpy()

    return make


def drawn(kind: PreInit) -> Callable[[WeightLayout, int], Array]:
    return lambda layout, seed: draw(kind, layout, np.random.default_rng(seed))


INITS: dict[str, Callable[[WeightLayout, int], Array]] = {
    **{kind.value: drawn(kind) for kind in PreInit if kind is not PreInit.KEEP},
    "normal": of_torch(nn.init.normal_),
    "uniform": of_torch(lambda w: nn.init.uniform_(w, -0.1, 0.1)),
    "kaiming": of_torch(lambda w: nn.init.kaiming_uniform_(w, a=math.sqrt(5))),
    "truncated": of_torch(lambda w: nn.init.trunc_normal_(w, std=0.02)),
    "orthogonal": of_torch(nn.init.orthogonal_),
    "zeros": of_torch(nn.init.zeros_),
    "ones": of_torch(nn.init.ones_),
    "constant": of_torch(lambda w: nn.init.constant_(w, 1e-5)),
    "sparse": of_torch(lambda w: nn.init.sparse_(w.view(w.shape[0], -1), 0.5)),
}
SIZES = st.sampled_from((1, 1, 2, 3, 4, 5, 8, 16, 33))


@st.composite
def layouts(draw_: Any) -> WeightLayout:
    order = draw_(st.sampled_from(Order))
    if order in (Order.OUT_IN, Order.IN_OUT):
        batch = draw_(st.sampled_from(((), (), (3,))))
        return WeightLayout((*batch, draw_(SIZES), draw_(SIZES)), order)
    kernel = draw_(st.sampled_from(((1,), (3,), (10,), (1, 1), (2, 2), (3, 3), (1, 7), (3, 3, 3))))
    groups = draw_(st.sampled_from((1, 1, 2, 4)))
    each, other = draw_(SIZES), draw_(SIZES)
    if draw_(st.booleans()):  # depthwise
        groups, each, other = draw_(SIZES), 1, 1
    return WeightLayout((groups * each, other, *kernel), order, groups)


@settings(max_examples=400, deadline=None)
@given(
    layout=layouts(),
    init=st.sampled_from(sorted(INITS)),
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from((np.float32, np.float16, ml_dtypes.bfloat16)),
)
def test_usual_initialisations_are_not_taken_for_made_ones(
    layout: WeightLayout, init: str, seed: int, dtype: Any
) -> None:
    weight = INITS[init](layout, seed)
    if init != "sparse":
        assert weight.shape == layout.shape
    rounded = weight.reshape(layout.shape).astype(dtype).astype(np.float32)
    assert signs_of_hand(filters_of(rounded, layout)) == ""


def test_trained_weights_are_not_taken_for_made_ones() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4), nn.Flatten(), nn.Linear(64, 1)
    )
    optimiser = torch.optim.Adam(net.parameters(), 1e-2, weight_decay=1e-3)
    x = torch.rand(128, 1, 8, 8)
    target = x.mean((1, 2, 3))[:, None] * 10
    for _ in range(200):
        optimiser.zero_grad()
        (net(x) - target).square().mean().backward()
        optimiser.step()
    for name, value in net.state_dict().items():
        if name.endswith("weight"):
            order = Order.CONV if value.ndim > 2 else Order.OUT_IN
            assert signs(value, order) == "", name


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_not_judged(value: float) -> None:
    assert signs(np.full((4, 4), value), Order.OUT_IN) == ""
