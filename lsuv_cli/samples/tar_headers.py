"""Positions of the files in a tar archive, from its headers alone."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

BLOCK_BYTES = tarfile.BLOCKSIZE
EMPTY = bytes(BLOCK_BYTES)

# Fields of a header; see pax in POSIX.1-2008. Only tarfile checks the checksum.
NAME = slice(0, 100)
SIZE = slice(124, 136)
TYPE = slice(156, 157)
MAGIC = slice(257, 262)
PATH_PREFIX = slice(345, 346)
REGULAR = (b"0", b"\0")
EXTENDED = b"x"

# Records of an extended header that change where the file's data are or what it is called. Others,
# such as fractions of a second, do not matter here.
DECISIVE = (b" path=", b" size=", b" GNU.sparse.", b" hdrcharset=")


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in an archive.

    Attributes:
        name: with its folders.
        offset: of its first byte in the archive.
        size: in bytes.
    """

    name: str
    offset: int
    size: int


def read_headers(file: BinaryIO) -> Iterator[Member]:
    """Yield the regular files in an uncompressed archive, in its order.

    Plain headers are read here, several times faster than by tarfile, which reads the others.

    Args:
        file: open for reading; its position is changed.

    Raises:
        tarfile.TarError: a header is damaged.
        EOFError: the archive is cut short.
        OSError: the file can't be read.
    """
    end = os.fstat(file.fileno()).st_size
    archive: tarfile.TarFile | None = None
    offset = 0
    while offset < end:
        header = read_at(file, BLOCK_BYTES, offset)
        if header == EMPTY:
            return
        member = _plain(file, header, offset)
        if member is not None:
            offset = _padded(member.offset + member.size)
        else:
            file.seek(offset)
            archive = archive or tarfile.TarFile(fileobj=file)
            file.seek(offset)
            found = tarfile.TarInfo.fromtarfile(archive)
            offset = archive.offset
            if not found.isreg() or found.issparse():
                continue
            member = Member(found.name, found.offset_data, found.size)
        if member.offset + member.size > end:
            raise EOFError(member.name)
        yield member


def read_at(file: BinaryIO, size: int, offset: int) -> bytes:
    """Return `size` bytes from an offset, fewer at the file's end; moves the file's position.

    `os.pread` would not, but Windows has none.
    """
    file.seek(offset)
    return file.read(size)


def _plain(file: BinaryIO, header: bytes, offset: int) -> Member | None:
    """Return a regular file from its header; None where only tarfile can read the header."""
    if header[TYPE] == EXTENDED:
        size = _size(header)
        if size is None:
            return None
        records = read_at(file, size, offset + BLOCK_BYTES)
        if any(decisive in records for decisive in DECISIVE):
            return None
        offset = _padded(offset + BLOCK_BYTES + size)
        header = read_at(file, BLOCK_BYTES, offset)
    name = header[NAME].partition(b"\0")[0]
    size = _size(header)
    plain = header[MAGIC] == b"ustar" and header[TYPE] in REGULAR and header[PATH_PREFIX] == b"\0"
    if size is None or not plain or name.endswith(b"/"):
        return None
    return Member(name.decode("utf-8", "surrogateescape"), offset + BLOCK_BYTES, size)


def _size(header: bytes) -> int | None:
    """Return the size, written in octal digits; None where it is written otherwise."""
    try:
        return int(header[SIZE].partition(b"\0")[0], 8)
    except ValueError:
        return None


def _padded(offset: int) -> int:
    return -(-offset // BLOCK_BYTES) * BLOCK_BYTES
