"""Files that a PyTorch module can reach `lsuv` in, road by road, and samples for them."""

from __future__ import annotations

import functools
import inspect
import logging
import runpy
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.onnx._internal.exporter._registration import ONNXRegistry

from support.tracer import untraced

Inputs = tuple[Tensor, ...]
Road = Callable[[nn.Module, Inputs, Path], Path]

# A file whose function `make` makes the module, for the road `module`.
FACTORY_SUFFIX = ".py:make"

# Siblings of a case, whose names have a hyphen, take so many of its roads in turn; `make thorough`
# takes the others.
SIBLING_ROADS = 1

# Exported on two samples, so that a batch size that got into a file shows.
FEW = 2
SMALL_BATCH = 16


def road_marks(name: str, road: str, roads: Sequence[str]) -> list[pytest.MarkDecorator]:
    """Return the marks of a case's test by one of its roads."""
    start = zlib.crc32(name.encode()) % len(roads)
    place = (roads.index(road) - start) % len(roads)
    if "-" not in name:
        return []
    return [pytest.mark.untraced, *([pytest.mark.thorough] if place >= SIBLING_ROADS else [])]


@untraced()
def by_road(module: nn.Module, inputs: Inputs | Tensor, road: str, folder: Path) -> Path:
    """Write a module in eval mode into a folder by one of `ROADS`; the batch axis is dynamic.

    Args:
        module: the module.
        inputs: samples for each input, the batch axis first.
        road: the road.
        folder: where the file goes.
    """
    few = tuple(value[:FEW] for value in as_tuple(inputs))
    with silenced():
        return ROADS[road](module, few, folder)


def as_tuple(inputs: Inputs | Tensor) -> Inputs:
    """Return the samples of each input, also of a single one."""
    return (inputs,) if isinstance(inputs, Tensor) else inputs


def save_samples(model: Path, inputs: Inputs | Tensor) -> Path:
    """Save samples beside a model: one array, or arrays by the names of the model's inputs."""
    arrays = [value.numpy() for value in as_tuple(inputs)]
    if len(arrays) == 1:
        path = model.with_suffix(".npy")
        np.save(path, arrays[0])
        return path
    path = model.with_suffix(".npz")
    named: dict[str, Any] = dict(zip(input_names(model), arrays, strict=True))
    np.savez(path, **named)
    return path


def input_names(model: Path) -> list[str]:
    """Return the names of a model's inputs, in order."""
    if model.suffix == FACTORY_SUFFIX:
        parameters = inspect.signature(made_by(model).forward).parameters
        return [name for name, one in parameters.items() if one.default is one.empty]
    if model.suffix == ".onnx":
        graph = onnx.load(model, load_external_data=False).graph
        initializers = {tensor.name for tensor in graph.initializer}
        return [value.name for value in graph.input if value.name not in initializers]
    with silenced():
        if model.suffix == ".pt2":
            return list(torch.export.load(model).graph_signature.user_inputs)
        return script_input_names(load_script(model))


def made_by(factory: Path) -> nn.Module:
    """Return the module that the road `module` has `lsuv` make."""
    make = runpy.run_path(str(factory).removesuffix(":make"))["make"]
    module: nn.Module = make()
    return module


def load_script(path: Path) -> torch.jit.ScriptModule:
    """Load a TorchScript file."""
    load: Callable[..., torch.jit.ScriptModule] = torch.jit.load
    return load(path)


def script_input_names(script: torch.jit.ScriptModule) -> list[str]:
    """Return the names of the inputs of a TorchScript module."""
    forward: Any = script.forward
    return [argument.name for argument in forward.schema.arguments[1:]]


def export_script(
    module: nn.Module | torch.jit.ScriptModule,
    inputs: Inputs,
    path: Path,
    names: list[str] | None = None,
    **options: Any,
) -> Path:
    """Export by PyTorch's older exporter."""
    names = names or [f"x{index}" for index in range(len(inputs))]
    torch.onnx.export(
        module,
        inputs,
        path,
        dynamo=False,
        input_names=names,
        dynamic_axes={name: {0: "batch"} for name in names},
        **options,
    )
    return path


def _script(module: nn.Module, inputs: Inputs, folder: Path) -> Path:
    return export_script(module, inputs, folder / "script.onnx", **UNFOLDED)


def _folded(module: nn.Module, inputs: Inputs, folder: Path) -> Path:
    return export_script(module, inputs, folder / "folded.onnx")


def _dynamo(module: nn.Module, inputs: Inputs, folder: Path) -> Path:
    return _exported(module, inputs, folder)[0]


def _unopt(module: nn.Module, inputs: Inputs, folder: Path) -> Path:
    return _exported(module, inputs, folder)[1]


def _exported(module: nn.Module, inputs: Inputs, folder: Path) -> tuple[Path, Path]:
    """Export by the newer exporter, with and without optimisation, once for both roads."""
    paths = folder / "dynamo.onnx", folder / "unopt.onnx"
    if not all(path.exists() for path in paths):
        batch = torch.export.Dim("batch")
        with mock.patch.object(ONNXRegistry, "from_torchlib", staticmethod(registry)):
            program = torch.onnx.export(
                module,
                inputs,
                dynamo=True,
                optimize=False,
                input_names=[f"x{index}" for index in range(len(inputs))],
                dynamic_shapes=tuple({0: batch} for _ in inputs),
                verbose=False,
            )
        assert program is not None
        program.save(paths[1])
        program.optimize()  # as optimize=True does
        program.save(paths[0])
    return paths


def _trace(module: nn.Module, inputs: Inputs, folder: Path) -> Path:
    trace: Callable[..., Any] = torch.jit.trace
    path = folder / "trace.pt"
    # Its own check runs the module again, and some remember the sizes they have seen.
    torch.jit.save(trace(module, inputs, check_trace=False), path)
    return path


def converted(program: Path) -> onnx.ModelProto:
    """Return a file of torch.export.save as ONNX."""
    with silenced(), mock.patch.object(ONNXRegistry, "from_torchlib", staticmethod(registry)):
        made = torch.onnx.export(
            torch.export.load(program), (), None, dynamo=True, optimize=False, verbose=False
        )
    assert made is not None
    proto: onnx.ModelProto = made.model_proto
    return proto


def _pt2(module: nn.Module, inputs: Inputs, folder: Path) -> Path:
    path = folder / "program.pt2"
    # Some code, as of group normalisation, asks for a bound of the batch size.
    for batch in (torch.export.Dim("batch"), torch.export.Dim("batch", max=SMALL_BATCH)):
        shapes = tuple({0: batch} for _ in inputs)
        try:
            program = torch.export.export(module, inputs, dynamic_shapes=shapes)
        except (torch._dynamo.exc.UserError, AssertionError) as error:
            failure = error
        else:
            torch.export.save(program, path)
            return path
    raise failure


# Making the table of operators takes half the time of an export, and it is always the same.
registry = functools.cache(ONNXRegistry.from_torchlib)

UNFOLDED: dict[str, Any] = {
    "training": torch.onnx.TrainingMode.PRESERVE,
    "do_constant_folding": False,
}

ROADS: dict[str, Road] = {
    "script": _script,
    "folded": _folded,
    "dynamo": _dynamo,
    "unopt": _unopt,
    "trace": _trace,
    "pt2": _pt2,
}


@contextmanager
def silenced() -> Iterator[None]:
    """Keep PyTorch's exporters quiet."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)
