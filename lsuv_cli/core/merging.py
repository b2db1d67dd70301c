"""Moments of many batches, merged as they come."""

from __future__ import annotations

from collections.abc import Sequence

from lsuv_cli.core.moments import Moments


class BatchMerge:
    """Merges the moments of numbered batches in pairs, then the pairs, and so on.

    The result is the same bit for bit in whatever order the batches come. Where they come in order,
    at most log2(n) sets of moments of n batches are held.
    """

    def __init__(self) -> None:
        """Begin without a batch."""
        self.batches = 0
        # By how many times it was merged, and its number among those merged as often.
        self._parts: dict[tuple[int, int], Sequence[Moments]] = {}

    def add(self, batch: int, moments: Sequence[Moments]) -> None:
        """Add the moments of a batch.

        Args:
            batch: its number; each comes once.
            moments: one for each activation, in the same order for every batch.
        """
        self.batches += 1
        level, number = 0, batch
        while (sibling := self._parts.pop((level, number ^ 1), None)) is not None:
            pair = (sibling, moments) if number % 2 else (moments, sibling)
            moments = [first.merge(second) for first, second in zip(*pair, strict=True)]
            level, number = level + 1, number // 2
        self._parts[level, number] = moments

    def merged(self) -> list[Moments]:
        """Return the moments of all batches together; empty without any."""
        in_order = sorted(self._parts.items(), key=lambda part: part[0][1] << part[0][0])
        if not in_order:
            return []
        together, *rest = (list(moments) for _, moments in in_order)
        for moments in rest:
            together = [
                first.merge(second) for first, second in zip(together, moments, strict=True)
            ]
        return together
