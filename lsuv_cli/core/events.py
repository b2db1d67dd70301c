"""Who is told how the work goes."""

from __future__ import annotations

from typing import Protocol


class Events(Protocol):
    """Who is told how the work goes; jobs themselves never write to the screen."""

    def stage(self, title: str, total: int | None = None) -> None:
        """A stage begins; `total` steps, None where they can't be counted."""

    def advance(self, done: int, total: int) -> None:
        """Steps of the current stage are done."""

    def detail(self, text: str) -> None:
        """Something for whoever wants to know more."""

    def note(self, text: str) -> None:
        """Something worth knowing."""

    def warn(self, text: str) -> None:
        """Something the user may want to change."""


class Silent:
    """Says nothing; see `Events`."""

    def stage(self, title: str, total: int | None = None) -> None:
        """Say nothing."""

    def advance(self, done: int, total: int) -> None:
        """Say nothing."""

    def detail(self, text: str) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def warn(self, text: str) -> None:
        """Say nothing."""
