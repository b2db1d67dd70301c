"""A new sample format takes a file of `samples` and a line in the table."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from numpy.typing import NDArray

from lsuv_cli.core.errors import DataError
from lsuv_cli.samples import formats
from lsuv_cli.samples.file_table import MOST_FORMATS, FileTable
from lsuv_cli.samples.file_version import FileVersion
from lsuv_cli.samples.formats import FORMATS, ArrayFormat, FormatTable, PictureFormat
from support.initialization import run
from support.sample_files import save_pictures, save_samples
from support.small_models import small_model

SEPARATOR = b"--next--"


def open_csv(path: Path) -> dict[str, NDArray[Any]]:
    """Read a table of numbers, one sample per line, as pixels of 3x8x8."""
    return {"": np.loadtxt(path, np.float32, delimiter=",", ndmin=2).reshape(-1, 3, 8, 8)}


class Album:
    """Files that hold pictures one after another; see `samples.pictures.Pictures`."""

    def __init__(self, files: FileTable) -> None:
        self._pictures = [
            (path, data) for path in files for data in path.read_bytes().split(SEPARATOR)
        ]

    def __len__(self) -> int:
        return len(self._pictures)

    def name(self, index: int) -> str:
        return f"{self._pictures[index][0]}#{index}"

    def open(self, index: int) -> BinaryIO:
        return io.BytesIO(self._pictures[index][1])

    def version(self, index: int) -> FileVersion:
        return FileVersion.of(self._pictures[index][0])


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    csv = ArrayFormat((".csv",), "tables", open_csv, must_be_named=True)
    album = PictureFormat((".album",), "albums", Album)
    monkeypatch.setattr(formats, "FORMATS", FORMATS.and_also(csv, album))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return small_model(tmp_path / "m.onnx")


def test_a_registered_format_of_arrays_feeds_a_model(tmp_path: Path, model: Path) -> None:
    samples = save_samples(tmp_path, (3, 8, 8))
    table = tmp_path / "samples.csv"
    np.savetxt(table, np.load(samples).reshape(-1, 192), delimiter=",", fmt="%.9g")
    _, written = run(model, table)
    _, expected = run(model, samples)
    assert written.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(written[name], value)


def test_a_registered_format_of_pictures_feeds_a_model(tmp_path: Path, model: Path) -> None:
    pictures = save_pictures(tmp_path / "pictures")
    album = tmp_path / "album"
    album.mkdir()
    files = sorted(pictures.iterdir())
    for number, part in enumerate((files[:2], files[2:])):
        data = SEPARATOR.join(path.read_bytes() for path in part)
        (album / f"{number}.album").write_bytes(data)
    _, written = run(model, album)
    _, expected = run(model, pictures)
    for name, value in expected.items():
        np.testing.assert_array_equal(written[name], value)


def test_a_registered_format_is_named_where_types_are(tmp_path: Path, model: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "labels.csv").write_text("1,2\n")  # must be named by itself
    with pytest.raises(
        DataError, match=r", \.album albums or, named .*, \.csv tables; found 1 \.csv$"
    ):
        run(model, tmp_path / "in")


def test_damage_is_told_with_the_formats_remedy(tmp_path: Path, model: Path) -> None:
    (tmp_path / "x.csv").write_text("1,two\n")
    with pytest.raises(DataError, match=r"can't read the arrays in .*x\.csv: .*; write it again$"):
        run(model, tmp_path / "x.csv")


def test_tables_that_can_not_be() -> None:
    with pytest.raises(ValueError, match="two with the same suffix"):
        FORMATS.and_also(ArrayFormat((".npy",), "arrays", open_csv))
    many = (ArrayFormat((f".{number}",), "arrays", open_csv) for number in range(MOST_FORMATS + 1))
    with pytest.raises(ValueError, match="more than 64 formats"):
        FormatTable(*many)
