"""The page of `lsuv init`."""

from __future__ import annotations

from pathlib import Path

from lsuv_cli.core.records import Report
from lsuv_cli.report.columns import Tone
from lsuv_cli.report.init_table import init_columns
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
from lsuv_cli.report.words import STDOUT, details, init_outcome, written

AFTER = "after"


def init_page(report: Report, command: str) -> Page:
    """Return the page of a run of `lsuv init`.

    Args:
        report: the run's results.
        command: the command line that repeats it.

    Raises:
        OSError: a written file can't be read any more.
    """
    layers = [result.planned for result in report.layers]
    curves = {
        "before": [std_of(result.before) for result in report.layers],
        AFTER: [std_of(result.after) for result in report.layers],
    }
    chart = with_targets(depth_chart(layers, curves), layers, report.per, report.tol)
    return Page(
        title=f"LSUV initialisation of {Path(report.model).name}",
        summary=f"{init_outcome(report)}; {written(report)}",
        tone=Tone.BAD if report.failures else Tone.GOOD,
        charts=(chart,),
        table=PageTable("Layers", tuple(init_columns(report))),
        histograms=layer_histograms(layers, report.distributions, AFTER, list(curves).index(AFTER)),
        notes=(*first_notes(details(report.failures), IN_THE_TABLE), *run_notes(report)),
        sections=run_sections(report, [_written_section(report)]),
        command=command,
    )


def _written_section(report: Report) -> Section:
    # What went to stdout is not there to be read.
    files = () if report.out == STDOUT else report.files
    return Section(
        "Written", (Fact("bytes written", f"{report.bytes_written:,}"), *hash_facts(files))
    )
