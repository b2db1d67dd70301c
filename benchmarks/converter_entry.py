"""A file that another tool has written, with samples for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

Feeds = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Written:
    """A file that another tool has written, with samples for it.

    Attributes:
        name: of the model.
        model: the file's content.
        shapes: the shape of one sample for each input, without the batch axis.
        whole: inputs with integers, and the number of their values.
    """

    name: str
    model: onnx.ModelProto
    shapes: Mapping[str, tuple[int, ...]]
    whole: Mapping[str, int] = field(default_factory=dict)

    def samples(self, count: int, seed: int = 0) -> dict[str, NDArray[Any]]:
        """Return `count` samples for each input: normal numbers, or uniform integers."""
        rng = np.random.default_rng(seed)
        types = {one.name: one.type.tensor_type.elem_type for one in self.model.graph.input}
        drawn: dict[str, NDArray[Any]] = {}
        for name, shape in self.shapes.items():
            dtype = onnx.helper.tensor_dtype_to_np_dtype(types[name])
            if name in self.whole:
                drawn[name] = rng.integers(0, self.whole[name], (count, *shape)).astype(dtype)
            else:
                drawn[name] = rng.standard_normal((count, *shape)).astype(dtype)
        return drawn


@dataclass(frozen=True, slots=True)
class Converter:
    """A tool that writes ONNX files.

    Attributes:
        title: its name in the table, with where the models come from.
        packages: those whose versions the table gives.
        write: makes the files; it imports the packages.
    """

    title: str
    packages: tuple[str, ...]
    write: Callable[[], Iterator[Written]]
