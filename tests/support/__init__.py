"""Helpers that several test modules share; no test module imports from another."""

from __future__ import annotations

import pkgutil

import pytest

# Before any of them is imported, so that their assertions show values, as those of tests do.
pytest.register_assert_rewrite(
    *(f"{__name__}.{one.name}" for one in pkgutil.iter_modules(__path__))
)
