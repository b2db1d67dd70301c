"""Options that several commands have, in groups."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import typer

from lsuv_cli.cli import arguments
from lsuv_cli.cli.config import overridden
from lsuv_cli.cli.report_files import ReportFiles
from lsuv_cli.core.choices import AUTO_NAMES, BatchNorm, Per
from lsuv_cli.core.errors import UsageError
from lsuv_cli.core.limits import check_positive
from lsuv_cli.core.option_texts import (
    normalisation,
    parse_bytes,
    parse_input_shapes,
    parse_samples,
    parse_size,
    parse_targets,
)
from lsuv_cli.core.options import SampleOptions
from lsuv_cli.processes.run import Run


@dataclass(frozen=True, kw_only=True)
class DataFlags:
    """Which samples, and how they are read."""

    data: arguments.DataOption
    samples: arguments.SamplesOption = "128"
    preset: arguments.PresetOption = None
    mean: arguments.MeanOption = None
    std: arguments.StdOption = None
    resize: arguments.ResizeOption = None
    crop: arguments.CropOption = None
    input_shape: arguments.InputShapeOption = None
    strict: arguments.StrictOption = False

    def options(self, seed: int, leave_out: tuple[Path, ...]) -> SampleOptions:
        """What they mean.

        Args:
            seed: which samples are taken where there are more.
            leave_out: files that are outputs, not samples.

        Raises:
            UsageError: a text can't be understood.
        """
        means, stds = normalisation(self.preset, self.mean, self.std)
        return SampleOptions(
            data=tuple(self.data),
            count=parse_samples(self.samples),
            seed=seed,
            mean=means,
            std=stds,
            resize=parse_size(self.resize, "--resize") if self.resize is not None else None,
            crop=parse_size(self.crop, "--crop") if self.crop is not None else None,
            input_shapes=parse_input_shapes(self.input_shape or ()),
            strict=self.strict,
            leave_out=leave_out,
        )


@dataclass(frozen=True, kw_only=True)
class GoalFlags:
    """What a layer's output is to be."""

    target_std: arguments.TargetStdOption = 1.0
    tol: arguments.TolOption = 1e-3
    per: arguments.PerOption = Per.LAYER
    bn: arguments.BnOption = BatchNorm.BATCH

    def options(self) -> dict[str, Any]:
        """What they mean, as fields of `WorkOptions`.

        Raises:
            UsageError: a number is out of range.
        """
        check_positive("--target-std", self.target_std)
        check_positive("--tol", self.tol)
        return {"target_std": self.target_std, "tol": self.tol, "per": self.per, "bn": self.bn}


@dataclass(frozen=True, kw_only=True)
class LayerFlags:
    """Which layers."""

    include: arguments.IncludeOption = None
    exclude: arguments.ExcludeOption = None
    target: arguments.TargetOption = None

    def options(self) -> dict[str, Any]:
        """What they mean, as fields of `WorkOptions`.

        Raises:
            UsageError: a text can't be understood.
        """
        return {
            "include": tuple(self.include or ()),
            "exclude": tuple(self.exclude or ()),
            "targets": parse_targets(self.target or ()),
        }


@dataclass(frozen=True, kw_only=True)
class NameFlags:
    """Names of the tensors of a file of weights."""

    names: arguments.NamesOption = AUTO_NAMES
    like: arguments.LikeOption = None

    def options(self) -> dict[str, Any]:
        """What they mean, as fields of `WorkOptions`."""
        return {"names": self.names, "like": self.like}


@dataclass(frozen=True, kw_only=True)
class MachineFlags:
    """Where and with how much it runs."""

    device: arguments.DeviceOption = "auto"
    provider: arguments.ProviderOption = None
    tf32: arguments.Tf32Option = False
    threads: arguments.ThreadsOption = 0
    batch_size: arguments.BatchSizeOption = None
    memory: arguments.MemoryOption = "4GB"
    device_memory: arguments.DeviceMemoryOption = "4GB"
    spill_dir: arguments.SpillDirOption = None
    timeout: arguments.TimeoutOption = 600.0

    def options(self, run: Run) -> dict[str, Any]:
        """What they mean, as fields of `WorkOptions`.

        Args:
            run: the processes of the run.

        Raises:
            UsageError: a text can't be understood.
        """
        return {
            "device": self.device,
            "provider": self.provider,
            "tf32": self.tf32,
            "threads": self.threads or run.threads,
            "local_rank": run.process.local_rank if run.process else 0,
            "batch_size": self.batch_size,
            "memory_bytes": parse_bytes(self.memory, "--memory"),
            "device_memory_bytes": parse_bytes(self.device_memory, "--device-memory"),
            "spill_dir": self.spill_dir,
            "timeout": self.timeout,
        }


@dataclass(frozen=True, kw_only=True)
class ScreenFlags:
    """What is said, and in which form."""

    json_output: arguments.JsonOption = False
    quiet: arguments.QuietOption = False
    verbose: arguments.VerboseOption = False

    def check(self) -> None:
        """Refuse a contradiction.

        Raises:
            UsageError: quiet and verbose.
        """
        if self.quiet and self.verbose:
            raise UsageError("--quiet and --verbose contradict each other")


@dataclass(frozen=True, kw_only=True)
class ReportFlags:
    """Where the report goes, beside the screen."""

    report: arguments.ReportOption = None
    plot: arguments.PlotOption = None
    force: arguments.ForceOption = False

    @property
    def files(self) -> ReportFiles:
        """The files of the report."""
        return ReportFiles(self.report, self.plot, self.force)


def with_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Have Typer see, in place of a command's groups, the options in them.

    Args:
        command: a function some of whose parameters are groups as above.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {}
    parameters = []
    for name, parameter in inspect.signature(command).parameters.items():
        kind = hints[name]
        if not (isinstance(kind, type) and is_dataclass(kind)):
            parameters.append(parameter.replace(annotation=kind))
            continue
        groups[name] = kind
        inner = inspect.signature(kind).parameters
        kinds = get_type_hints(kind, include_extras=True)
        parameters += [
            inner[field.name].replace(annotation=kinds[field.name]) for field in fields(kind)
        ]

    defaults = {parameter.name: parameter.default for parameter in parameters}
    context = inspect.Parameter(
        "context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
    )
    parameters = [context, *parameters]

    @functools.wraps(command)
    def flat(context: typer.Context, **values: Any) -> None:
        sources = {name: context.get_parameter_source(name) for name in values}
        given = {
            name: values[name] for name, it in sources.items() if it and it.name == "COMMANDLINE"
        }
        values.update({name: defaults[name] for name in overridden(given) & values.keys()})
        for name, kind in groups.items():
            members = {field.name: values.pop(field.name) for field in fields(kind)}
            values[name] = kind(**members)
        command(**values)

    # The help breaks lines where the terminal ends, and would also break them where they do here.
    paragraphs = (inspect.getdoc(command) or "").split("\n\n")
    flat.__doc__ = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    flat.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    flat.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return flat
