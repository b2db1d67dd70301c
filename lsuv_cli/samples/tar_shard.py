"""The format .tar: shards of pictures, named as WebDataset names them."""

from __future__ import annotations

import io
import tarfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lsuv_cli.core.errors import DataError
from lsuv_cli.samples.file_table import Remarks
from lsuv_cli.samples.file_version import FileVersion
from lsuv_cli.samples.heif import INSTALL, lacking_plugin
from lsuv_cli.samples.packed_strings import PackedStrings, pack
from lsuv_cli.samples.passed_over import PassedOver
from lsuv_cli.samples.picture_files import AVIF_SUFFIXES, HEIF_SUFFIXES, PICTURE_SUFFIXES
from lsuv_cli.samples.pictures import Concatenation, Pictures
from lsuv_cli.samples.tar_headers import read_at, read_headers

EXTENSIONS_SHOWN = 4


class TarShard:
    """A shard: its members `key.jpg`, `key.png` and so on are pictures, in their order.

    All after the first dot of a member's file name is its extension; so `key.cls` and
    `key.seg.png` are passed over, as are hidden files. Only headers are read; for each picture its
    name and some 25 bytes are kept.

    Attributes:
        path: the file.
        passed_over: the members that are no pictures, by the last suffixes of their names.
        lost: those of them that have a picture's suffix, after another one, and whose key has no
            picture: they may be meant as samples.
        first_lost: the name of the first of those.
    """

    def __init__(self, path: Path) -> None:
        """Find the pictures.

        Raises:
            DataError: the archive can't be read, is damaged, cut short or compressed, or has no
                picture, or several for one key.
        """
        self.path = path
        self._offsets = array("q")
        self._sizes = array("q")
        self.passed_over = PassedOver()
        self.lost = 0
        self.first_lost = ""
        with _explaining(path), path.open("rb", buffering=0) as file:
            self._file_version = FileVersion.of(file.fileno())
            self._names = self._index(file)

    def _index(self, file: BinaryIO) -> PackedStrings:
        names = bytearray()
        others: dict[str, None] = {}
        suffixes = _suffixes()
        pictured = ""
        # Members of one key lie side by side.
        pending: list[str] = []
        for member in read_headers(file):
            key, extension = _split(member.name)
            if pending and _split(pending[0])[0] != key:
                self._lose(pending, pictured)
            if not _is_picture(key, extension, suffixes):
                if len(others) < EXTENSIONS_SHOWN:
                    others[extension] = None
                if key and not key.endswith("/"):
                    self.passed_over.add(member.name.rpartition("/")[2])
                if _is_named_as_picture(key, extension, suffixes):
                    pending.append(member.name)
                continue
            if key == pictured:
                raise DataError(
                    f"{self.path} has several pictures for its sample {key}, and which of them "
                    "the network takes is not clear; unpack those into a folder and give that"
                )
            pictured = key
            names += pack([member.name])
            self._offsets.append(member.offset)
            self._sizes.append(member.size)
        self._lose(pending, pictured)
        if not names:
            has = ", ".join(f"key.{extension}" for extension in others) or "nothing"
            raise DataError(
                f"{self.path} has no pictures named as WebDataset names them, key.jpg, key.png "
                f"and so on; it has {has}"
            )
        return PackedStrings(names)

    def _lose(self, pending: list[str], pictured: str) -> None:
        """Count the members of a key that may be samples, unless it has a picture."""
        if pending and _split(pending[0])[0] != pictured:
            self.lost += len(pending)
            self.first_lost = self.first_lost or pending[0]
        pending.clear()

    def __len__(self) -> int:
        return len(self._sizes)

    def name(self, index: int) -> str:
        """Return the shard's path and the member's name."""
        return f"{self.path}: {self._names[index]}"

    def version(self, index: int) -> FileVersion:  # noqa: ARG002 - as for other pictures
        """Return the version of the file when it was found; `open` compares it."""
        return self._file_version

    def open(self, index: int) -> BinaryIO:
        """Return a picture's bytes as a file in memory.

        Raises:
            OSError: the shard can't be read, or has changed.
        """
        offset, size = self._offsets[index], self._sizes[index]
        with self.path.open("rb", buffering=0) as file:
            self._file_version.check(file.fileno())
            data = read_at(file, size, offset)
        if len(data) != size:
            raise OSError(f"{len(data)} of {size} bytes could be read")
        return io.BytesIO(data)


class TarShards(Concatenation):
    """Shards one after another, with what was passed over in all of them."""

    def __init__(self, shards: Sequence[TarShard]) -> None:
        super().__init__(shards)
        self.remarks = Remarks()
        passed_over = PassedOver()
        for shard in shards:
            passed_over.include(shard.passed_over)
        where = str(shards[0].path) if len(shards) == 1 else f"{len(shards)} shards"
        if passed_over.total:
            self.remarks.notes.append(
                f"passed over members of {where} that are no pictures to WebDataset: "
                f"{passed_over.describe()}{_remedy(passed_over)}"
            )
        lost = sum(shard.lost for shard in shards)
        if lost:
            first = next(shard for shard in shards if shard.lost)
            self.remarks.warnings.append(
                f"{lost} of the members passed over may be meant as samples, as "
                f"{first.first_lost} in {first.path}: to WebDataset a name's extension begins at "
                "its first dot; rename them, or unpack the shards and give the folder"
            )


def _remedy(passed_over: PassedOver) -> str:
    is_lacking = lacking_plugin() and not passed_over.kinds.keys().isdisjoint(HEIF_SUFFIXES)
    return f"; to read HEIC: {INSTALL}" if is_lacking else ""


def open_tar_shards(paths: Iterable[Path]) -> Pictures:
    """Open the pictures in some shards, of which it reads the headers.

    Raises:
        DataError: see `TarShard`.
    """
    return TarShards([TarShard(path) for path in paths])


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


def _suffixes() -> frozenset[str]:
    """Return the suffixes of pictures that can be read, without the dots."""
    known = (*PICTURE_SUFFIXES, *AVIF_SUFFIXES, *(() if lacking_plugin() else HEIF_SUFFIXES))
    return frozenset(suffix[1:] for suffix in known)


def _is_picture(key: str, extension: str, suffixes: frozenset[str]) -> bool:
    hidden = not key or key.endswith("/")
    return not hidden and extension.lower() in suffixes


def _is_named_as_picture(key: str, extension: str, suffixes: frozenset[str]) -> bool:
    """Return whether a member has a picture's suffix behind another."""
    return _is_picture(key, extension.rpartition(".")[2], suffixes)
