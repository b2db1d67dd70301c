"""Counts of what was found and is no sample, by type."""

from __future__ import annotations

from collections import Counter

# Kinds that are told apart, so that names that are all different do not fill the memory.
MOST_KINDS = 100
SHOWN_KINDS = 5

OTHERS = "others"
NO_SUFFIX = "without a suffix"


class PassedOver:
    """Counts files or members of archives by the suffixes of their names.

    >>> passed = PassedOver()
    >>> for name in ("a.gif", "b.GIF", "README", "c.csv"):
    ...     passed.add(name)
    >>> passed.describe()
    '2 .gif, 1 without a suffix, 1 .csv'

    Attributes:
        kinds: the number of each kind.
    """

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()

    def add(self, name: str) -> None:
        """Count a name, without its folders."""
        dot = name.rfind(".")
        kind = name[dot:].lower() if dot > 0 else NO_SUFFIX
        if kind not in self.kinds and len(self.kinds) >= MOST_KINDS:
            kind = OTHERS
        self.kinds[kind] += 1

    def include(self, other: PassedOver) -> None:
        """Add the counts of another search."""
        self.kinds += other.kinds

    @property
    def total(self) -> int:
        """The number of all."""
        return self.kinds.total()

    def describe(self) -> str:
        """Return the most frequent kinds with their numbers, for a message."""
        named = [pair for pair in self.kinds.most_common() if pair[0] != OTHERS]
        shown = named[:SHOWN_KINDS]
        rest = self.total - sum(count for _, count in shown)
        parts = [f"{count} {kind}" for kind, count in shown]
        return ", ".join([*parts, f"{rest} {OTHERS}"] if rest else parts)
