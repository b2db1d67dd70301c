"""The layout of a layer's weight in memory, and the matrix that it stands for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor's shape and numpy dtype."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """The size of the tensor in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


class Order(StrEnum):
    """The position of the output channels among a weight's axes."""

    CONV = "conv"  # (out, in/groups, *kernel)
    CONV_TRANSPOSE = "conv_transpose"  # (in, out/groups, *kernel)
    OUT_IN = "out_in"  # (*batch, out, in)
    IN_OUT = "in_out"  # (*batch, in, out)


@dataclass(frozen=True, slots=True)
class WeightLayout:
    """The shape of a weight and the meaning of its axes.

    Attributes:
        shape: the weight's shape as it is stored; never empty.
        order: the meaning of its axes.
        groups: independent groups of a convolution; 1 elsewhere.
    """

    shape: tuple[int, ...]
    order: Order
    groups: int = 1

    @property
    def is_convolution(self) -> bool:
        """Return whether the weight has kernel axes."""
        return self.order in (Order.CONV, Order.CONV_TRANSPOSE)

    @property
    def kernel(self) -> tuple[int, ...]:
        """The kernel's shape; empty for a fully connected layer."""
        return self.shape[2:] if self.is_convolution else ()

    @property
    def out_channels(self) -> int:
        """The number of output channels, over all groups."""
        match self.order:
            case Order.CONV:
                return self.shape[0]
            case Order.CONV_TRANSPOSE:
                return self.shape[1] * self.groups
            case Order.OUT_IN:
                return self.shape[-2]
            case Order.IN_OUT:
                return self.shape[-1]

    @property
    def in_channels(self) -> int:
        """The number of input channels of one group."""
        match self.order:
            case Order.CONV:
                return self.shape[1]
            case Order.CONV_TRANSPOSE:
                return self.shape[0] // self.groups
            case Order.OUT_IN:
                return self.shape[-1]
            case Order.IN_OUT:
                return self.shape[-2]

    @property
    def fan_in(self) -> int:
        """The number of terms in the sum that makes one output of a unit-stride layer."""
        return self.in_channels * math.prod(self.kernel)

    @property
    def fan_out(self) -> int:
        """The number of outputs of one group that one input of a unit-stride layer reaches."""
        return self.out_channels // self.groups * math.prod(self.kernel)

    @property
    def matrices(self) -> tuple[int, int, int]:
        """The shape (groups, rows, columns) of the matrices that are made orthonormal.

        Rows are output channels of a convolution, input channels of a transposed convolution (its
        adjoint), and the second last axis of a fully connected weight. One with batch axes
        holds one matrix for each of their indices.
        """
        if self.is_convolution:
            rows = self.shape[0] // self.groups
            return self.groups, rows, math.prod(self.shape[1:])
        return math.prod(self.shape[:-2]), self.shape[-2], self.shape[-1]

    def as_matrices(self, weight: FloatArray) -> FloatArray:
        """View a weight of this layout as (groups, rows, columns)."""
        return weight.reshape(self.matrices)

    def rescale(self, weight: FloatArray, scale: FloatArray) -> FloatArray:
        """Multiply a weight by one scale, or by one scale for each output channel.

        Args:
            weight: array of `shape`; not modified.
            scale: () or (out_channels,) float64.

        Returns:
            A new array of `shape` and of the weight's dtype, rounded once, from float64.
        """
        if scale.ndim == 0:
            factors = scale
        elif self.order is Order.CONV:
            factors = scale.reshape(-1, *(1,) * (len(self.shape) - 1))
        elif self.order is Order.CONV_TRANSPOSE:
            by_group = scale.reshape(self.groups, 1, -1)  # (g, 1, out/g)
            by_input = np.repeat(by_group, self.shape[0] // self.groups, axis=1)
            factors = by_input.reshape(*self.shape[:2], *(1,) * len(self.kernel))
        elif self.order is Order.OUT_IN:
            factors = scale[:, None]
        else:
            factors = scale
        return rescaled(weight, factors)


def rescaled(value: FloatArray, factors: FloatArray) -> FloatArray:
    """Multiply an array by factors.

    Args:
        value: array of any float dtype; not modified.
        factors: float64, of a shape that broadcasts against the value's.

    Returns:
        A new array of the value's shape and dtype, rounded once, from float64.
    """
    result = np.empty_like(value)
    # In float64 through numpy's small cast buffer: rounded once, and never held whole.
    np.multiply(value, factors, out=result, dtype=np.float64, casting="same_kind")
    return result
