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


def choose_qr(flops: float, device: str = "cpu") -> QrFactorisation:
    """The faster factorisation for this much work in all.

    The choice depends on the model and the device alone, so that runs repeat each other to the bit.

    Args:
        flops: the work.
        device: where the model runs; on a GPU that torch can use too, it factorises there.
    """
    if flops < TORCH_WORTHWHILE_FLOPS:
        return numpy_qr
    import torch

    has_gpu = device.startswith("cuda") and torch.cuda.is_available()
    return _torch_qr(torch, device if has_gpu else "cpu")


def _torch_qr(torch: ModuleType, device: str) -> QrFactorisation:
    def qr(matrix: Float32Array) -> tuple[Float32Array, Float32Array]:
        q, r = torch.linalg.qr(torch.from_numpy(matrix).to(device))
        return np.asarray(q.cpu()), np.asarray(r.cpu())

    return qr
