"""LSUV from Python: the commands' engine, without their files and their screen."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

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
from lsuv_cli.jobs.verify import verify_weights
from lsuv_cli.weights.formats import open_checkpoint


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

    Raises:
        LsuvError: the model, the samples or an option can't be used, or `out` can't be written. Its
            text may call an option by its name on the command line, `--mean`.

    Warns:
        LsuvWarning: where `lsuv init` warns, for example of samples far from mean 0 and std 1.
    """
    refuse_unknown("initialize", keywords, InitKeywords)
    with kept_random_states(), tempfile.TemporaryDirectory(prefix="lsuv-") as folder:
        given = _taken(model, samples, keywords)
        file = Path(folder, "out.safetensors") if out is None else _path("out", out)
        options = options_from(
            InitOptions,
            keywords,
            data=given.data,
            out=file,
            force=force,
            **given.model,
        )
        report = initialize_weights(
            options, PythonWarnings(), find=given.find, open_model=given.open_model
        )
        written = open_checkpoint(file)
        own = own_state(model) or {}
        # In a module's own order; a file's is another.
        names = [*(name for name in own if name in written), *(n for n in written if n not in own)]
        weights = {name: np.array(written[name]) for name in names}
        return Initialized(report, weights, own)


def initialize_(model: Any, samples: Any, **keywords: Unpack[InitKeywords]) -> Initialized:
    """Initialise a module or program in place by LSUV.

    The tensors of its state_dict get their new values at the end, all of them or, after an error or
    an interrupt, none. Its device, its training mode and its hooks, and the global random states,
    are as before.

    Args:
        model: a PyTorch module, or an exported program.
        samples: as for `initialize`.
        keywords: those of `initialize`.

    Raises:
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
    """Measure how well a model is initialised, as `lsuv verify` does.

    Args:
        model: as for `initialize`.
        samples: likewise.
        weights: a file of weights; None for the model's own. Of a file that `initialize` or
            `lsuv init` wrote, the options it was made with are the defaults of the keywords.
        keywords: those of `initialize`, but those that say how weights are drawn.

    Raises:
        LsuvError: the model, the weights, the samples or an option can't be used.
    """
    refuse_unknown("verify", keywords, VerifyKeywords)
    with kept_random_states():
        given = _taken(model, samples, keywords)
        options = options_from(
            VerifyOptions,
            keywords,
            data=given.data,
            weights=None if weights is None else _path("weights", weights),
            given=frozenset(keywords),
            **given.model,
        )
        return Verified(
            verify_weights(options, PythonWarnings(), find=given.find, open_model=given.open_model)
        )


def compare(model: Any, samples: Any, **keywords: Unpack[CompareKeywords]) -> Compared:
    """Compare initialisations of a model, as `lsuv compare` does; nothing is changed.

    Args:
        model: as for `initialize`.
        samples: likewise.
        inits: the initialisations, in the order of the columns: lsuv, orthonormal,
            delta-orthogonal, he, xavier, lecun, gaussian, keep.
        backward: also find each layer's gradient, where the extra `compare` is installed.
        keywords: the others of `initialize`.

    Raises:
        LsuvError: the model, the samples or an option can't be used.
    """
    refuse_unknown("compare", keywords, CompareKeywords)
    with kept_random_states():
        given = _taken(model, samples, keywords)
        options = options_from(
            CompareOptions,
            keywords,
            data=given.data,
            **given.model,
        )
        return Compared(
            compare_inits(options, PythonWarnings(), find=given.find, open_model=given.open_model)
        )


def inspect(model: Any, samples: Any = None, **keywords: Unpack[InspectKeywords]) -> Inspected:
    """Find a model's layers, and what would be done with them, as `lsuv inspect` does.

    Args:
        model: as for `initialize`.
        samples: a batch or an iterable of batches, which tells a module's inputs; not needed with
            `input_shapes`, or for a file that tells them.
        keywords: those of `initialize` that concern layers and their targets.

    Raises:
        LsuvError: the model or an option can't be used.
    """
    refuse_unknown("inspect", keywords, InspectKeywords)
    with kept_random_states():
        given = _taken(model, NO_SAMPLES if samples is None else samples, keywords)
        options = options_from(InspectOptions, keywords, **given.model)
        return Inspected(inspect_model(options, PythonWarnings(), given.open_model))


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
