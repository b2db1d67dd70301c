"""The format .parquet: pictures in a column, as Hugging Face's datasets and others write them."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

from lsuv_cli.core.errors import DataError
from lsuv_cli.samples.file_version import FileVersion
from lsuv_cli.samples.parquet_column import picture_column
from lsuv_cli.samples.parquet_rows import ParquetColumn, RowReader, opened
from lsuv_cli.samples.pictures import Pictures, concatenated


class ParquetTable:
    """A table with a column of encoded pictures: each row is one.

    Only the footer is read at first; of it the number of rows in each row group is kept.
    """

    def __init__(self, path: Path, reader: RowReader) -> None:
        """Find the column.

        Args:
            path: the file.
            reader: reads the rows; the tables share it, so that what it remembers stays little.

        Raises:
            DataError: pyarrow is not installed, the file is no Parquet file, or not just one of
                its columns can hold the pictures.
        """
        try:
            import pyarrow as pa
        except ImportError:
            raise DataError(
                f"{path} is a Parquet file, which pyarrow reads; pip install 'lsuv-cli[data]'"
            ) from None
        self._reader = reader
        try:
            version = FileVersion.of(path)
            with opened(path) as file:
                column = picture_column(file.schema_arrow, path)
                counts = [
                    file.metadata.row_group(group).num_rows
                    for group in range(file.metadata.num_row_groups)
                ]
        except (OSError, pa.ArrowException) as error:
            if isinstance(error, OSError) and error.strerror:
                raise DataError(f"can't read {path}: {error.strerror}") from None
            reason = " ".join(str(error).split()).rstrip(".")
            raise DataError(
                f"{path} is damaged, or no Parquet file ({reason}); copy it again"
            ) from None
        self._table = ParquetColumn(path, version, column, tuple(accumulate(counts, initial=0)))

    def __len__(self) -> int:
        return self._table.starts[-1]

    def name(self, index: int) -> str:
        """Return the file's path and the row."""
        return f"{self._table.path}[{index}]"

    def version(self, index: int) -> FileVersion:  # noqa: ARG002 - as for other pictures
        """Return the version of the file when it was found; `open` compares it."""
        return self._table.version

    def open(self, index: int) -> BinaryIO:
        """Return a picture's bytes as a file in memory.

        Raises:
            OSError: the row can't be read or holds no bytes, or the file has changed.
        """
        group = bisect_right(self._table.starts, index) - 1
        data = self._reader.read(self._table, group, index)
        if data is None:
            # Hugging Face's datasets write a folder of pictures as a table of paths.
            raise OSError(
                f"the column {self._table.column} holds no bytes in this row; if the table only "
                "has paths, give those files to --data"
            )
        return io.BytesIO(data)


def open_parquet_tables(paths: Iterable[Path]) -> Pictures:
    """Open the pictures in some tables, of which it reads the footers.

    Raises:
        DataError: see `ParquetTable`.
    """
    reader = RowReader()
    return concatenated([ParquetTable(path, reader) for path in paths])
