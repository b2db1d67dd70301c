"""The format .tar: shards of pictures, named as WebDataset names them."""

from __future__ import annotations

import io
import tarfile
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lsuv_cli.core.errors import DataError
from lsuv_cli.samples.file_version import FileVersion
from lsuv_cli.samples.packed_strings import PackedStrings, pack
from lsuv_cli.samples.picture_files import PICTURE_SUFFIXES
from lsuv_cli.samples.pictures import Pictures, concatenated
from lsuv_cli.samples.tar_headers import read_at, read_headers

EXTENSIONS_SHOWN = 4


class TarShard:
    """A shard: its members `key.jpg`, `key.png` and so on are pictures, in their order.

    All after the first dot of a member's file name is its extension; so `key.cls` and
    `key.seg.png` are passed over, as are hidden files. Only headers are read; for each picture its
    name and some 25 bytes are kept.
    """

    def __init__(self, path: Path) -> None:
        """Find the pictures.

        Raises:
            DataError: the archive can't be read, is damaged, cut short or compressed, or has no
                picture, or several for one key.
        """
        self._path = path
        self._offsets = array("q")
        self._sizes = array("q")
        with _explaining(path), path.open("rb", buffering=0) as file:
            self._file_version = FileVersion.of(file.fileno())
            self._names = self._index(file)

    def _index(self, file: BinaryIO) -> PackedStrings:
        names = bytearray()
        others: dict[str, None] = {}
        previous = ""
        for member in read_headers(file):
            key, extension = _split(member.name)
            if not _is_picture(key, extension):
                if len(others) < EXTENSIONS_SHOWN:
                    others[extension] = None
                continue
            if key == previous:
                raise DataError(
                    f"{self._path} has several pictures for its sample {key}, and which of them "
                    "the network takes is not clear; unpack those into a folder and give that"
                )
            previous = key
            names += pack([member.name])
            self._offsets.append(member.offset)
            self._sizes.append(member.size)
        if not names:
            has = ", ".join(f"key.{extension}" for extension in others) or "nothing"
            raise DataError(
                f"{self._path} has no pictures named as WebDataset names them, key.jpg, key.png "
                f"and so on; it has {has}"
            )
        return PackedStrings(names)

    def __len__(self) -> int:
        return len(self._sizes)

    def name(self, index: int) -> str:
        """Return the shard's path and the member's name."""
        return f"{self._path}: {self._names[index]}"

    def version(self, index: int) -> FileVersion:  # noqa: ARG002 - as for other pictures
        """Return the version of the file when it was found; `open` compares it."""
        return self._file_version

    def open(self, index: int) -> BinaryIO:
        """Return a picture's bytes as a file in memory.

        Raises:
            OSError: the shard can't be read, or has changed.
        """
        offset, size = self._offsets[index], self._sizes[index]
        with self._path.open("rb", buffering=0) as file:
            self._file_version.check(file.fileno())
            data = read_at(file, size, offset)
        if len(data) != size:
            raise OSError(f"{len(data)} of {size} bytes could be read")
        return io.BytesIO(data)


def open_tar_shards(paths: Iterable[Path]) -> Pictures:
    """Open the pictures in some shards, of which it reads the headers.

    Raises:
        DataError: see `TarShard`.
    """
    return concatenated([TarShard(path) for path in paths])


@contextmanager
def _explaining(path: Path) -> Iterator[None]:
    """Turn the errors of reading a shard into sentences.

    Raises:
        DataError: the work inside raised an error of the file or of the format.
    """
    try:
        yield
    except OSError as error:
        raise DataError(f"can't read {path}: {error.strerror or error}") from None
    except EOFError as error:
        raise DataError(
            f"{path} is cut short: its member {error} ends after the file does; copy it again"
        ) from None
    except MemoryError:
        raise DataError(
            f"{path} is damaged: a header claims more bytes than there is memory; copy it again"
        ) from None
    except tarfile.TarError as error:
        raise DataError(
            f"{path} is damaged, or no plain tar archive ({error}); unpack it with gunzip or the "
            "like if it is compressed, else copy it again"
        ) from None


def _split(name: str) -> tuple[str, str]:
    """Return a member's key, with its folders, and its extension."""
    folder, slash, file_name = name.rpartition("/")
    stem, _, extension = file_name.partition(".")
    return folder + slash + stem, extension


def _is_picture(key: str, extension: str) -> bool:
    hidden = not key or key.endswith("/")
    return not hidden and "." not in extension and f".{extension}".lower() in PICTURE_SUFFIXES
