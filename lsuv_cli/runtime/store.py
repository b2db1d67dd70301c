"""Values between segments, batch by batch: in memory, on disk, or not kept at all."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import numpy as np

from lsuv_cli.runtime.device_array import DeviceArray, Value
from lsuv_cli.runtime.spill import SpillFile


class StorageTier(Enum):
    """The memory that a value is kept in."""

    DEVICE = auto()
    HOST = auto()
    DISK = auto()


@dataclass(frozen=True, slots=True)
class _Kept:
    """A value that is kept.

    Attributes:
        shape: its shape.
        dtype: its dtype.
        value: where it is in the host's memory or the accelerator's.
        offset: where it is in the spill file, else.
        checksum: of what is there.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    value: Value | None
    offset: int = -1
    checksum: int = 0

    @property
    def tier(self) -> StorageTier:
        """The memory that it is in."""
        if self.value is None:
            return StorageTier.DISK
        return StorageTier.DEVICE if isinstance(self.value, DeviceArray) else StorageTier.HOST

    @property
    def nbytes(self) -> int:
        """Its size."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


class ValueStore:
    """The values of each batch at the last boundary between segments where they were kept.

    Attributes:
        spilled_bytes: bytes that were written to disk so far.
    """

    def __init__(self, memory_bytes: int, spill: SpillFile | None, device_bytes: int = 0) -> None:
        """Begin without values.

        Args:
            memory_bytes: what may be held in the host's memory.
            spill: where more is written; None for nowhere.
            device_bytes: what may stay in the accelerator's memory.
        """
        self.spilled_bytes = 0
        self._spill = spill
        self._free = {StorageTier.DEVICE: device_bytes, StorageTier.HOST: memory_bytes}
        self._values: dict[int, dict[str, _Kept]] = {}
        self._positions: dict[int, int] = {}

    @property
    def free_bytes(self) -> int:
        """Bytes that can be written to disk."""
        return 0 if self._spill is None else self._spill.free_bytes

    def position(self, batch: int) -> int:
        """Return the boundary at which a batch's values are kept; 0, the inputs, if none are."""
        return self._positions.get(batch, 0)

    def keep(
        self, batch: int, position: int, made: Mapping[str, Value], wanted: Collection[str]
    ) -> bool:
        """Keep a batch's values at a boundary in place of its earlier ones.

        Args:
            batch: its number.
            position: the boundary's.
            made: the values that are new.
            wanted: the names of all that are wanted from now on; others are let go.

        Returns:
            Whether it is kept; if not, what was kept before still is.
        """
        before = self._values.get(batch, {})
        leaving = [kept for name, kept in before.items() if name not in wanted or name in made]
        free = dict(self._free)
        for one in leaving:
            if one.tier in free:
                free[one.tier] += one.nbytes
        after = {name: kept for name, kept in before.items() if name in wanted}
        new: dict[str, _Kept] = {}
        for name in sorted(made):
            kept = self._placed(made[name], free)
            if kept is None:
                for one in new.values():
                    self._release(one)
                return False
            new[name] = kept
        for one in leaving:
            self._release(one)
        self._values[batch] = after | new
        self._positions[batch] = position
        return True

    def load(self, batch: int) -> dict[str, Value]:
        """Return the values that are kept of a batch.

        Raises:
            OSError: they can't be read any more.
        """
        loaded: dict[str, Value] = {}
        for name, kept in self._values[batch].items():
            if kept.value is not None:
                loaded[name] = kept.value
            elif self._spill is not None:
                loaded[name] = self._spill.read(kept.offset, kept.checksum, kept.shape, kept.dtype)
        return loaded

    def specs(self, batch: int) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Return shape and dtype of each value that is kept of a batch."""
        return {name: (k.shape, k.dtype) for name, k in self._values.get(batch, {}).items()}

    def index(self) -> list[Any]:
        """Return where on disk every value is, in numbers and texts for a journal."""
        return [
            [
                batch,
                position,
                [[n, k.offset, k.checksum, k.shape, k.dtype.name] for n, k in kept.items()],
            ]
            for batch, position in self._positions.items()
            for kept in [self._values[batch]]
        ]

    def restore(self, index: Sequence[Any]) -> None:
        """Replace all values by those that an index describes."""
        self._values = {
            batch: {
                name: _Kept(tuple(shape), np.dtype(dtype), None, offset, checksum)
                for name, offset, checksum, shape, dtype in kept
            }
            for batch, _, kept in index
        }
        self._positions = {batch: position for batch, position, _ in index}
        if self._spill is not None:
            everything = [one for kept in self._values.values() for one in kept.values()]
            self._spill.occupy((one.offset, one.nbytes) for one in everything)

    def forget(self, batch: int) -> None:
        """Drop a batch's values."""
        for kept in self._values.pop(batch, {}).values():
            self._release(kept)
        self._positions.pop(batch, None)

    def clear(self) -> None:
        """Drop all values."""
        for batch in list(self._values):
            self.forget(batch)

    def _placed(self, value: Value, free: dict[StorageTier, int]) -> _Kept | None:
        """Place a value where it fits; None where it fits nowhere."""
        shape, dtype, size = value.shape, value.dtype, value.nbytes
        for tier in (StorageTier.DEVICE, StorageTier.HOST):
            if tier is StorageTier.HOST and isinstance(value, DeviceArray):
                value = value.numpy()
            kept = _Kept(shape, dtype, value)
            if kept.tier is tier and size <= free[tier]:
                free[tier] -= size
                self._free[tier] -= size
                return kept
        assert not isinstance(value, DeviceArray)
        written = self._spill.write(value) if self._spill is not None else None
        if written is None:
            return None
        self.spilled_bytes += size
        return _Kept(shape, dtype, None, *written)

    def _release(self, kept: _Kept) -> None:
        if kept.tier in self._free:
            self._free[kept.tier] += kept.nbytes
        elif self._spill is not None:
            self._spill.release(kept.offset, kept.nbytes)
