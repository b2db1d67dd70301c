"""LSUV from Python: the commands' engine, without their files and their screen."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar, Unpack

import numpy as np

from lsuv_cli.api.given import NO_SAMPLES, Given, own_state, take
from lsuv_cli.api.in_place import kept_random_states, load_in_place
from lsuv_cli.api.keywords import (
    CHECKS,
    CompareKeywords,
    InitKeywords,
    InspectKeywords,
    VerifyKeywords,
    options_from,
    refuse_unknown,
    with_keywords,
)
from lsuv_cli.api.python_warnings import PythonWarnings
from lsuv_cli.api.results import Compared, Initialized, Inspected, Verified
from lsuv_cli.core.errors import UsageError
from lsuv_cli.core.events import Events
from lsuv_cli.core.layout import FloatArray
from lsuv_cli.core.options import (
    CompareOptions,
    InitOptions,
    InspectOptions,
    SampleOptions,
    VerifyOptions,
)
from lsuv_cli.graph.torch_arrays import as_tensor
from lsuv_cli.jobs.compare import compare_inits
from lsuv_cli.jobs.init import initialize_weights
from lsuv_cli.jobs.inspect import inspect_model
from lsuv_cli.jobs.opening import OpenModel
from lsuv_cli.jobs.verify import verify_weights
from lsuv_cli.samples.open_samples import FindSamples
from lsuv_cli.weights.formats import open_checkpoint

OptionsT_contra = TypeVar(
    "OptionsT_contra", InitOptions, VerifyOptions, CompareOptions, contravariant=True
)
ReportT_co = TypeVar("ReportT_co", covariant=True)


def initialize(
    model: Any,
    samples: Any,
    *,
    out: str | os.PathLike[str] | None = None,
    force: bool = False,
    **keywords: Unpack[InitKeywords],
) -> Initialized:
    """Initialise a model's weights by LSUV, as `lsuv init` does, and return them.

    A module stays as it is, and so do the global random states.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> result = initialize(module, torch.randn(64, 4), device="cpu")
        >>> result.converged
        True
        >>> {name: tuple(value.shape) for name, value in result.state_dict().items()}
        {'0.weight': (8, 4), '0.bias': (8,), '2.weight': (2, 8), '2.bias': (2,)}

    Args:
        model: a PyTorch module, an exported program, or the path of an ONNX, .pt2 or TorchScript
            file, or its bytes.
        samples: a path (file, folder, glob) as for `--data`; a data set or an iterable of batches,
            such as a DataLoader; an array or tensor (n, ...) for a model with one input; or a
            mapping of arrays by the inputs' names. A batch is one of the latter two, or a sequence
            that begins with the inputs, as (pictures, labels). Of an iterable no more than `count`
            samples are taken.
        out: a safetensors file to write as well.
        force: replace `out`.
        count: samples to use, picked by the seed where there are more; None or "all" for all.
        input_shapes: sizes without the batch axis by the inputs' names, where neither the model nor
            the samples tell them.
        batch_axes: the axis along which an input's samples lie, by the inputs' names; None for one
            that is the same for all samples. By default the one that the model names after the
            batch, else the first.
        feeds: what an input takes whatever the samples are, by the inputs' names: a number, a list
            or an array.
        seed: seeds the choice of samples and the draws.
        mean: subtracted from every channel (pictures: of pixels in [0, 1]); one number, or one per
            channel.
        std: divides every channel after that; likewise.
        target_std: standard deviation that each layer's output is to have.
        target: other standard deviations by globs on layer and weight names; the last match counts.
        tol: tolerated |Var / target_std^2 - 1|.
        max_iter: maximum number of sweeps.
        pre_init: what the weights are before they are scaled.
        bias: what becomes of the biases.
        per: what shares one scale.
        bn: what BatchNormalization normalises with.
        include: a glob on layer and weight names, or several; only matching layers are
            initialised.
        exclude: a glob, or several, likewise; matching layers are left as they are.
        names: whose names the tensors of an ONNX file get, as with --names: "auto", "onnx", "torch"
            or "keras".
        verify: measure the weights before and after.
        device: auto, cpu, cuda or cuda:N.
        threads: threads within an operator; 0 for one per core.
        batch_size: samples that go through the network at once; None to choose.
        memory_bytes: bytes of samples and activations in memory.

    Returns:
        What was done at each layer, and the written tensors by name: a module's or program's
        state_dict, with its keys, shapes and dtypes; a file's parameters under the names that they
        are written with.

    Raises:
        UsageError: a keyword is unknown, or an option can't be used.
        ModelError: the model can't be used.
        DataError: the samples can't be used.
        LsuvError: the base of these; by itself where `out` can't be written, or memory ran out. Its
            text may call an option by its name on the command line, `--mean`.

    Warns:
        LsuvWarning: where `lsuv init` warns, for example of samples far from mean 0 and std 1.
    """
    refuse_unknown("initialize", keywords, InitKeywords)
    with kept_random_states(), tempfile.TemporaryDirectory(prefix="lsuv-") as folder:
        file = Path(folder, "out.safetensors") if out is None else _path("out", out)
        fixed = {"out": file, "force": force}
        report = _run(initialize_weights, InitOptions, model, samples, keywords, fixed)
        own = own_state(model) or {}
        return Initialized(report, _written(file, own), own)


def initialize_(model: Any, samples: Any, **keywords: Unpack[InitKeywords]) -> Initialized:
    """Initialise a module or program in place by LSUV.

    The tensors of its state_dict get their new values at the end, all of them or, after an error or
    an interrupt, none. Its device, its training mode and its hooks, and the global random states,
    are as before.

    Example:
        >>> import torch
        >>> module, samples = torch.nn.Linear(4, 8), torch.randn(64, 4)
        >>> initialize_(module, samples, device="cpu").converged
        True
        >>> round(float(module(samples).detach().var(correction=0)), 3)
        1.0

    Args:
        model: a PyTorch module, or an exported program.
        samples: as for `initialize`.
        keywords: those of `initialize`.

    Returns:
        See `initialize`.

    Raises:
        UsageError: the model is a file, or see `initialize`.
        LsuvError: see `initialize`.
    """
    state = own_state(model)
    if state is None:
        raise UsageError(
            f"model: a value of the type {type(model).__name__} can't be changed in place; give a "
            "PyTorch module, or use initialize"
        )
    result = initialize(model, samples, **keywords)
    load_in_place(state, {name: as_tensor(value) for name, value in result.weights.items()})
    return result


def verify(
    model: Any,
    samples: Any,
    weights: str | os.PathLike[str] | None = None,
    **keywords: Unpack[VerifyKeywords],
) -> Verified:
    """Measure how well a model is initialised, as `lsuv verify` does; nothing is changed.

    Example:
        >>> import torch
        >>> module = torch.nn.Linear(4, 8)
        >>> result = verify(module, torch.randn(64, 4), device="cpu")
        >>> result.within
        False
        >>> [(one.planned.layer.op, one.status.value) for one in result.report.layers]
        [('Gemm', 'outside')]

    Args:
        model: as for `initialize`.
        samples: likewise.
        weights: a file of weights; None for the model's own. Of a file that `initialize` or
            `lsuv init` wrote, the options it was made with are the defaults of the keywords.
        keywords: those of `initialize`, but those that say how weights are drawn.

    Returns:
        The measurement and the judgement of each layer.

    Raises:
        LsuvError: see `initialize`; a ModelError also where the weights don't fit the model.
    """
    refuse_unknown("verify", keywords, VerifyKeywords)
    fixed = {
        "weights": None if weights is None else _path("weights", weights),
        "given": frozenset(keywords),
    }
    with kept_random_states():
        return Verified(_run(verify_weights, VerifyOptions, model, samples, keywords, fixed))


def compare(model: Any, samples: Any, **keywords: Unpack[CompareKeywords]) -> Compared:
    """Compare initialisations of a model, as `lsuv compare` does; nothing is changed.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> result = compare(module, torch.randn(64, 4), inits=("lsuv", "he"), device="cpu")
        >>> [one.init.value for one in result.report.inits]
        ['lsuv', 'he']

    Args:
        model: as for `initialize`.
        samples: likewise.
        inits: the initialisations, in the order of the columns: lsuv, orthonormal,
            delta-orthogonal, he, xavier, lecun, gaussian, keep.
        backward: also find each layer's gradient, where the extra `compare` is installed.
        keywords: the others of `initialize`.

    Returns:
        Each layer's standard deviation with each initialisation and, with `backward`, that of its
        gradient.

    Raises:
        LsuvError: see `initialize`.
    """
    refuse_unknown("compare", keywords, CompareKeywords)
    with kept_random_states():
        return Compared(_run(compare_inits, CompareOptions, model, samples, keywords, {}))


def inspect(model: Any, samples: Any = None, **keywords: Unpack[InspectKeywords]) -> Inspected:
    """Find a model's layers, and what would be done with them, as `lsuv inspect` does.

    Example:
        >>> import torch
        >>> result = inspect(torch.nn.Linear(4, 8), torch.randn(2, 4))
        >>> [one.planned.layer.layout.shape for one in result.report.layers]
        [(8, 4)]

    Args:
        model: as for `initialize`.
        samples: a batch or an iterable of batches, which tells a module's inputs; not needed with
            `input_shapes`, or for a file that tells them.
        keywords: those of `initialize` that concern layers and their targets.

    Returns:
        The layers in execution order, what is left alone, and what the model takes in.

    Raises:
        LsuvError: see `initialize`.
    """
    refuse_unknown("inspect", keywords, InspectKeywords)
    with kept_random_states():
        given = _taken(model, NO_SAMPLES if samples is None else samples, keywords)
        options = options_from(InspectOptions, keywords, **given.model)
        return Inspected(inspect_model(options, PythonWarnings(), given.open_model))


class _Job(Protocol[OptionsT_contra, ReportT_co]):
    """A command's work, with samples and a model from memory."""

    def __call__(
        self, options: OptionsT_contra, events: Events, *, find: FindSamples, open_model: OpenModel
    ) -> ReportT_co:
        """Do the work, and return its report."""


