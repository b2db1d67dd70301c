"""Runs of `init` in the process of the test, and the strict load of what they write."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from torch import nn

import lsuv_cli
from lsuv_cli.core.errors import ExitCode, LsuvError
from lsuv_cli.core.options import InitOptions, SampleOptions
from lsuv_cli.graph.torch_arrays import as_numpy
from lsuv_cli.jobs.init import initialize_weights
from lsuv_cli.report.init_json import init_json


@dataclass
class Initialised:
    """What `init` did.

    Attributes:
        code: the exit code of the command.
        texts: the error's sentence, or the notes and warnings.
        report: the JSON report; empty after an error.
        tensors: those that were written, by name.
    """

    code: int
    texts: list[str]
    report: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def statuses(self) -> dict[str, str]:
        """The layers' statuses by the names of their weights."""
        return {layer["weight"]: layer["status"] for layer in self.report["layers"]}


class Texts:
    """Keeps notes and warnings."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def stage(self, title: str, total: int | None = None) -> None:
        """Pass over the event."""

    def advance(self, done: int, total: int) -> None:
        """Pass over the event."""

    def detail(self, text: str) -> None:
        """Pass over the event."""

    def note(self, text: str) -> None:
        """Keep the text."""
        self.texts.append(text)

    def warn(self, text: str) -> None:
        """Keep the text."""
        self.texts.append(f"warning: {text}")


NUMBERS = itertools.count()


def initialised(model: Path, data: Path, **options: Any) -> Initialised:
    """Run what is behind `lsuv init` in this process.

    Args:
        model: the model file.
        data: the samples; all are used.
        options: of `InitOptions`.
    """
    out = model.with_suffix(f".{next(NUMBERS)}.safetensors")
    events = Texts()
    try:
        report = initialize_weights(
            InitOptions(
                model=model,
                out=out,
                samples=SampleOptions(data=(str(data),), count=None),
                device="cpu",
                **options,
            ),
            events,
        )
    except LsuvError as error:
        assert not out.exists()
        return Initialised(error.exit_code, [*events.texts, str(error)])
    code = ExitCode.NOT_CONVERGED if report.failures else ExitCode.SUCCESS
    return Initialised(code, events.texts, json.loads(init_json(report)), load_file(out))


def initialised_in_place(module: nn.Module, batch: Any, **options: Any) -> Initialised:
    """Run `initialize_` on a module.

    Args:
        module: the module.
        batch: all samples.
        options: of `initialize_`.
    """
    try:
        result = lsuv_cli.initialize_(module, batch, count=None, device="cpu", **options)
    except LsuvError as error:
        return Initialised(error.exit_code, [str(error)])
    code = ExitCode.SUCCESS if result.converged else ExitCode.NOT_CONVERGED
    state = {name: as_numpy(value) for name, value in module.state_dict().items()}
    return Initialised(code, [], json.loads(init_json(result.report)), state)


def load_strictly(
    run: Initialised, make: Callable[[], nn.Module], passed_over: Sequence[str] = ()
) -> nn.Module:
    """Load what was written into a new module; its own values must not matter.

    Args:
        run: the run.
        make: makes the module.
        passed_over: tensors that the file may have too many.
    """
    module = emptied(make)
    state = written_state(run)
    module.load_state_dict(
        {name: value for name, value in state.items() if name not in passed_over}, strict=True
    )
    for name, value in module.state_dict().items():
        assert state[name].dtype == value.dtype, name
    return module


def emptied(make: Callable[[], nn.Module]) -> nn.Module:
    """Return a new module in eval mode, its state NaN."""
    module = make().eval()
    with torch.no_grad():
        for value in module.state_dict().values():
            if value.is_floating_point():
                value.fill_(torch.nan)
    return module


def written_state(run: Initialised) -> dict[str, torch.Tensor]:
    """Return what was written as PyTorch's tensors."""
    return {name: torch.from_numpy(np.array(value)) for name, value in run.tensors.items()}
