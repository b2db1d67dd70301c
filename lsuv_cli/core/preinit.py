"""Draws of weights before they are scaled."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lsuv_cli.core.choices import PreInit
from lsuv_cli.core.layout import FloatArray, WeightLayout

GAUSSIAN_STD = 0.01  # Krizhevsky, Sutskever & Hinton 2012; Caffe's reference models

Float32Array = NDArray[np.float32]
QrFactorisation = Callable[[Float32Array], tuple[Float32Array, Float32Array]]


def generator(seed: int, name: str) -> np.random.Generator:
    """Return a stream of random numbers for one weight.

    It depends on the seed and the weight's name alone: adding a layer, skipping one or changing
    the number of threads changes no other layer's draw.
    """
    digest = hashlib.sha256(f"{seed}\0{name}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


def numpy_qr(matrix: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Return the reduced QR factorisation: LAPACK in float64, rounded to float32."""
    q, r = np.linalg.qr(matrix)
    return q, r


def orthonormal_flops(layout: WeightLayout) -> float:
    """Count the floating-point operations of the QRs (Golub & Van Loan, 5.2.2 and 5.1.6)."""
    groups, rows, columns = layout.matrices
    long, short = max(rows, columns), min(rows, columns)
    return groups * 4.0 * short**2 * (long - short / 3)


def haar_matrix(
    rng: np.random.Generator, rows: int, columns: int, qr: QrFactorisation
) -> Float32Array:
    """Draw a matrix uniformly among those with orthonormal rows or columns, whichever are shorter.

    QR of a Gaussian matrix with the sign of R's diagonal moved into Q: without it the result is
    not Haar-distributed (Mezzadri 2007).
    """
    long, short = max(rows, columns), min(rows, columns)
    q, r = qr(rng.standard_normal((long, short), dtype=np.float32))
    q = q * np.where(np.diagonal(r) < 0, np.float32(-1), np.float32(1))
    return q if rows >= columns else q.T


def draw(
    kind: PreInit,
    layout: WeightLayout,
    rng: np.random.Generator,
    qr: QrFactorisation = numpy_qr,
) -> Float32Array:
    """Draw a weight.

    Args:
        kind: the distribution; not KEEP, which draws nothing.
        layout: the weight's shape and the meaning of its axes.
        rng: the stream to draw from.
        qr: reduced QR factorisation of a tall float32 matrix.

    Returns:
        A new C-contiguous float32 array of the layout's shape.
    """
    match kind:
        case PreInit.ORTHONORMAL:
            groups, rows, columns = layout.matrices
            weight = np.empty(layout.matrices, np.float32)
            for group in range(groups):
                weight[group] = haar_matrix(rng, rows, columns, qr)
            return weight.reshape(layout.shape)
        case PreInit.DELTA_ORTHOGONAL:
            return _delta_orthogonal(layout, rng, qr)
        case PreInit.HE:
            std = math.sqrt(2 / layout.fan_in)  # He et al. 2015, eq. 10
        case PreInit.XAVIER:
            std = math.sqrt(2 / (layout.fan_in + layout.fan_out))  # Glorot & Bengio 2010, eq. 12
        case PreInit.LECUN:
            std = math.sqrt(1 / layout.fan_in)  # LeCun et al. 1998, eq. 16
        case PreInit.GAUSSIAN:
            std = GAUSSIAN_STD
        case PreInit.KEEP:
            raise AssertionError("kept weights are not drawn")
    return rng.standard_normal(layout.shape, dtype=np.float32) * np.float32(std)


def _delta_orthogonal(
    layout: WeightLayout, rng: np.random.Generator, qr: QrFactorisation
) -> Float32Array:
    """Draw an orthonormal matrix at the kernel's centre (Xiao et al. 2018, alg. 1)."""
    if not layout.is_convolution:
        return draw(PreInit.ORTHONORMAL, layout, rng, qr)
    weight = np.zeros(layout.shape, np.float32)
    rows, columns = layout.shape[0] // layout.groups, layout.shape[1]
    for group in range(layout.groups):
        block = weight[group * rows : (group + 1) * rows]
        for size in reversed(layout.kernel):
            block = block[..., size // 2]  # from (out, in, *kernel) to (out, in)
        block[...] = haar_matrix(rng, rows, columns, qr)
    return weight


def gram_deviation(layout: WeightLayout, weight: FloatArray) -> float:
    """Return the largest |W W^T - I| (or |W^T W - I|, the shorter side) of a weight's matrices."""
    worst = 0.0
    for matrix in layout.as_matrices(weight).astype(np.float64):
        gram = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
        worst = max(worst, float(np.abs(gram - np.eye(len(gram))).max()))
    return worst
