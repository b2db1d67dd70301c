"""Options for the algorithm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from lsuv_cli.cli.options.panels import ALGORITHM_PANEL, LEAST
from lsuv_cli.core.choices import BatchNorm, Per
from lsuv_cli.core.limits import check_positive

SeedOption = Annotated[
    int,
    typer.Option(
        min=LEAST["seed"],
        metavar="N",
        rich_help_panel=ALGORITHM_PANEL,
        help="Seed for choosing samples and drawing weights.",
    ),
]
MaxIterOption = Annotated[
    int,
    typer.Option(
        min=LEAST["max_iter"],
        metavar="N",
        rich_help_panel=ALGORITHM_PANEL,
        help="Maximum number of sweeps; one is exact for most models, and more follow only "
        "where it was not.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class GoalFlags:
    """Options for the target of each layer's output."""

    target_std: Annotated[
        float,
        typer.Option(
            metavar="STD",
            rich_help_panel=ALGORITHM_PANEL,
            help="Target standard deviation of each layer's output.",
        ),
    ] = 1.0
    tol: Annotated[
        float,
        typer.Option(
            metavar="X",
            rich_help_panel=ALGORITHM_PANEL,
            help="Tolerance for |variance / target-std^2 - 1|.",
        ),
    ] = 1e-3
    per: Annotated[
        Per,
        typer.Option(
            rich_help_panel=ALGORITHM_PANEL,
            help="One scale per layer, as in the paper, or one per output channel.",
        ),
    ] = Per.LAYER
    bn: Annotated[
        BatchNorm,
        typer.Option(
            rich_help_panel=ALGORITHM_PANEL,
            help="Statistics of BatchNormalization: those of the samples, as in the first "
            "training step, which then replace its running statistics; or its running "
            "statistics, which are kept.",
        ),
    ] = BatchNorm.BATCH

    def options(self) -> dict[str, Any]:
        """Return them as fields of `WorkOptions`.

        Raises:
            UsageError: a number is out of range.
        """
        check_positive("--target-std", self.target_std)
        check_positive("--tol", self.tol)
        return {"target_std": self.target_std, "tol": self.tol, "per": self.per, "bn": self.bn}
