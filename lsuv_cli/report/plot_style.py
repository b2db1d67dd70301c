"""Style of the drawings: colours and sizes, independent of the user's Matplotlib settings."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from matplotlib import rc_context, rcdefaults, rcParams
from matplotlib.figure import Figure

# At this resolution a unit of the drawing is a pixel of the page.
DPI = 72

# Without dates and versions, which would change the bytes.
METADATA: dict[str, dict[str, str | None]] = {
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours in the notation of Matplotlib.

    Attributes:
        background: the background; "none" for a transparent one.
        ink: text.
        muted: axes.
        grid: lines behind the curves.
        series: colours of the curves, used in turn.
    """

    background: str
    ink: str
    muted: str
    grid: str
    series: tuple[str, ...]


# Colour-blind readers can tell them apart (Okabe & Ito 2008; darker where pale on white).
LIGHT_SERIES = ("#c1440e", "#0072b2", "#00795a", "#a6467f", "#7a6200", "#3b3b98")
PAPER = Palette("white", "#1a1a1a", "#5f5f5f", "#e3e3e3", LIGHT_SERIES)


@dataclass(frozen=True, slots=True)
class DrawingSize:
    """The size of a drawing and of its text, in pixels."""

    width: float
    height: float
    font: float


@contextmanager
def styled() -> Iterator[None]:
    """Have Matplotlib draw the same whatever the user's settings are, and without warnings."""
    # It reports its font cache and letters that its font lacks, which helps nobody.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    with rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        rcdefaults()  # a user's own settings must not change the bytes
        rcParams.update(
            {
                "axes.spines.right": False,
                "axes.spines.top": False,
                "font.family": "sans-serif",
                "font.sans-serif": ["DejaVu Sans"],
                "path.simplify": False,
                "pdf.fonttype": 42,
                "svg.fonttype": "none",
                "svg.hashsalt": "lsuv",
                "text.parse_math": False,  # layers may be called $x$
            }
        )
        yield


def saved(figure: Figure, kind: str, words: Mapping[str, str]) -> bytes:
    """Return a figure as the bytes of a file.

    Args:
        figure: the figure.
        kind: `png`, `svg` or `pdf`.
        words: the file's metadata.
    """
    buffer = io.BytesIO()
    resolution = DPI if kind == "svg" else 2 * DPI
    figure.savefig(buffer, format=kind, metadata={**METADATA[kind], **words}, dpi=resolution)
    return buffer.getvalue()
