"""The kinds of sample files, told by their names."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

IMAGE_SUFFIXES = frozenset(
    (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
ARRAY_SUFFIXES = frozenset((".npy", ".npz", ".safetensors"))
# Token ids; in a folder such files are more likely notes or labels, so they must be named.
TOKEN_SUFFIXES = frozenset((".jsonl", ".txt"))
TAR_SUFFIXES = frozenset((".tar",))
PARQUET_SUFFIXES = frozenset((".parquet",))


class SampleKind(IntEnum):
    """What a sample file holds."""

    PICTURE = 0
    ARRAY = 1
    TOKENS = 2
    TAR = 3
    PARQUET = 4


NUMBERS = frozenset((SampleKind.ARRAY, SampleKind.TOKENS))
PICTURES = frozenset((SampleKind.PICTURE, SampleKind.TAR, SampleKind.PARQUET))

_BY_SUFFIX = {
    suffix: kind
    for kind, suffixes in (
        (SampleKind.PICTURE, IMAGE_SUFFIXES),
        (SampleKind.ARRAY, ARRAY_SUFFIXES),
        (SampleKind.TOKENS, TOKEN_SUFFIXES),
        (SampleKind.TAR, TAR_SUFFIXES),
        (SampleKind.PARQUET, PARQUET_SUFFIXES),
    )
    for suffix in suffixes
}


def kind_of(name: str) -> SampleKind | None:
    """The kind of a file by its name, without folders; None where that is no sample's."""
    dot = name.rfind(".")
    # Path.suffix says the same of every name, but takes several times as long.
    return _BY_SUFFIX.get(name[dot:].lower()) if dot > 0 else None


def described_types() -> str:
    """All types that can be read, for an error's text."""
    return (
        f"{_listed(IMAGE_SUFFIXES)} pictures, {_listed(TAR_SUFFIXES | PARQUET_SUFFIXES)} "
        f"collections of them (gunzip a .tar.gz), {_listed(ARRAY_SUFFIXES)} arrays or, named by "
        "themselves, "
        f"{_listed(TOKEN_SUFFIXES)} token ids"
    )


def _listed(suffixes: Iterable[str]) -> str:
    return ", ".join(sorted(suffixes))
