"""LSUV from Python: the command's engine, without its files and its screen."""

from __future__ import annotations

import inspect
import os
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import NDArray

from lsuv_cli.core.errors import LsuvWarning, UsageError
from lsuv_cli.core.events import Silent
from lsuv_cli.core.records import Report
from lsuv_cli.graph.torch_arrays import as_tensor
from lsuv_cli.jobs.init import initialize_weights
from lsuv_cli.jobs.init_keywords import InitKeywords, init_options, with_keywords
from lsuv_cli.samples.memory import find_in_memory
from lsuv_cli.samples.open_samples import open_samples
from lsuv_cli.weights.formats import open_checkpoint

if TYPE_CHECKING:
    import torch

BYTES_NAME = Path("<bytes>")

PACKAGE = __name__.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Initialized:
    """The result of `initialize`.

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
        """True if every layer is within tolerance."""
        return not self.report.failures

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the weights as PyTorch tensors, for `load_state_dict`."""
        return {name: as_tensor(np.array(value)) for name, value in self.weights.items()}


def initialize(
    model: str | os.PathLike[str] | bytes,
    samples: Any,
    *,
    out: str | os.PathLike[str] | None = None,
    force: bool = False,
    **keywords: Unpack[InitKeywords],
) -> Initialized:
    """Initialise a model's weights by LSUV, as `lsuv init` does.

    Args:
        model: an ONNX, .pt2 or TorchScript file, or its bytes.
        samples: a path (file, folder, glob) as for `--data`; an array or tensor (n, ...) for a
            model with one input; a mapping of arrays by the inputs' names; or an iterable of
            batches, such as a DataLoader, of which a batch may also be a sequence that begins with
            the inputs. Of an iterable no more than `count` samples are taken.
        out: a safetensors file to write as well.
        force: replace `out`.
        count: samples to use, picked by the seed where there are more; None or "all" for all.
        seed: seeds the choice of samples and the draws.
        mean: subtracted from every channel (pictures: of pixels in [0, 1]); one number, or one per
            channel.
        std: divides every channel after that; likewise.
        target_std: standard deviation that each layer's output is to have.
        tol: tolerated |Var / target_std^2 - 1|.
        max_iter: maximum number of sweeps.
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
        threads: threads within an operator; 0 for one per core.
        batch_size: samples that go through the network at once; None to choose.
        memory_bytes: bytes of samples and activations in memory.

    Raises:
        LsuvError: the model, the samples or an option can't be used, or `out` can't be written. Its
            text may call an option by its name on the command line, `--mean`.

    Warns:
        LsuvWarning: where `lsuv init` warns, for example of samples far from mean 0 and std 1.
    """
    content = model if isinstance(model, bytes) else None
    path = BYTES_NAME if content is not None else _path("model", model)
    is_path = isinstance(samples, (str, os.PathLike))
    data = (os.fspath(samples),) if is_path else ()
    with tempfile.TemporaryDirectory(prefix="lsuv-") as folder:
        file = Path(folder, "out.safetensors") if out is None else _path("out", out)
        options = init_options(path, content, data, file, force=force, keywords=keywords)
        find = open_samples if is_path else find_in_memory(samples)
        report = initialize_weights(options, _Warnings(), find=find)
        written = open_checkpoint(file)
        return Initialized(report, {name: np.array(written[name]) for name in written})


initialize.__signature__ = with_keywords(  # type: ignore[attr-defined]
    inspect.signature(initialize)
)


def _path(name: str, value: object) -> Path:
    """Return a path that was given as a parameter.

    Raises:
        UsageError: it is none.
    """
    if isinstance(value, (str, os.PathLike)):
        return Path(value)
    kind = type(value).__name__
    if name == "model":
        raise UsageError(
            f"model: a value of the type {kind} is neither a path nor bytes; "
            "export it by torch.export.save or to ONNX"
        )
    raise UsageError(f"{name}: a value of the type {kind} is no path")


class _Warnings(Silent):
    """Turns warnings into Python's, at the line that called this package; drops the rest."""

    def warn(self, text: str) -> None:
        """Warn of a line outside this package."""
        depth = 2
        frame = sys._getframe(1)  # noqa: SLF001 - as `warnings` itself finds who has called
        while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == PACKAGE:
            frame = frame.f_back
            depth += 1
        warnings.warn(text, LsuvWarning, stacklevel=depth)
