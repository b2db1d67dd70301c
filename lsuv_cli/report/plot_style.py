"""How Matplotlib draws here: colours, sizes, and nothing of its user's settings."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from matplotlib import rc_context, rcdefaults, rcParams
from matplotlib.figure import Figure

# A pixel of the page is a unit of the drawing.
DPI = 72

# No date, no version: neither may change the bytes.
METADATA: dict[str, dict[str, str | None]] = {
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours, as Matplotlib takes them.

    Attributes:
        background: behind everything; "none" for nothing.
        ink: text.
        muted: axes.
        grid: lines behind the curves.
        series: the curves', taken in turn.
    """

    background: str
    ink: str
    muted: str
    grid: str
    series: tuple[str, ...]


# Told apart by colour-blind readers (Okabe & Ito 2008, darkened where they are pale on white).
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
    """Have Matplotlib draw the same whatever its user's settings are, and quietly."""
    # It tells of its font cache and of names whose letters its font lacks; neither helps anybody.
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
    """A figure as the bytes of a file.

    Args:
        figure: the figure.
        kind: `png`, `svg` or `pdf`.
        words: metadata.
    """
    buffer = io.BytesIO()
    resolution = DPI if kind == "svg" else 2 * DPI
    figure.savefig(buffer, format=kind, metadata={**METADATA[kind], **words}, dpi=resolution)
    return buffer.getvalue()
