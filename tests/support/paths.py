"""Paths in the repository."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SAMPLE_MODELS = ROOT / "sample_models"
SUPPORT = ROOT / "tests" / "support"