def _run(
    job: _Job[OptionsT_contra, ReportT_co],
    kind: type[OptionsT_contra],
    model: Any,
    samples: Any,
    keywords: Mapping[str, Any],
    fixed: Mapping[str, Any],
) -> ReportT_co:
    """Do a command's work on what the caller gave.

    Args:
        job: the work.
        kind: its options.
        model: the model.
        samples: the samples.
        keywords: options by the names that they have in Python.
        fixed: other options, by the names that they have in `kind`.
    """
    given = _taken(model, samples, keywords)
    options = options_from(kind, keywords, data=given.data, **fixed, **given.model)
    return job(options, PythonWarnings(), find=given.find, open_model=given.open_model)


def _written(file: Path, own: Mapping[str, Any]) -> dict[str, FloatArray]:
    """Return the tensors of a written file, those of a module's state_dict in its order."""
    written = open_checkpoint(file)
    names = [*(name for name in own if name in written), *(n for n in written if n not in own)]
    return {name: np.array(written[name]) for name in names}


def _taken(model: Any, samples: Any, keywords: Mapping[str, Any]) -> Given:
    defaults = SampleOptions(data=())
    count: Any = CHECKS["count"](keywords.get("count", defaults.count))
    seed: Any = CHECKS["seed"](keywords.get("seed", defaults.seed))
    return take(model, samples, count, seed)


def _path(name: str, value: object) -> Path:
    """Return a path that was given as a parameter.

    Raises:
        UsageError: it is none.
    """
    if isinstance(value, (str, os.PathLike)):
        return Path(value)
    raise UsageError(f"{name}: a value of the type {type(value).__name__} is no path")


for _function, _options, _keywords in (
    (initialize, InitOptions, InitKeywords),
    (initialize_, InitOptions, InitKeywords),
    (verify, VerifyOptions, VerifyKeywords),
    (compare, CompareOptions, CompareKeywords),
    (inspect, InspectOptions, InspectKeywords),
):
    vars(_function)["__signature__"] = with_keywords(_function, _options, _keywords)
