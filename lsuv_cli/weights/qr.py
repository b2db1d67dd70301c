"""Which QR factorisation draws the orthonormal matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lsuv_cli.core.preinit import Float32Array, QrFactorisation, numpy_qr

if TYPE_CHECKING:
    from types import ModuleType

# Importing torch takes 2.6 s; its QR then does 70 GFLOP/s on two cores where numpy's, in float64,
# does 22 (measured on 4096 x 4096). Below this much work the import costs more than it saves.
TORCH_WORTHWHILE_FLOPS = 8e10


def choose_qr(flops: float) -> QrFactorisation:
    """The faster factorisation for this much work in all.

    The choice depends on the model alone, so that runs repeat each other to the bit.
    """
    if flops < TORCH_WORTHWHILE_FLOPS:
        return numpy_qr
    import torch

    return _torch_qr(torch)


def _torch_qr(torch: ModuleType) -> QrFactorisation:
    def qr(matrix: Float32Array) -> tuple[Float32Array, Float32Array]:
        q, r = torch.linalg.qr(torch.from_numpy(matrix))
        return np.asarray(q), np.asarray(r)

    return qr
