"""LSUV from Python: the command's engine, without its files and its screen."""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lsuv_cli.core.choices import AUTO_NAMES, BatchNorm, Bias, Per, PreInit
from lsuv_cli.core.errors import LsuvWarning, UsageError
from lsuv_cli.core.events import Silent
from lsuv_cli.core.limits import (
    check_divisors,
    check_globs,
    check_numbers,
    check_positive,
    check_whole,
    check_word,
)
from lsuv_cli.core.option_texts import parse_samples
from lsuv_cli.core.options import MEMORY_BYTES, InitOptions, SampleOptions
from lsuv_cli.core.records import Report
from lsuv_cli.graph.torch_arrays import as_tensor
from lsuv_cli.jobs.init import initialize as run_job
from lsuv_cli.names.exporters import names_words
from lsuv_cli.samples.memory import find_in_memory
from lsuv_cli.samples.open_samples import open_samples
from lsuv_cli.weights.formats import open_checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch

BYTES_NAME = Path("<bytes>")

PACKAGE = __name__.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Initialized:
    """What `initialize` gives.

    Attributes:
        report: what was measured and done at each layer.
        weights: the tensors by name, as the command would write them; bfloat16 as ml_dtypes'.
    """

    report: Report
    weights: dict[str, NDArray[Any]]

    def __repr__(self) -> str:
        return (
            f"<Initialized: {len(self.report.layers)} layers, {len(self.report.failures)} of them "
            f"failed, {len(self.weights)} tensors, {self.report.samples} samples>"
        )

    @property
    def converged(self) -> bool:
        """Whether every layer is as it was asked for."""
        return not self.report.failures

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The weights as PyTorch's tensors, for `load_state_dict`."""
        return {name: as_tensor(np.array(value)) for name, value in self.weights.items()}


def initialize(
    model: str | os.PathLike[str] | bytes,
    samples: Any,
    *,
    out: str | os.PathLike[str] | None = None,
    count: int | Literal["all"] | None = 128,
    seed: int = 0,
    mean: float | Iterable[float] = (),
    std: float | Iterable[float] = (),
    target_std: float = 1.0,
    tol: float = 1e-3,
    max_iter: int = 10,
    pre_init: Literal[
        "orthonormal", "delta-orthogonal", "he", "xavier", "lecun", "gaussian", "keep"
    ] = "orthonormal",
    bias: Literal["zero", "keep", "center"] = "zero",
    per: Literal["layer", "channel"] = "layer",
    bn: Literal["batch", "running"] = "batch",
    include: str | Iterable[str] = (),
    exclude: str | Iterable[str] = (),
    names: str = AUTO_NAMES,
    verify: bool = True,
    device: str = "auto",
    threads: int = 0,
    batch_size: int | None = None,
    memory_bytes: int = MEMORY_BYTES,
    force: bool = False,
) -> Initialized:
    """Initialise a model's weights by LSUV, as `lsuv init` does.

    Args:
        model: an ONNX or TorchScript file, or its bytes.
        samples: a path (file, folder, glob) as for `--data`; an array or tensor (n, ...) for a
            model with one input; a mapping of arrays by the inputs' names; or an iterable of
            batches, such as a DataLoader, of which a batch may also be a sequence that begins with
            the inputs. Of an iterable no more is taken than `count` samples.
        out: a safetensors file to write, too.
        count: samples to use, picked by the seed where there are more; None or "all" for all.
        seed: seeds the choice of samples and the draws.
        mean: subtracted from every channel (pictures: of pixels in [0, 1]); one number, or one a
            channel.
        std: divides every channel after that; likewise.
        target_std: standard deviation each layer's output is to have.
        tol: tolerated |Var / target_std^2 - 1|.
        max_iter: sweeps at most.
        pre_init: what the weights are before they are scaled.
        bias: what becomes of the biases.
        per: what shares one scale.
        bn: what BatchNormalization normalises with.
        include: a glob on layer and weight names, or several; only matching layers are
            initialised.
        exclude: a glob, or several, likewise; matching layers are left as they are.
        names: whose names the tensors get, as with --names: "auto", "onnx", "torch" or "keras".
        verify: measure the weights before and after.
        device: auto, cpu, cuda or cuda:N.
        threads: 0 for one a core.
        batch_size: samples that go through the network at once; None to choose.
        memory_bytes: bytes of samples and activations in memory.
        force: replace `out`.

    Raises:
        LsuvError: the model, the samples or an option can't be used, or `out` not be written. Its
            text may call an option as the command does, `--mean`.

    Warns:
        LsuvWarning: of what `lsuv init` warns of, as samples far from mean 0 and std 1.
    """
    if not isinstance(model, (str, bytes, os.PathLike)):
        raise UsageError(
            f"model: a value of the type {type(model).__name__} is neither a path nor bytes; "
            "export the model as ONNX, or save it as TorchScript"
        )
    if not isinstance(out, (str, os.PathLike, NoneType)):
        raise UsageError(f"out: a value of the type {type(out).__name__} is no path")
    if not isinstance(device, str):
        raise UsageError(f"device {device!r:.60}: not a text; give auto, cpu, cuda or cuda:N")
    means, stds = check_numbers("mean", mean), check_numbers("std", std)
    check_divisors("std", stds)
    seed = check_whole("seed", seed)
    is_path = isinstance(samples, (str, os.PathLike))
    with tempfile.TemporaryDirectory(prefix="lsuv-") as folder:
        path = Path(folder, "out.safetensors") if out is None else Path(out)
        options = InitOptions(
            model=BYTES_NAME if isinstance(model, bytes) else Path(model),
            content=model if isinstance(model, bytes) else None,
            out=path,
            samples=SampleOptions(
                data=(os.fspath(samples),) if is_path else (),
                count=_check_count(count),
                seed=seed,
                mean=means,
                std=stds,
                leave_out=(path,),
            ),
            seed=seed,
            target_std=check_positive("target_std", target_std),
            tol=check_positive("tol", tol),
            max_iter=check_whole("max_iter", max_iter),
            pre_init=check_word("pre_init", pre_init, PreInit),
            bias=check_word("bias", bias, Bias),
            per=check_word("per", per, Per),
            bn=check_word("bn", bn, BatchNorm),
            include=check_globs("include", include),
            exclude=check_globs("exclude", exclude),
            names=check_word("names", names, names_words()),
            verify=verify,
            device=device,
            threads=check_whole("threads", threads),
            batch_size=None if batch_size is None else check_whole("batch_size", batch_size),
            memory_bytes=check_whole("memory_bytes", memory_bytes),
            force=force,
        )
        find = open_samples if is_path else find_in_memory(samples)
        report = run_job(options, _Warnings(), find=find)
        written = open_checkpoint(path)
        weights = {name: np.array(written[name]) for name in written}
    return Initialized(report, weights)


class _Warnings(Silent):
    """Warnings are Python's, told of the line that called this package; the rest is not said."""

    def warn(self, text: str) -> None:
        depth = 2
        frame = sys._getframe(1)  # noqa: SLF001 - as `warnings` itself finds who has called
        while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == PACKAGE:
            frame = frame.f_back
            depth += 1
        warnings.warn(text, LsuvWarning, stacklevel=depth)


def _check_count(count: object) -> int | None:
    if count is None:
        return None
    return parse_samples(count, "count") if isinstance(count, str) else check_whole("count", count)
