"""The QR factorisation that draws orthonormal matrices, and its number of threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from lsuv_cli.core.preinit import Float32Array, QrFactorisation, numpy_qr

if TYPE_CHECKING:
    from types import ModuleType

# Importing torch takes 2.6 s; its QR then does 70 GFLOP/s on two cores where numpy's, in float64,
# does 22 (measured on 4096 x 4096). Below this much work the import costs more than it saves.
TORCH_WORTHWHILE_FLOPS = 8e10

A = TypeVar("A")
B = TypeVar("B")


class Map(Protocol):
    """The builtin `map` of a function of one argument."""

    def __call__(self, function: Callable[[A], B], values: Iterable[A], /) -> Iterable[B]:
        """Return the function's results, in the order of the values."""


@dataclass(frozen=True, slots=True)
class Factorisation:
    """A way of factorising matrices, to make them orthonormal.

    Attributes:
        qr: reduced QR factorisation of a tall float32 matrix.
        at_once: matrices factorised at the same time, one thread each; None for one after the
            other, each on as many threads as it likes.
    """

    qr: QrFactorisation
    at_once: int | None

    @contextmanager
    def mapping(self) -> Iterator[Map]:
        """Yield a `map` whose function may factorise matrices.

        numpy's BLAS spins while its threads wait for each other: where other work, or a container's
        quota, takes a core from them, a matrix takes a hundred times as long. So each is left to
        one thread, and several are made at once.
        """
        if self.at_once is None:
            yield map
            return
        from threadpoolctl import threadpool_limits

        pool = ThreadPoolExecutor(self.at_once)
        try:
            with threadpool_limits(1, user_api="blas"):
                yield pool.map
        finally:
            pool.shutdown(cancel_futures=True)


def choose_qr(flops: float, device: str = "cpu", threads: int = 0) -> Factorisation:
    """Return the faster factorisation for this much work in total.

    The choice depends on the model and the device alone, so that runs repeat each other to the bit.

    Args:
        flops: floating-point operations of all factorisations.
        device: where the model runs; torch factorises on the same GPU if it can use it.
        threads: the number of threads; 0 for one per core.
    """
    if flops < TORCH_WORTHWHILE_FLOPS:
        return Factorisation(numpy_qr, threads or _cores())
    import torch

    if threads:
        torch.set_num_threads(threads)
    has_gpu = device.startswith("cuda") and torch.cuda.is_available()
    return Factorisation(_torch_qr(torch, device if has_gpu else "cpu"), None)


def _cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _torch_qr(torch: ModuleType, device: str) -> QrFactorisation:
    def qr(matrix: Float32Array) -> tuple[Float32Array, Float32Array]:
        q, r = torch.linalg.qr(torch.from_numpy(matrix).to(device))
        return np.asarray(q.cpu()), np.asarray(r.cpu())

    return qr
