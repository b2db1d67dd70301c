"""Progress events of a run."""

from __future__ import annotations

from typing import Protocol


class Events(Protocol):
    """Receives progress events; jobs themselves never write to the screen."""

    def stage(self, title: str, total: int | None = None) -> None:
        """Begin a stage of `total` steps; None where they can't be counted."""

    def advance(self, done: int, total: int) -> None:
        """Report the steps of the current stage that are done."""

    def detail(self, text: str) -> None:
        """Report a detail, which only `--verbose` shows."""

    def note(self, text: str) -> None:
        """Report a fact that is worth knowing."""

    def warn(self, text: str) -> None:
        """Report a fact that the user may want to change."""


class Silent:
    """Discards all events; see `Events`."""

    def stage(self, title: str, total: int | None = None) -> None:
        """Discard the event."""

    def advance(self, done: int, total: int) -> None:
        """Discard the event."""

    def detail(self, text: str) -> None:
        """Discard the event."""

    def note(self, text: str) -> None:
        """Discard the event."""

    def warn(self, text: str) -> None:
        """Discard the event."""
