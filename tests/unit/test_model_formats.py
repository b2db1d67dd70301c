"""The table of model file formats."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from lsuv_cli.core.errors import ModelError
from lsuv_cli.reading.formats import FORMATS, format_of, open_model_file
from lsuv_cli.reading.onnx_file import ONNX, OnnxFile
from lsuv_cli.reading.torchscript import PICKLE_PROTOCOL_2, TORCHSCRIPT


def _zip_bytes(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    return buffer.getvalue()


def test_a_zip_archive_and_a_pickle_are_left_to_torchscript() -> None:
    for content in (_zip_bytes("m/code/a.py"), PICKLE_PROTOCOL_2 + b"rest"):
        assert format_of(Path("model.onnx"), content) is TORCHSCRIPT


def test_every_other_file_is_read_as_onnx(tmp_path: Path) -> None:
    assert format_of(tmp_path / "missing.pt") is ONNX
    assert format_of(Path("model.pt"), b"\x08\x09") is ONNX
    assert FORMATS[-1] is ONNX


def test_the_file_itself_is_looked_at_where_its_bytes_are_not_given(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(_zip_bytes("m/code/a.py"))
    assert format_of(path) is TORCHSCRIPT


def test_an_onnx_file_needs_no_examples_and_is_only_read_when_asked_for(tmp_path: Path) -> None:
    file = open_model_file(tmp_path / "missing.onnx")
    assert isinstance(file, OnnxFile)
    assert (file.example_inputs, file.state) == ((), None)
    with pytest.raises(ModelError, match="no such model file"):
        file.source({})


def test_a_checkpoint_is_refused_when_it_is_opened() -> None:
    with pytest.raises(ModelError, match="checkpoint of weights"):
        open_model_file(Path("model.pt"), _zip_bytes("m/data.pkl"))
