"""`lsuv verify`."""

from __future__ import annotations

from lsuv_cli.commands import arguments
from lsuv_cli.commands.flags import (
    DataFlags,
    GoalFlags,
    LayerFlags,
    MachineFlags,
    NameFlags,
    ScreenFlags,
    with_flags,
)
from lsuv_cli.commands.running import at_work, print_result
from lsuv_cli.commands.streams import model_options
from lsuv_cli.core.errors import ExitCode
from lsuv_cli.core.options import VerifyOptions
from lsuv_cli.exits import exit_with
from lsuv_cli.processes.run import Run


@with_flags
def verify(
    model: arguments.ModelArgument,
    weights: arguments.WeightsArgument = None,
    *,
    data: DataFlags,
    seed: arguments.SampleSeedOption = 0,
    goal: GoalFlags,
    layers: LayerFlags,
    names: NameFlags,
    screen: ScreenFlags,
    machine: MachineFlags,
) -> None:
    """Measure how well a model is initialised: with a file of weights, or with its own.

    Any checkpoint serves whose names and shapes are the model's. Exit code 4 tells that some
    layer's output has not the target standard deviation.

    Example: [bold]lsuv verify model.onnx init.safetensors --data imgs/ --preset imagenet[/bold]
    """

    def work(run: Run) -> ExitCode:
        screen.check()
        options = VerifyOptions(
            weights=weights,
            samples=data.options(seed, ()),
            seed=seed,
            **goal.options(),
            **layers.options(),
            **names.options(),
            **machine.options(run),
            **model_options(model, data.data, run),
        )
        with at_work(run, options, screen) as (display, group):
            from lsuv_cli.jobs.verify import verify as measure

            verification = measure(options, display, group)
        code = ExitCode.NOT_CONVERGED if verification.failures else ExitCode.SUCCESS
        if not run.is_first:
            return code
        from lsuv_cli.report.verification import (
            render_verification_json,
            render_verification_summary,
            render_verification_table,
        )

        display.show(render_verification_table(verification))
        display.lines(render_verification_summary(verification, display.seconds))
        if screen.json_output:
            print_result(lambda: render_verification_json(verification))
        return code

    exit_with(work)
