"""`lsuv inspect`."""

from __future__ import annotations

from typing import Annotated

import typer

from lsuv_cli.cli.exits import with_exit_code
from lsuv_cli.cli.options.data import (
    BatchAxisOption,
    FeedOption,
    InputShapeOption,
    SamplesOption,
)
from lsuv_cli.cli.options.expand import with_flags
from lsuv_cli.cli.options.feeds import parse_feeds
from lsuv_cli.cli.options.layers import LayerFlags
from lsuv_cli.cli.options.machine import MachineFlags
from lsuv_cli.cli.options.model import ModelArgsOption, ModelArgument
from lsuv_cli.cli.options.output import NameFlags, ScreenFlags
from lsuv_cli.cli.options.panels import MACHINE_PANEL
from lsuv_cli.cli.running import open_run, print_result
from lsuv_cli.cli.streams import model_options
from lsuv_cli.core.errors import ExitCode
from lsuv_cli.core.option_texts import (
    parse_batch_axes,
    parse_input_shapes,
    parse_samples,
)
from lsuv_cli.core.options import InspectOptions, SampleOptions
from lsuv_cli.processes.run import Run

PlanOption = Annotated[
    bool,
    typer.Option(
        "--plan",
        rich_help_panel=MACHINE_PANEL,
        help="Also print what init would need with the given --samples, --batch-size and "
        "--memory: segments, memory, disk space, node executions.",
    ),
]


@with_flags
@with_exit_code
def inspect(
    run: Run,
    model: ModelArgument,
    *,
    model_args: ModelArgsOption = None,
    input_shape: InputShapeOption = None,
    batch_axis: BatchAxisOption = None,
    feed: FeedOption = None,
    plan: PlanOption = False,
    samples: SamplesOption = "128",
    layers: LayerFlags,
    names: NameFlags,
    screen: ScreenFlags,
    machine: MachineFlags,
) -> ExitCode:
    """Show a model's layers, and what would be done with them; no samples are needed.

    The table goes to stdout, so that it can be searched or paged; --json prints the same as JSON.

    Example: [bold]lsuv inspect model.onnx[/bold]
    """
    screen.check()
    options = InspectOptions(
        samples=SampleOptions(
            data=(),
            count=parse_samples(samples),
            input_shapes=parse_input_shapes(input_shape or ()),
            batch_axes=parse_batch_axes(batch_axis or ()),
            feeds=parse_feeds(feed or ()),
        ),
        plan=plan,
        **layers.options(),
        **names.options(),
        **machine.options(run),
        **model_options(model, (), run, model_args),
    )
    with open_run(run, options, screen) as (display, _group):
        from lsuv_cli.jobs.inspect import inspect_model

        inspection = inspect_model(options, display)
    if run.is_first:
        from lsuv_cli.cli.console import as_plain_text
        from lsuv_cli.report.inspect_json import inspection_json
        from lsuv_cli.report.inspect_table import inspection_table

        if screen.json_output:
            print_result(lambda: inspection_json(inspection))
        else:
            print_result(lambda: as_plain_text(inspection_table(inspection)))
    return ExitCode.SUCCESS
