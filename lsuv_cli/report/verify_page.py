"""The page of `lsuv verify`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lsuv_cli.core.indices import by_layer
from lsuv_cli.core.verification import Verification
from lsuv_cli.report.columns import Tone
from lsuv_cli.report.numbers import std_of
from lsuv_cli.report.page import Fact, Page, PageTable, Section
from lsuv_cli.report.page_parts import (
    IN_THE_TABLE,
    depth_chart,
    first_notes,
    hash_facts,
    layer_histograms,
    run_notes,
    run_sections,
    with_targets,
)
from lsuv_cli.report.verify_table import verification_columns
from lsuv_cli.report.words import verification_details, verification_outcome

MEASURED = "measured"


def verification_page(verification: Verification, command: str) -> Page:
    """Return the page of a run of `lsuv verify`.

    Args:
        verification: the run's results.
        command: the command line that repeats it.

    Raises:
        OSError: a file of the weights can't be read any more.
    """
    layers = [verdict.planned for verdict in verification.layers]
    stds = [std_of(verdict.moments) for verdict in verification.layers]
    distributions = {
        index: verdict.distribution
        for index, verdict in by_layer(verification.layers)
        if verdict.distribution is not None
    }
    chart = depth_chart(layers, {MEASURED: stds})
    notes = first_notes(verification_details(verification), IN_THE_TABLE)
    return Page(
        title=f"Verification of {Path(verification.model).name}",
        summary=verification_outcome(verification),
        tone=Tone.BAD if verification.failures else Tone.GOOD,
        charts=(with_targets(chart, layers, verification.per, verification.tol),),
        table=PageTable("Layers", tuple(verification_columns(verification))),
        histograms=layer_histograms(layers, distributions, MEASURED, 0),
        notes=(*notes, *run_notes(verification)),
        sections=run_sections(verification, _weights_sections(verification)),
        command=command,
    )


def _weights_sections(verification: Verification) -> Iterator[Section]:
    if verification.weights is not None:
        file = Fact("file", verification.weights)
        yield Section("Weights", (file, *hash_facts(verification.files)))
