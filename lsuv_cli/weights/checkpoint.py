"""A checkpoint: named tensors in one file or several, by this tool or any other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from lsuv_cli.core.layout import FloatArray, TensorInfo


class Checkpoint(Mapping[str, FloatArray]):
    """The tensors of a checkpoint by name, each read when it is asked for.

    Attributes:
        files: the files that hold it: one, or shards and their index, which is last.
        infos: shape and dtype of each tensor; a dtype that numpy lacks is a void dtype.
    """

    def __init__(
        self,
        files: tuple[Path, ...],
        infos: Mapping[str, TensorInfo],
        read: Callable[[str], FloatArray],
    ) -> None:
        self.files = files
        self.infos = infos
        self._read = read

    @property
    def path(self) -> Path:
        """The file, or the index of its shards."""
        return self.files[-1]

    def __getitem__(self, name: str) -> FloatArray:
        if name not in self.infos:
            raise KeyError(name)
        return self._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.infos)

    def __len__(self) -> int:
        return len(self.infos)
