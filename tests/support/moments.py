"""Moments of arrays, by numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lsuv_cli.core.moments import Moments

Data = NDArray[np.float64]


def moments_of(data: Data) -> Moments:
    """Return the moments of data of shape (n, c), per channel."""
    if not len(data):
        return Moments(0, np.full(data.shape[1], np.nan), np.full(data.shape[1], np.nan))
    return Moments(len(data), data.mean(axis=0), np.square(data).mean(axis=0))
