"""A new exporter: what its file of `names` and its line in the registry are enough for."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from lsuv_cli.core.errors import ModelError
from lsuv_cli.core.events import Silent
from lsuv_cli.layers.find import find_layers
from lsuv_cli.names import exporters
from lsuv_cli.names.choose import choose_names
from lsuv_cli.names.exporter import Exporter, RecoveredNames
from lsuv_cli.reading.onnx_file import read_model
from support.graphs import node, random_weight, save_graph
from support.initialization import run
from support.sample_files import save_samples


def documented_exporter() -> type[Exporter]:
    """Return the class that the protocol's docstring defines."""
    names: dict[str, Any] = {}
    for example in doctest.DocTestParser().get_examples(Exporter.__doc__ or ""):
        exec(example.source, names)
    exporter: type[Exporter] = names["Acme"]
    return exporter


@pytest.fixture
def acme(monkeypatch: pytest.MonkeyPatch) -> Exporter:
    exporter = documented_exporter()()
    monkeypatch.setattr(exporters, "EXPORTERS", (*exporters.EXPORTERS, exporter))
    return exporter


def save_model(path: Path, producer: str = "") -> Path:
    """Save two fully connected layers, as if some exporter had written them."""
    weights = {"w1": random_weight(6, 5), "b1": np.ones(5, np.float32), "w2": random_weight(5, 4)}
    nodes = [node("Gemm", "x w1 b1", "y"), node("Relu", "y", "r"), node("MatMul", "r w2", "z")]
    save_graph(path, nodes, weights, ["n", 6])
    model = onnx.load(path)
    model.producer_name = producer
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("producer", "names", "prefix"),
    [
        ("acme2onnx", "auto", "net/"),
        ("another", "acme", "net/"),
        ("another", "auto", ""),
        ("acme2onnx", "onnx", ""),
    ],
)
def test_a_registered_exporter_names_the_weights_of_its_files_or_if_asked_for(
    tmp_path: Path, acme: Exporter, producer: str, names: str, prefix: str
) -> None:
    model = save_model(tmp_path / "m.onnx", producer)
    _, written = run(model, save_samples(tmp_path, (6,)), names=names)
    assert written.keys() == {f"{prefix}w1", f"{prefix}b1", f"{prefix}w2"}
    assert acme.word in exporters.names_words()


class _Warnings(Silent):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def warn(self, text: str) -> None:
        self.texts.append(text)


class _Forgetful(Exporter):
    """An exporter whose files don't tell the framework's names."""

    word = "forgetful"
    framework = "Axes"

    def wrote(self, model: onnx.ModelProto) -> bool:
        return model.producer_name == "axes"

    def recover(self, *_: object, **__: object) -> RecoveredNames:
        return RecoveredNames({}, reasons=["w1 was lost", "w2 too"])


def test_reasons_refuse_the_names_or_warn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporters, "EXPORTERS", (_Forgetful(),))
    model, _ = read_model(save_model(tmp_path / "m.onnx", "axes"))
    layer_nodes, events = find_layers(model), _Warnings()
    chosen = choose_names(model, layer_nodes, "auto", events)
    assert chosen.naming.keys() == {"w1", "b1", "w2"}
    assert events.texts == ["the written names are the ONNX file's, not Axes': w1 was lost; w2 too"]
    with pytest.raises(
        ModelError, match=r"can't recover Axes' names from .*m.onnx: w1 was lost; w2 too"
    ):
        choose_names(model, layer_nodes, "forgetful", events)


def test_the_command_line_knows_the_words_without_numpy() -> None:
    script = (
        "import sys; from lsuv_cli.cli.options import output; "
        "print(output.names_words(), *{'numpy', 'onnx'} & sys.modules.keys())"
    )
    printed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == str(exporters.names_words())
