"""The known exporters; another one is a file beside this and a line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lsuv_cli.core.choices import AUTO_NAMES, ONNX_NAMES
from lsuv_cli.names.exporter import Exporter
from lsuv_cli.names.keras import Keras
from lsuv_cli.names.torch import PyTorch

if TYPE_CHECKING:
    import onnx

EXPORTERS: tuple[Exporter, ...] = (
    PyTorch(),
    Keras(),
)


def names_words() -> tuple[str, ...]:
    """Return the values of `--names`."""
    return (AUTO_NAMES, ONNX_NAMES, *(exporter.word for exporter in EXPORTERS))


def exporter_of(model: onnx.ModelProto) -> Exporter | None:
    """Return the exporter that wrote a model; None if it is not known."""
    return next((exporter for exporter in EXPORTERS if exporter.wrote(model)), None)


def exporter_called(word: str) -> Exporter | None:
    """Return the exporter with a word of `--names`; None for the words that are no exporter's."""
    return next((exporter for exporter in EXPORTERS if exporter.word == word), None)


def chosen_exporter(model: onnx.ModelProto, names: str) -> Exporter | None:
    """Return the exporter whose framework's names are wanted of a model; None for the file's own.

    Args:
        model: the model.
        names: a word of `names_words`.
    """
    return exporter_of(model) if names == AUTO_NAMES else exporter_called(names)
