"""Options for the machine: device, threads and memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from lsuv_cli.cli.completion import complete_devices
from lsuv_cli.cli.options.panels import LEAST, MACHINE_PANEL
from lsuv_cli.core.limits import WHOLE_NUMBERS
from lsuv_cli.core.option_texts import parse_bytes
from lsuv_cli.processes.run import Run


@dataclass(frozen=True, kw_only=True)
class MachineFlags:
    """Options for device, threads and memory."""

    device: Annotated[
        str,
        typer.Option(
            autocompletion=complete_devices,
            metavar="DEVICE",
            rich_help_panel=MACHINE_PANEL,
            help="auto (CUDA if it works, otherwise the CPU), cpu, cuda or cuda:N.",
        ),
    ] = "auto"
    provider: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=MACHINE_PANEL,
            help="Another ONNX Runtime execution provider, instead of --device.",
        ),
    ] = None
    tf32: Annotated[
        bool,
        typer.Option(
            "--tf32",
            rich_help_panel=MACHINE_PANEL,
            help="Let CUDA compute in TensorFloat-32: faster, but variances are off by about 1e-3.",
        ),
    ] = False
    threads: Annotated[
        int,
        typer.Option(
            min=LEAST["threads"],
            max=WHOLE_NUMBERS["threads"][1],
            metavar="N",
            rich_help_panel=MACHINE_PANEL,
            help="Threads for computing and decoding; 0: one per core.",
        ),
    ] = 0
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=LEAST["batch_size"],
            metavar="N",
            rich_help_panel=MACHINE_PANEL,
            help="Samples per batch; the scales are those of all samples, whatever the batch "
            "size. [dim]\\[default: as many as --memory allows][/dim]",
        ),
    ] = None
    memory: Annotated[
        str,
        typer.Option(
            metavar="SIZE",
            rich_help_panel=MACHINE_PANEL,
            help="Memory for samples and activations, per process; weights and libraries come "
            "on top.",
        ),
    ] = "4GB"
    device_memory: Annotated[
        str,
        typer.Option(
            metavar="SIZE",
            rich_help_panel=MACHINE_PANEL,
            help="GPU memory for the running batch and for activations kept between segments.",
        ),
    ] = "4GB"
    spill_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            rich_help_panel=MACHINE_PANEL,
            help="Folder for activations that do not fit in memory. [dim]\\[default: the "
            "system's temporary folder][/dim]",
        ),
    ] = None
    timeout: Annotated[
        float,
        typer.Option(
            min=1,
            metavar="SECONDS",
            rich_help_panel=MACHINE_PANEL,
            help="How long to wait for other processes of the run, if torchrun or a similar "
            "launcher started several.",
        ),
    ] = 600.0

    def options(self, run: Run) -> dict[str, Any]:
        """Return them as fields of `WorkOptions`.

        Args:
            run: the processes of the run.

        Raises:
            UsageError: an option's text can't be parsed.
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
