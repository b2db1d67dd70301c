"""`lsuv apply`."""

from __future__ import annotations

from lsuv_cli.cli import arguments
from lsuv_cli.cli.exits import with_exit_code
from lsuv_cli.cli.streams import STANDARD, model_options
from lsuv_cli.core.choices import AUTO_NAMES
from lsuv_cli.core.errors import ExitCode, UsageError
from lsuv_cli.core.options import ApplyOptions
from lsuv_cli.processes.run import Run


@with_exit_code
def apply(
    run: Run,
    model: arguments.ModelArgument,
    weights: arguments.AppliedWeightsArgument,
    *,
    out: arguments.ModelOutOption,
    names: arguments.NamesOption = AUTO_NAMES,
    force: arguments.ForceOption = False,
    quiet: arguments.QuietOption = False,
) -> ExitCode:
    """Put weights back into a model: the same file, with their values.

    Checked by ONNX's checker and by running it in ONNX Runtime before it gets its name.

    Example: [bold]lsuv apply model.onnx init.safetensors --out model.init.onnx[/bold]
    """
    if out == STANDARD:
        raise UsageError("--out - : only init writes to stdout; give a file")
    options = ApplyOptions(
        weights=weights,
        out=out,
        names=names,
        force=force,
        **model_options(model, (), run),
    )
    from lsuv_cli.cli.console import Screen, Verbosity
    from lsuv_cli.jobs.apply import apply_weights

    with Screen(Verbosity.QUIET if quiet else Verbosity.NORMAL) as screen:
        files = apply_weights(options, screen)
        screen.note(f"wrote {' and '.join(map(str, files))}")
    return ExitCode.SUCCESS
