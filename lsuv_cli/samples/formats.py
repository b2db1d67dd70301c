"""The table of formats of sample files; a new one is a file in this folder and a line in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lsuv_cli.samples.file_table import MOST_FORMATS, FileTable
from lsuv_cli.samples.heif import lacking_plugin, open_heif_files
from lsuv_cli.samples.npy_arrays import open_npy
from lsuv_cli.samples.npz_arrays import open_npz
from lsuv_cli.samples.parquet import open_parquet_tables
from lsuv_cli.samples.picture_files import (
    AVIF_SUFFIXES,
    HEIF_SUFFIXES,
    PICTURE_SUFFIXES,
    PictureFiles,
    lacking_avif,
)
from lsuv_cli.samples.pictures import Pictures
from lsuv_cli.samples.safetensors_arrays import open_safetensors
from lsuv_cli.samples.tar_shard import open_tar_shards
from lsuv_cli.samples.tokens import open_json_tokens, open_text_tokens
from lsuv_cli.samples.torch_arrays import open_torch


@dataclass(frozen=True, slots=True)
class PictureFormat:
    """A format of files that hold one encoded picture or many.

    A new one is a line in `FORMATS`, and a file in this folder whose function returns `Pictures`.
    For files of one picture that Pillow decodes there is such a function already:

        >>> apng = PictureFormat((".apng",), "pictures", PictureFiles)
        >>> FORMATS.and_also(apng).describe()[:21]
        '.apng, .avif, .bmp, .'

    Attributes:
        suffixes: file name suffixes in lower case, each with its dot.
        description: the kind of samples, shown in messages after the suffixes.
        open: opens consecutive files of this format, a sequence of paths, without reading a
            picture; raises DataError where one can't be read.
        must_be_named: whether such files are read only if `--data` names the file itself: found in
            a folder, they are more likely something else.
        lacks: returns the command that installs what reads such files; "" where they can be read.
            Without it those found in a folder are passed over.
    """

    suffixes: tuple[str, ...]
    description: str
    open: Callable[[FileTable], Pictures]
    must_be_named: bool = False
    lacks: Callable[[], str] = str


@dataclass(frozen=True, slots=True)
class ArrayFormat:
    """A format of files that hold arrays whose first axis is the sample.

    A new one is a line in `FORMATS`, and a file in this folder whose function returns the arrays of
    a file by name. An array that has no name, as the only one of its file, is called "":

        >>> import numpy as np
        >>> def open_csv(path):
        ...     return {"": np.loadtxt(path, np.float32, delimiter=",", ndmin=2)}
        >>> csv = ArrayFormat((".csv",), "tables of numbers", open_csv)
        >>> csv.open(["1,2,3", "4,5,6"])[""].shape  # numpy reads lines as it reads a path
        (2, 3)

    Attributes:
        suffixes: file name suffixes in lower case, each with its dot.
        description: the kind of samples, shown in messages after the suffixes.
        open: opens a file and returns its arrays by name. Only arrays that feed an input are looked
            up, once, when the file is opened, so the mapping may read each on demand; see
            `LazyArrays`. Raises OSError if the file can't be read, one of `arrays.DAMAGED` if it is
            damaged, and DataError with a message of its own, for a missing library say.
        must_be_named: whether such files are read only if `--data` names the file itself: found in
            a folder, they are more likely something else.
        remedy: advice in the message about a damaged file; "" where the error itself gives it. An
            OSError is shown without it.
    """

    suffixes: tuple[str, ...]
    description: str
    open: Callable[[Path], Mapping[str, NDArray[Any]]]
    must_be_named: bool = False
    remedy: str = "write it again"


Format = PictureFormat | ArrayFormat


class FormatTable:
    """Formats, numbered in the order of the table; the numbers are not stored anywhere.

    Attributes:
        by_suffix: the number of the format of each suffix.
        pictures: numbers of the formats of pictures.
        arrays: numbers of the formats of arrays.
        must_be_named: numbers of the formats whose files a folder's search passes over.
        optional: numbers of the formats that need what may not be installed, and what returns how
            it is; see `PictureFormat.lacks`.
    """

    def __init__(self, *formats: Format) -> None:
        """Number the formats.

        Raises:
            ValueError: there are more than a file table can tell apart, or two with one suffix.
        """
        self._formats = formats
        suffixes = [suffix for one in formats for suffix in one.suffixes]
        if len(formats) > MOST_FORMATS or len(set(suffixes)) < len(suffixes):
            raise ValueError(f"more than {MOST_FORMATS} formats, or two with the same suffix")
        numbered = list(enumerate(formats))
        self.by_suffix = {suffix: n for n, one in numbered for suffix in one.suffixes}
        self.pictures = frozenset(n for n, one in numbered if isinstance(one, PictureFormat))
        self.arrays = frozenset(n for n, one in numbered if isinstance(one, ArrayFormat))
        self.must_be_named = frozenset(n for n, one in numbered if one.must_be_named)
        self.optional = {
            n: one.lacks
            for n, one in numbered
            if isinstance(one, PictureFormat) and one.lacks is not str
        }

    def __getitem__(self, number: int) -> Format:
        return self._formats[number]

    def passed_over(self) -> set[int]:
        """Return the numbers of the formats whose files a folder's search passes over here."""
        return {*self.must_be_named, *(n for n, lacks in self.optional.items() if lacks())}

    def remedies(self) -> dict[str, str]:
        """Return how to install what reads the files of each suffix that can't be read here."""
        lacking = {number: lacks() for number, lacks in self.optional.items()}
        return {
            suffix: lacking[number]
            for suffix, number in self.by_suffix.items()
            if lacking.get(number)
        }

    def and_also(self, *formats: Format) -> FormatTable:
        """Return a table with more formats."""
        return FormatTable(*self._formats, *formats)

    def describe_kind(self, description: str) -> str:
        """Return a kind of samples and the suffixes of its files, for a message.

        Args:
            description: that of its formats.
        """
        found = [one.suffixes for one in self._formats if one.description == description]
        return f"{description} ({', '.join(suffix for suffixes in found for suffix in suffixes)})"

    def describe(self) -> str:
        """Return all suffixes and what they stand for, for a message."""
        suffixes: dict[tuple[bool, str], list[str]] = {}
        for one in self._formats:
            suffixes.setdefault((one.must_be_named, one.description), []).extend(one.suffixes)
        found, named = (
            ", ".join(
                f"{', '.join(sorted(group))} {description}"
                for (must_be_named, description), group in suffixes.items()
                if must_be_named == wanted
            )
            for wanted in (False, True)
        )
        return f"{found} or, named by themselves, {named}" if named else found


