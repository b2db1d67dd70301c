"""A checkpoint: named tensors in one file or several, by this tool or any other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from lsuv_cli.core.errors import DataError
from lsuv_cli.core.layout import FloatArray, TensorInfo


class Checkpoint(Mapping[str, FloatArray]):
    """The tensors of a checkpoint by name, each read when it is asked for.

    Attributes:
        files: the files that hold it: one, or shards and their index, which is last.
        infos: shape and dtype of each tensor; a dtype that numpy lacks is a void dtype.
        kinds: what those tensors are whose dtype numpy lacks, as "F8_E4M3" or "sparse".
        texts: the texts in the file's header.
        ties: for each tensor that is the same memory as another one before it, that one's name.
    """

    def __init__(
        self,
        files: tuple[Path, ...],
        infos: Mapping[str, TensorInfo],
        read: Callable[[str], FloatArray],
        ties: Mapping[str, str] | None = None,
        *,
        kinds: Mapping[str, str] | None = None,
        texts: Mapping[str, str] | None = None,
    ) -> None:
        self.files = files
        self.infos = infos
        self.ties = ties or {}
        self.kinds = kinds or {}
        self.texts = texts or {}
        self._read = read

    @property
    def path(self) -> Path:
        """The file, or the index of its shards."""
        return self.files[-1]

    def without_prefix(self, prefix: str) -> Checkpoint:
        """Return the tensors under names from which a prefix that all have is removed."""
        cut = len(prefix)
        return Checkpoint(
            self.files,
            {name[cut:]: info for name, info in self.infos.items()},
            lambda name: self._read(prefix + name),
            {name[cut:]: first[cut:] for name, first in self.ties.items()},
            kinds={name[cut:]: kind for name, kind in self.kinds.items()},
            texts=self.texts,
        )

    def __contains__(self, name: object) -> bool:
        return name in self.infos

    def __getitem__(self, name: str) -> FloatArray:
        if name not in self.infos:
            raise KeyError(name)
        if name in self.kinds:
            raise DataError(
                f"{self.path}: {name} is {self.kinds[name]}, which can't be read as numbers; save "
                "it as a dense float32 tensor"
            )
        return self._read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.infos)

    def __len__(self) -> int:
        return len(self.infos)
