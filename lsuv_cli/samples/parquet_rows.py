"""Reading single rows of Parquet files without loading their row groups whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from lsuv_cli.samples.file_version import FileVersion

PIECE_BYTES = 4 << 20
PIECES_KEPT = 8
BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class ParquetColumn:
    """A file's column.

    Attributes:
        path: the file.
        version: of the file when `starts` was read.
        column: its path in the schema, down to the bytes.
        starts: the first row of each row group, and the number of rows.
    """

    path: Path
    version: FileVersion
    column: str
    starts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some consecutive rows; `values` is a pyarrow.Array of bytes."""

    table: ParquetColumn
    start: int
    stop: int
    values: Any

    def has(self, table: ParquetColumn, row: int) -> bool:
        """Return whether a row of a table is among them."""
        return self.table is table and self.start <= row < self.stop


class _Stream:
    """The pieces of one row group, one after another."""

    def __init__(self, table: ParquetColumn, group: int, file: Any) -> None:
        self.table = table
        self.group = group
        self.file = file
        self.position = table.starts[group]
        self._batches = file.iter_batches(
            _rows_in_piece(file.metadata.row_group(group), table.column),
            row_groups=[group],
            columns=[table.column],
            use_threads=False,
        )

    def next(self) -> _Piece:
        """Return the next piece.

        Raises:
            OSError: there is none, or the file can't be read.
        """
        batch = next(self._batches, None)
        if batch is None:
            raise OSError(f"the row group {self.group} ends too early")
        values = batch.column(0)
        if values.type.num_fields:
            (values,) = values.flatten()
        piece = _Piece(self.table, self.position, self.position + len(values), values)
        self.position = piece.stop
        return piece


class RowReader:
    """Reads rows for several threads; quickest in their order.

    A row can only be reached through those before it in its row group, which may be a whole file.
    So there is one stream, which goes on from where it is where it can, and remembers the last
    pieces that somebody asked for.
    """

    def __init__(self) -> None:
        self._reading = Lock()
        self._stream: _Stream | None = None
        self._pieces: list[_Piece] = []
        # Rows that threads wait for: the stream must not discard them on its way to another row.
        self._wanted: Counter[tuple[ParquetColumn, int]] = Counter()
        self._counting = Lock()

    def read(self, table: ParquetColumn, group: int, row: int) -> bytes | None:
        """Return a row's bytes; None where it has none.

        Args:
            table: the column.
            group: the row group that holds the row.
            row: its number in the file.

        Raises:
            OSError: the file can't be read, or has changed.
        """
        with self._counting:
            self._wanted[table, row] += 1
        try:
            with self._reading:
                piece = self._find(table, row) or self._advance(table, group, row)
                value: bytes | None = piece.values[row - piece.start].as_py()
                return value
        finally:
            with self._counting:
                self._wanted[table, row] -= 1
                if not self._wanted[table, row]:
                    del self._wanted[table, row]

    def _find(self, table: ParquetColumn, row: int) -> _Piece | None:
        return next((piece for piece in self._pieces if piece.has(table, row)), None)

    def _advance(self, table: ParquetColumn, group: int, row: int) -> _Piece:
        import pyarrow as pa

        stream, self._stream = self._stream, None  # after an error the next read opens another
        try:
            if stream is None or stream.table is not table:
                if stream is not None:
                    stream.file.close(force=True)
                stream = _Stream(table, group, _open(table.path))
                table.version.check(table.path)
            elif stream.group != group or stream.position > row:
                table.version.check(table.path)
                stream = _Stream(table, group, stream.file)
            while not (piece := stream.next()).has(table, row):
                if self._is_wanted(piece):
                    self._keep(piece)
        except pa.ArrowException as error:
            raise OSError(" ".join(str(error).split())) from None
        self._stream = stream
        self._keep(piece)
        return piece

    def _keep(self, piece: _Piece) -> None:
        self._pieces.append(piece)
        surplus = len(self._pieces) - PIECES_KEPT
        if surplus > 0:
            old, recent = self._pieces[:surplus], self._pieces[surplus:]
            self._pieces = [one for one in old if self._is_wanted(one)] + recent

    def _is_wanted(self, piece: _Piece) -> bool:
        with self._counting:
            return any(piece.has(table, row) for table, row in self._wanted)


def _rows_in_piece(group: Any, column: str) -> int:
    chunks = (group.column(index) for index in range(group.num_columns))
    sizes = (chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema == column)
    size: int = max(1, sum(sizes))
    rows: int = group.num_rows
    return max(1, PIECE_BYTES * rows // size)


def _open(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # With pre-buffering a row group would be loaded whole, and it may be the whole file.
    return pq.ParquetFile(pa.OSFile(str(path)), buffer_size=BUFFER_BYTES, pre_buffer=False)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a pyarrow.parquet.ParquetFile, closed at the end.

    Raises:
        OSError: the file can't be read.
        pyarrow.ArrowException: it is no Parquet file.
    """
    file = _open(path)
    try:
        yield file
    finally:
        file.close(force=True)