COLLECTIONS = "collections of them (gunzip a .tar.gz)"

FORMATS = FormatTable(
    PictureFormat(PICTURE_SUFFIXES, "pictures", PictureFiles),
    PictureFormat(AVIF_SUFFIXES, "pictures", PictureFiles, lacks=lacking_avif),
    PictureFormat(HEIF_SUFFIXES, "pictures", open_heif_files, lacks=lacking_plugin),
    PictureFormat((".tar",), COLLECTIONS, open_tar_shards),
    PictureFormat((".parquet",), COLLECTIONS, open_parquet_tables),
    ArrayFormat((".npy",), "arrays", open_npy),
    ArrayFormat((".npz",), "arrays", open_npz),
    ArrayFormat((".safetensors",), "arrays", open_safetensors),
    # In a folder they are more likely checkpoints than samples.
    ArrayFormat((".pt", ".pth"), "tensors", open_torch, must_be_named=True, remedy=""),
    ArrayFormat((".txt",), "token ids", open_text_tokens, must_be_named=True, remedy=""),
    ArrayFormat((".jsonl",), "token ids", open_json_tokens, must_be_named=True, remedy=""),
)


def format_number(name: str) -> int | None:
    """Return the number in `FORMATS` of a file's format; None where its name is no sample's.

    Args:
        name: the file's, without folders.
    """
    dot = name.rfind(".")
    # Path.suffix gives the same for every name, but takes several times as long.
    return FORMATS.by_suffix.get(name[dot:].lower()) if dot > 0 else None


def described_formats() -> str:
    """Return all suffixes that can be read and what they stand for, for a message."""
    return FORMATS.describe()
